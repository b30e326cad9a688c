"""ADOPT: momentum of gradients that are scaled by earlier gradients only."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, value_at, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ADOPTState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of the scaled g
    v: Params  # running mean of g**2


def fourth_root(t: Array) -> Array:
    """Return the authors' bound on a scaled gradient after `t` steps."""
    return t**0.25


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.9999, "one_minus", "as Adam's, and up to the default"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def adopt(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.9999,
    eps: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: Callable[[Array], Array] | None = None,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """ADOPT (Taniguchi et al. 2024, with its clipping, https://arxiv.org/abs/2411.02853).

        first step:    v <- g^2, and w stays
        then:          n <- g / max(sqrt(v), eps)               clipped to +-clip_value_fn(t), t = 1, 2, ...
                       m <- b1 m + (1 - b1) n
                       w <- w - learning_rate * m               nesterov: b1 m + (1 - b1) n instead of m
                       v <- b2 v + (1 - b2) g^2                 after its use: n is scaled by earlier gradients only
        with decay:    w <- w - learning_rate * (m + weight_decay * w), not in the first step

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of n, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Least root, >= 0, in units of g: a floor, not added.
        weight_decay: Share of w taken off each step but the first, times the learning rate; >= 0; scalar, traced or a
            schedule; with None the parameters are not needed. Optax has no decay.
        nesterov: Whether the step looks one decay ahead.
        use_clipping: Whether n is clipped; the first version of the paper did not clip.
        clip_value_fn: Steps taken so far -> largest n; None: their fourth root.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, and weight decay is on.

    """

    def init(params: Params) -> ADOPTState:
        return ADOPTState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        first = state.t == 0

        def scaled(g, v):
            n = g / jnp.maximum(jnp.sqrt(v), eps)
            if use_clipping:
                bound = (clip_value_fn or fourth_root)(state.t)
                n = jnp.clip(n, -bound, bound)
            return jnp.where(first, 0, n)  # v is still 0

        n = jax.tree.map(scaled, grads, state.v)
        average = lambda m, n: b1 * m + (1 - b1) * n
        m = jax.tree.map(average, state.m, n)
        b2_now = jnp.where(first, 0, b2)
        v = jax.tree.map(lambda v, g: b2_now * v + (1 - b2_now) * g**2, state.v, grads)
        ahead = jax.tree.map(average, m, n) if nesterov else m
        if weight_decay is not None:
            needs_params(params, "adopt", "decays")
            ahead = decayed(ahead, params, jnp.where(first, 0, value_at(weight_decay, state.t)), mask)
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda a: -rate * a, ahead), ADOPTState(next_step(state.t), m, v)

    return optimizer(init, update, real_only="adopt")
