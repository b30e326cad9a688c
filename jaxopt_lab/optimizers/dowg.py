"""DoWG: DoG with gradients weighted by the distance from the start at which they were taken."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, value_at
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._sums import inner
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class DoWGState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    start: Params  # w at step 0
    r2: Float[Array, ""]  # largest squared distance from it so far
    v: Float[Array, ""]  # sum of r2 ||g||**2


@method(
    learning_rate=Prior(1e-1, 10.0, "log", "our judgement: the default, a decade either way"),
    eps=Prior(1e-8, 1e-1, "log", "our judgement: it is the first squared distance too, as dog's init_step is"),
)
def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: Scalar | None = None,
    eps: Scalar = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    *,
    mask: Mask = None,
) -> Optimizer:
    """DoWG, distance over weighted gradients (Khaled, Mishchenko & Jin 2023, Algorithm 1, https://arxiv.org/abs/2305.16284).

        g  <- g + weight_decay * w
        r2 <- max(r2, ||w - start||^2)             at step 0: init_estim_sq_dist
        v  <- v + r2 ||g||^2
        w  <- w - learning_rate * r2 / (sqrt(v) + eps) * g

    The paper has no eps in the step; Optax and other implementations do.

    Args:
        learning_rate: Factor of every step, > 0, without unit; scalar, traced or a schedule `step -> value`.
        init_estim_sq_dist: Where r2 starts, > 0, in units of w^2; None (the default) takes eps.
        eps: Added to the root, >= 0, in units of w g.
        weight_decay: Factor of w added to g, >= 0; scalar, traced or a schedule; None (the default) adds none.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.

    Returns:
        The (init, update) pair.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> DoWGState:
        r2: Any = jnp.asarray(eps if init_estim_sq_dist is None else init_estim_sq_dist, float)
        start = jax.tree.map(jnp.copy, params)  # a copy, so that either may be donated
        return DoWGState(jnp.zeros([], jnp.int32), start, r2, jnp.zeros_like(r2))

    def update(grads, state, params=None):
        needs_params(params, "dowg", "measures the way of")
        if weight_decay is not None:
            grads = decayed(grads, params, value_at(weight_decay, state.t), mask)
        way = jax.tree.map(jnp.subtract, params, state.start)
        r2 = jnp.maximum(state.r2, inner(way, way))
        v = state.v + r2 * inner(grads, grads)
        step = value_at(learning_rate, state.t) * r2 / (jnp.sqrt(v) + eps)
        return jax.tree.map(lambda g: -step * g, grads), DoWGState(next_step(state.t), state.start, r2, v)

    return optimizer(init, update)
