"""Fromage: every tensor turns by the same angle, independent of its norm and its gradient's norm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, step_count, value_at
from jaxopt_lab.optimizers._trust import norm, trust_ratio
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class FromageState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule


@method(learning_rate=Prior(1e-3, 1e-1, "log", "the paper's 1e-2, a decade either way"))
def fromage(learning_rate: ScalarOrSchedule, min_norm: Scalar = 1e-6) -> Optimizer:
    """Fromage (Bernstein et al. 2020, Algorithm 1, https://arxiv.org/abs/2002.03432), for every tensor w by itself:

        w <- (w - learning_rate * max(|w|, min_norm) / max(|g|, min_norm) * g) / sqrt(1 + learning_rate^2)

    |.| is the Euclidean (Frobenius) norm; where either is 0 (after the maximum), the ratio of norms is 1. The root
    keeps norms from growing: steps are often orthogonal to w. `min_norm` is Optax's; the paper and the authors' code
    have none. At 0 a tensor of zeros moves by learning_rate * g, at 1e-6 it hardly moves at first.

    Args:
        learning_rate: Relative size of a step, > 0, without a unit; scalar, traced or a schedule `step -> value`.
        min_norm: Floor under both norms, >= 0, in units of w and of g.

    Returns:
        The (init, update) pair; the state is the number of steps taken, under a schedule.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> FromageState:
        needs_leaves(params, "fromage")
        return FromageState(step_count(learning_rate))

    def update(grads, state, params=None):
        needs_params(params, "fromage", "scales its steps by")
        rate = value_at(learning_rate, state.t)
        root = jnp.sqrt(1 + rate**2)
        excess = rate**2 / (1 + root)  # root - 1, without cancellation

        def step(g, w):
            ratio = trust_ratio(jnp.maximum(norm(w), min_norm), jnp.maximum(norm(g), min_norm))
            return -(rate * ratio * g + excess * w) / root

        return jax.tree.map(step, grads, params), FromageState(next_step(state.t))

    return optimizer(init, update)
