"""Prodigy: D-Adapt AdamW whose estimate of the distance to the minimum grows faster."""

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
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._sums import inner, l1_norm, ratio
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ProdigyState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    start: Params  # w at step 0, sliced as s
    m: Params  # running mean of d g
    v: Params  # running mean of (d g)**2
    s: Params  # decaying sum of g, each times its rate: every `slice_p`-th element of it
    d: Float[Array, ""]  # estimate of the distance to the minimum
    largest: Float[Array, ""]  # largest estimate so far; d itself unless its growth is limited
    numerator: Float[Array, ""]  # of the next estimate


@method(
    learning_rate=Prior(1e-1, 10.0, "log", "our judgement: the default, a decade either way"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    estim_lr0=Prior(1e-8, 1e-4, "log", "our judgement: the default, two decades either way"),
    estim_lr_coef=Prior(1e-1, 10.0, "log", "our judgement: the default, a decade either way"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    beta3: Scalar | None = None,
    eps: Scalar = 1e-8,
    estim_lr0: Scalar = 1e-6,
    estim_lr_coef: Scalar = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    growth_rate: Scalar | None = None,
    *,
    safeguard_warmup: bool = False,
    bias_correction: bool = True,
    slice_p: int = 1,
    moment_dtype: Any = None,
) -> Optimizer:
    """Prodigy (Mishchenko & Defazio 2024, Algorithm 4, https://arxiv.org/abs/2306.06101).

        rate <- d * learning_rate * sqrt(1 - b2^t) / (1 - b1^t)
        numerator <- beta3 numerator + d / estim_lr0 * rate <g, start - w>
        m <- b1 m + (1 - b1) d g
        v <- b2 v + (1 - b2) (d g)^2
        s <- beta3 s + d / estim_lr0 * rate g              safeguard_warmup: d g instead of rate g
        estimate <- estim_lr_coef * numerator / ||s||_1
        d' <- max(d, estimate)
        w <- w - rate * weight_decay * w - rate * m / (sqrt(v) + d' eps)

    With `growth_rate`, d' is the largest estimate so far, but at most growth_rate * d; while d is still estim_lr0, at
    most growth_rate * max(d, estimate).

    Conventions are Optax's, which takes b1 and b2 as one pair and always corrects the bias. The paper never does, and
    the authors do not by default. Their coupled decay is `optax.add_decayed_weights` before the method.

    Args:
        learning_rate: Factor of the rate, > 0, without unit; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of d g, in [0, 1).
        b2: Decay of the mean of (d g)^2, in (0, 1).
        beta3: Decay of the sums from which d is estimated, in (0, 1); None (the default) takes sqrt(b2).
        eps: Added to the root, > 0, in units of g.
        estim_lr0: Where d starts, > 0 and far below the distance to the minimum, in units of w.
        estim_lr_coef: Factor of every estimate, > 0.
        weight_decay: Share of w taken off each step, times the rate; >= 0; scalar, traced or a schedule.
        growth_rate: Largest factor by which d grows in a step, > 1; None (the default) sets no limit.
        safeguard_warmup: Whether the learning rate is left out of s, so that a warm-up does not inflate estimates.
        bias_correction: Whether the rate is corrected for m and v starting at 0.
        slice_p: Stride of the elements that enter the estimate, >= 1; a larger one takes less memory.
        moment_dtype: Dtype of `m`, `v` and `s`, for example "float32" for bfloat16 parameters (float16 cannot represent
            the first v, 1e-12 of g^2). None keeps the parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `v` and, unless sliced, `s` have the shapes of the parameters.

    Raises:
        ValueError: `slice_p` is under 1, or `update` was called without the parameters.

    """
    slice_p = static_count("slice_p", slice_p)
    beta3 = b2**0.5 if beta3 is None else beta3
    sliced = lambda tree: jax.tree.map(lambda x: x.ravel()[::slice_p] if slice_p > 1 else x, tree)

    def init(params: Params) -> ProdigyState:
        start = sliced(jax.tree.map(jnp.copy, params))  # a copy, so that either may be donated
        m, v, s = (zeros_like(like, moment_dtype) for like in (params, params, start))
        d = jnp.asarray(estim_lr0, float)
        return ProdigyState(jnp.zeros([], jnp.int32), start, m, v, s, d, jnp.copy(d), jnp.zeros_like(d))

    def update(grads, state, params=None):
        needs_params(params, "prodigy", "measures the way of")
        t, d, g = next_step(state.t), state.d, sliced(grads)
        rate = d * value_at(learning_rate, state.t)
        if bias_correction:
            rate = rate * (jnp.sqrt(one_minus_power(b2, t)) / one_minus_power(b1, t))
        growth = d / estim_lr0
        way_back = jax.tree.map(jnp.subtract, state.start, sliced(params))
        numerator = beta3 * state.numerator + growth * rate * inner(g, way_back)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * d * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * (d * g) ** 2, state.v, grads)
        weight = growth * (d if safeguard_warmup else rate)
        s = jax.tree.map(lambda s, g: beta3 * s + weight * g, state.s, g)
        estimate = estim_lr_coef * ratio(numerator, l1_norm(s))
        largest = new_d = jnp.maximum(state.largest, estimate)
        if growth_rate is not None:
            grown = jnp.where(d == estim_lr0, jnp.maximum(d, estimate), d)
            new_d = jnp.minimum(largest, growth_rate * grown)
        steps = jax.tree.map(lambda m, v: rate * m / (jnp.sqrt(v) + new_d * eps), m, v)
        steps = decayed(steps, params, value_at(weight_decay, state.t), rate=rate)
        new_state = ProdigyState(t, state.start, m, v, s, new_d, largest, numerator)
        return jax.tree.map(jnp.negative, steps), new_state

    return optimizer(init, update, real_only="prodigy")
