"""Lookahead: every few steps, a method goes back part of the way to where it last was."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import copied, needs_params, next_step
from jaxopt_lab.optimizers._base import optimizer as pair
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.optimizers.wrappers.filled import answered
from jaxopt_lab.types import Optimizer, Params, Scalar


class LookaheadState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    slow: Params  # the slow weights
    inner: Any  # the optimizer's state
    slow_inner: Any  # the same at the last synchronization, if it is interpolated

    def evaluation_params(self, params: Params) -> Params:
        """Return the slow weights, which are the answer; `params` where `optax.masked` has left parameters out."""
        return answered(lambda slow, _: slow, self.slow, params)


def lookahead(
    optimizer: Optimizer,
    alpha: Scalar = 0.8,
    sync_period: Scalar = 5,
    *,
    inner_state: Literal["kept", "reset", "interpolated"] = "kept",
    slow_dtype: Any = None,
) -> Optimizer:
    """Lookahead around any optimizer (Zhang et al. 2019, Algorithm 1, https://arxiv.org/abs/1907.08610).

        w <- w + update(g, w)
        after every `sync_period` steps:
            slow <- alpha w + (1 - alpha) slow          from the initial parameters
            w <- slow

    The slow weights are the answer, at which a sweep evaluates held-out data: `state.evaluation_params(params)`. They
    change only every `sync_period` steps, so let that divide the length of a trial. Ranger is Lookahead around RAdam,
    with alpha 0.5 and a period of 6:

        def ranger(learning_rate, alpha):
            return jl.lookahead(jl.radam(learning_rate), alpha, 6)

    Defaults are the authors' code's; the paper mostly takes 0.5. Their code calls interpolation "pullback", and from
    the second synchronization on it only scales the momentum, by alpha (2 - alpha), since the momentum that it stored
    is the same tensor as the one in use. Here it interpolates, as the paper has it.

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. In a chain, `lookahead`
            is around the whole of it, since it needs the final updates, but within `master_weights`.
        alpha: Share of the way from the slow weights to w that is kept, in [0, 1]; at 1 only the answer differs from
            the optimizer's.
        sync_period: Steps between synchronizations, >= 1; rounded to a whole number.
        inner_state: What a synchronization makes of the optimizer's state. "kept": nothing. "reset": it is `init` of
            the new parameters, with which schedules begin anew. "interpolated": floating-point arrays move back to what
            they were at the last synchronization by the share that the parameters do; counts are kept.
        slow_dtype: Of the slow weights, for example "float32" beside bfloat16 parameters; None keeps the parameters',
            but for float32 beside float16 ones.

    Returns:
        The (init, update) pair; the slow weights have the shapes of the parameters.

    Raises:
        ValueError: `inner_state` is none of the three, or `update` was called without the parameters.

    """
    if inner_state not in ("kept", "reset", "interpolated"):
        raise ValueError(f'inner_state must be "kept", "reset" or "interpolated", got {inner_state!r}.')

    def init(params: Params) -> LookaheadState:
        inner = optimizer.init(params)
        slow_inner = jax.tree.map(jnp.copy, inner) if inner_state == "interpolated" else None
        return LookaheadState(jnp.zeros([], jnp.int32), copied(params, slow_dtype), inner, slow_inner)

    def update(grads, state, params=None, **extra):
        needs_params(params, "lookahead", "averages")
        updates, inner = optimizer.update(grads, state.inner, params, **accepted(optimizer.update, extra))
        t, period = next_step(state.t), jnp.round(jnp.asarray(sync_period)).astype(jnp.int32)
        now = t % period == 0
        chosen = lambda new, old: jax.tree.map(lambda new, old: jnp.where(now, new, old), new, old)
        between = lambda x, slow: alpha * x + (1 - alpha) * slow

        slow = chosen(jax.tree.map(lambda w, u, slow: between(w + u, slow), params, updates, state.slow), state.slow)
        updates = chosen(jax.tree.map(jnp.subtract, slow, params), updates)
        slow_inner = None
        if inner_state == "reset":
            inner = chosen(optimizer.init(slow), inner)
        elif inner_state == "interpolated":
            back = lambda x, slow: between(x, slow) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else x
            inner = chosen(jax.tree.map(back, inner, state.slow_inner), inner)
            slow_inner = chosen(inner, state.slow_inner)
        return updates, LookaheadState(t, slow, inner, slow_inner)

    return pair(init, update)
