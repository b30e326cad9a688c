"""Gradient descent with Polyak's step size, proportional to the loss above its minimum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, step_count, value_at
from jaxopt_lab.optimizers._sums import inner
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

VARIANTS = ("sps", "sps+")


class PolyakSGDState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule


@method(max_learning_rate=Prior(1e-1, 1e1, "log", "the default, a decade either way"))
def polyak_sgd(
    max_learning_rate: Scalar = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: Scalar = 0.0,
    eps: Scalar = 0.0,
    *,
    variant: str = "sps",
) -> Optimizer:
    """SPS_max (Loizou et al. 2021, https://arxiv.org/abs/2002.10542; "sps+": Garrigos, Gower & Schaipp
    2023, https://arxiv.org/abs/2307.14528).

        gap <- f - f_min, or max(f - f_min, 0) in the variant "sps+"      f: the loss at w
        w <- w - scaling * min(gap / (|g|^2 + eps), max_learning_rate) * g      no step where |g|^2 + eps = 0

    |g| is the norm over all parameters; the paper's c is 1 / scaling, except that here the maximum is scaled as well.
    This is the formula that Optax documents. Its code divides the first argument of the minimum by the scaling instead
    of multiplying by it (0.2.8: a scaling of 2 halves the step), and makes no step where |g|^2 + eps is under 2.2e-16.

    Args:
        max_learning_rate: Largest step size before scaling, > 0, in units of w per unit of g.
        scaling: Factor of the step size, > 0; scalar, traced or a schedule `step -> value`.
        f_min: The minimum of the loss, or a lower bound, in units of f. If the loss falls below it, "sps" steps uphill
            and "sps+" does not move.
        eps: Added to the squared norm, >= 0, in units of g^2.
        variant: "sps" or "sps+".

    Returns:
        The (init, update) pair; `update` needs `value`, the loss at the parameters.

    Raises:
        ValueError: `variant` is neither, or `update` was called without `value`.

    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}.")

    def init(params: Params) -> PolyakSGDState:
        return PolyakSGDState(step_count(scaling))

    def update(grads, state, params=None, *, value):
        gap = value - f_min
        if variant == "sps+":
            gap = jnp.maximum(gap, 0)
        square = inner(grads, grads) + eps
        size = jnp.minimum(gap / jnp.where(square > 0, square, 1), max_learning_rate)
        rate = value_at(scaling, state.t) * size  # where the square is 0, so is g
        return jax.tree.map(lambda g: -rate * g, grads), PolyakSGDState(next_step(state.t))

    return optimizer(init, update)
