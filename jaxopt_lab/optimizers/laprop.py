"""LaProp: momentum of gradients that are scaled first, instead of scaled momentum."""

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
    reals_like,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed, is_off
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

UNCENTRED = 10  # steps before the mean of g is taken off


class LaPropState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of steps, each a rate times a scaled gradient
    v: Params  # running mean of g**2
    rate: Float[Array, ""]  # running mean of the rates
    centre: Params | None  # running mean of g; None unless centred
    v_max: Params | None  # the largest v so far; None without AMSGrad


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-15, 1e-1, "log", "from the authors' default to where it dominates"),
    weight_decay=Prior(1e-8, 1e-3, "log", "AdamW's times a rate of 1e-3 or 1e-2: it is not multiplied by the rate"),
)
def laprop(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-15,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    amsgrad: bool = False,
    centered: bool = False,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """LaProp (Ziyin, Wang & Ueda 2020, Algorithm 1, https://arxiv.org/abs/2002.04839).

        v <- b2 v + (1 - b2) g^2
        m <- b1 m + (1 - b1) learning_rate * g / (sqrt(v / (1 - b2^t)) + eps)
        w <- w - m / (1 - b1^t)
        w <- w - weight_decay * w

    Each gradient is scaled by the v of its own step, so that b1 and b2 may be chosen freely. The learning rate is part
    of m, as in the authors' code; if it changes, m is divided by the running mean of the rates, in place of 1 - b1^t,
    and multiplied by the present rate. Decay is not multiplied by the learning rate.

    Args:
        learning_rate: Step size, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of steps, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of w taken off after each step, >= 0, whatever the learning rate; scalar, traced or a
            schedule.
        amsgrad: Whether v never falls: its largest value so far, uncorrected, takes its place.
        centered: Whether the square of the mean of g is taken off v, from step 11 on.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, `v`, `centre` and `v_max`, for example "float32" for bfloat16 parameters. None keeps
            the parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `v`, `centre` and `v_max` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, and there is decay.

    """

    def init(params: Params) -> LaPropState:
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        centre = zeros_like(params, moment_dtype) if centered else None
        v_max = reals_like(params, moment_dtype) if amsgrad else None
        return LaPropState(jnp.zeros([], jnp.int32), m, v, jnp.zeros([], float), centre, v_max)

    def update(grads, state, params=None):
        t = next_step(state.t)
        late = t > UNCENTRED
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        scale, centre, v_max = v, None, None
        if centered:
            centre = jax.tree.map(lambda c, g: b2 * c + (1 - b2) * g, state.centre, grads)
            variance = lambda v, c: jnp.where(late, jnp.maximum(v - squared(c), 0), v)
            scale = jax.tree.map(variance, v, centre)
        if amsgrad:
            largest = jax.tree.map(jnp.maximum, state.v_max, scale)
            # While v is not centred yet, it is neither kept as the largest nor replaced by it.
            ready = lambda new, old: jnp.where(late, new, old) if centered else new
            scale, v_max = jax.tree.map(ready, largest, scale), jax.tree.map(ready, largest, state.v_max)

        now = value_at(learning_rate, state.t)
        v_scale = 1 / one_minus_power(b2, t)  # the mean starts at 0
        share = lambda m, g, v: b1 * m + (1 - b1) * now * (g / (jnp.sqrt(v_scale * v) + eps))
        m = jax.tree.map(share, state.m, grads, scale)
        rate = b1 * state.rate + (1 - b1) * now
        m_scale = now / jnp.where(rate == 0, 1, rate)
        steps = jax.tree.map(lambda m: m_scale * m, m)
        if not is_off(weight_decay):
            needs_params(params, "laprop", "decays")
            moved = jax.tree.map(jnp.subtract, params, steps)
            steps = decayed(steps, moved, value_at(weight_decay, state.t), mask)
        return jax.tree.map(jnp.negative, steps), LaPropState(t, m, v, rate, centre, v_max)

    return optimizer(init, update)
