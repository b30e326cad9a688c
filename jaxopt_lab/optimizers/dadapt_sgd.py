"""D-Adapt SGD: SGD whose step size is a growing estimate of the distance to the minimum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxopt_lab.optimizers._base import copied, method, needs_params, next_step, optimizer, value_at, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._sums import inner, length, ratio
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class DAdaptSGDState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    start: Params  # w before the first step
    s: Params  # sum of steps, each a rate times g
    d: Float[Array, ""]  # estimate of the distance to the minimum
    numerator: Float[Array, ""]  # of the next estimate
    norm: Float[Array, ""]  # of the first gradient


@method(
    learning_rate=Prior(1e-1, 10.0, "log", "our judgement: the default, a decade either way"),
    momentum=Prior(0.5, 0.999, "one_minus", "as SGD's"),
    estim_lr0=Prior(1e-8, 1e-4, "log", "our judgement: the default, two decades either way"),
    weight_decay=Prior(1e-6, 1e-2, "log", "around 1e-4, usual with SGD"),
)
def dadapt_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    momentum: Scalar = 0.0,
    estim_lr0: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    growth_rate: Scalar | None = None,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """D-Adapt SGD (Defazio & Mishchenko 2023, Algorithm 4, https://arxiv.org/abs/2301.07733).

        rate <- d * learning_rate / ||g_1||                       g_1: the first gradient, without decay
        g <- g + weight_decay * w
        numerator <- numerator + rate <g, s>                      s still the old
        s <- s + rate * g
        d <- max(d, min(2 numerator / ||s||, growth_rate * d))    from the next step on
        w <- momentum * w + (1 - momentum) (start - s)

    Conventions are those of the authors' code, version 3.2. Momentum is an average of iterates.

    Args:
        learning_rate: Factor of the rate, > 0, without unit; scalar, traced or a schedule `step -> value`.
        momentum: Share of the last iterate in the next, in [0, 1).
        estim_lr0: Where d starts, > 0 and far below the distance to the minimum, in units of w.
        weight_decay: L2 regularisation, >= 0; scalar, traced or a schedule.
        growth_rate: Largest factor by which d grows in a step, > 1; None (the default) sets no limit.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `s` and `start`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `start` and `s` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> DAdaptSGDState:
        d, zero = jnp.asarray(estim_lr0, float), jnp.zeros([], float)
        start, s = copied(params, moment_dtype), zeros_like(params, moment_dtype)
        return DAdaptSGDState(jnp.zeros([], jnp.int32), start, s, d, zero, zero)

    def update(grads, state, params=None):
        needs_params(params, "dadapt_sgd", "averages")
        norm = jnp.where(state.t == 0, length(grads), state.norm)
        rate = ratio(state.d * value_at(learning_rate, state.t), norm)
        grads = decayed(grads, params, value_at(weight_decay, state.t), mask)
        numerator = state.numerator + rate * inner(grads, state.s)
        s = jax.tree.map(lambda s, g: s + rate * g, state.s, grads)
        d = ratio(2 * numerator, length(s))
        d = jnp.maximum(state.d, d if growth_rate is None else jnp.minimum(d, growth_rate * state.d))
        move = lambda w, start, s: (1 - momentum) * (start - s - w)
        updates = jax.tree.map(move, params, state.start, s)
        return updates, DAdaptSGDState(next_step(state.t), state.start, s, d, numerator, norm)

    return optimizer(init, update)
