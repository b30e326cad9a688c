"""D-Adapt AdamW: AdamW whose step size is a growing estimate of the distance to the minimum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._sums import inner, l1_norm, ratio
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class DAdaptAdamWState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of steps, each a rate times g
    v: Params  # running mean of g**2
    s: Params  # running mean of steps, as slow as v
    d: Float[Array, ""]  # estimate of the distance to the minimum, in the largest coordinate
    numerator: Float[Array, ""]  # of the next estimate


@method(
    learning_rate=Prior(1e-1, 10.0, "log", "our judgement: the default, a decade either way"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    estim_lr0=Prior(1e-8, 1e-4, "log", "our judgement: the default, two decades either way"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    estim_lr0: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    growth_rate: Scalar | None = None,
    *,
    bias_correction: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """D-Adapt AdamW (Defazio & Mishchenko 2023, Algorithm 5, https://arxiv.org/abs/2301.07733).

        rate <- d * learning_rate * sqrt(1 - b2^t) / (1 - b1^t)
        numerator <- q numerator + (1 - q) rate <g, s / (sqrt(v) + eps)>      q = sqrt(b2); s, v still the old
        m <- b1 m + (1 - b1) rate g
        v <- b2 v + (1 - b2) g^2
        s <- q s + (1 - q) rate g
        w <- w - rate * weight_decay * w - m / (sqrt(v) + eps)
        d <- max(d, min(numerator / ((1 - q) ||s||_1), growth_rate * d))      from the next step on

    Conventions are Optax's, which takes b1 and b2 as one pair and always corrects the bias. The paper never does, and
    the authors do not by default. Their coupled decay is `optax.add_decayed_weights` before the method.

    Args:
        learning_rate: Factor of the rate, > 0, without unit; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of steps, in [0, 1).
        b2: Decay of the mean of g^2, in (0, 1).
        eps: Added to the root, > 0, in units of g.
        estim_lr0: Where d starts, > 0 and far below the distance to the minimum, in units of w.
        weight_decay: Share of w taken off each step, times the rate; >= 0; scalar, traced or a schedule.
        growth_rate: Largest factor by which d grows in a step, > 1; None (the default) sets no limit.
        bias_correction: Whether the rate is corrected for m and v starting at 0.
        moment_dtype: Dtype of `m`, `v` and `s`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `v` and `s` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """
    q = b2**0.5

    def init(params: Params) -> DAdaptAdamWState:
        m, v, s = (zeros_like(params, moment_dtype) for _ in range(3))
        d: Any = jnp.asarray(estim_lr0, float)
        return DAdaptAdamWState(jnp.zeros([], jnp.int32), m, v, s, d, jnp.zeros_like(d))

    def update(grads, state, params=None):
        needs_params(params, "dadapt_adamw", "decays")
        t = next_step(state.t)
        rate = state.d * value_at(learning_rate, state.t)
        if bias_correction:
            rate = rate * (jnp.sqrt(one_minus_power(b2, t)) / one_minus_power(b1, t))
        scaled = jax.tree.map(lambda s, v: s / (jnp.sqrt(v) + eps), state.s, state.v)
        numerator = q * state.numerator + (1 - q) * rate * inner(grads, scaled)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * rate * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.v, grads)
        s = jax.tree.map(lambda s, g: q * s + (1 - q) * rate * g, state.s, grads)
        d = ratio(numerator, (1 - q) * l1_norm(s))
        d = jnp.maximum(state.d, d if growth_rate is None else jnp.minimum(d, growth_rate * state.d))
        steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), m, v)
        steps = decayed(steps, params, value_at(weight_decay, state.t), rate=rate)
        return jax.tree.map(jnp.negative, steps), DAdaptAdamWState(t, m, v, s, d, numerator)

    return optimizer(init, update, real_only="dadapt_adamw")
