"""LARS: momentum with each tensor's gradient scaled to the norm of the tensor."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, step_count, value_at, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._trust import norm, trust_ratio
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class LARSState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    m: Params  # decaying sum of steps


@method(
    learning_rate=Prior(1e-1, 1e2, "log", "our judgement: the trust coefficient takes three decades off"),
    weight_decay=Prior(1e-5, 1e-2, "log", "the paper's 5e-4, about a decade either way"),
    momentum=Prior(0.5, 0.99, "one_minus", "the default, about a decade either way"),
)
def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    trust_coefficient: Scalar = 0.001,
    eps: Scalar = 0.0,
    momentum: Scalar = 0.9,
    *,
    weight_decay_mask: Mask = True,
    trust_ratio_mask: Mask = True,
    nesterov: bool = False,
    joint_norm: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """LARS (You, Gitman & Ginsburg 2017, Algorithm 1, https://arxiv.org/abs/1708.03888), for every tensor w by itself:

        a <- g + weight_decay * w
        r <- trust_coefficient * |w| / (|a| + eps)      1 where a norm is 0 or `trust_ratio_mask` is False
        s <- learning_rate * r * a
        m <- momentum * m + s
        w <- w - m, or w - (momentum * m + s) with nesterov

    |.| is the Euclidean (Frobenius) norm. The paper divides by |g| + weight_decay * |w| instead of |a|
    (`joint_norm=False`), which is the same without decay.

    Args:
        learning_rate: Step size, > 0; a step is learning_rate * trust_coefficient of |w|; scalar, traced or a schedule.
        weight_decay: Added to g per unit of w, >= 0; scalar, traced or a schedule.
        trust_coefficient: Relative size of a step of learning rate 1, > 0, without a unit.
        eps: Added to the norm that is divided by, >= 0, in units of g.
        momentum: Decay of the sum of steps, in [0, 1).
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None or True: all.
        trust_ratio_mask: Which parameters' steps are scaled, given in the same way; biases are often left out.
        nesterov: Whether a step looks one decay ahead.
        joint_norm: Whether the norm of the sum of gradient and decay is taken, as in Optax, not the sum of their norms.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> LARSState:
        needs_leaves(params, "lars")
        return LARSState(step_count(learning_rate, weight_decay), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        needs_params(params, "lars", "scales its steps by")
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        shrink = decayed(jax.tree.map(jnp.zeros_like, grads), params, decay, weight_decay_mask)
        mask = trust_ratio_mask(params) if callable(trust_ratio_mask) else trust_ratio_mask
        trusts = jax.tree.broadcast(True if mask is None else mask, params)

        def step(g, shrink, w, trusts):
            a_norm = norm(g + shrink) if joint_norm else norm(g) + norm(shrink)
            ratio = trust_ratio(norm(w), a_norm, trust_coefficient, eps) if trusts else 1
            return rate * ratio * (g + shrink)

        steps = jax.tree.map(step, grads, shrink, params, trusts)
        decay_and_add = lambda s, m: s + momentum * m
        m = jax.tree.map(decay_and_add, steps, state.m)
        steps = jax.tree.map(decay_and_add, steps, m) if nesterov else m
        return jax.tree.map(jnp.negative, steps), LARSState(next_step(state.t), m)

    return optimizer(init, update)
