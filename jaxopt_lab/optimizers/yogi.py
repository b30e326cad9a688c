"""Yogi: Adam with a mean square that changes in proportion to g^2, not to its distance from g^2."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class YogiState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # follows g**2, by at most (1 - b2) g**2 a step


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-5, 1e-1, "log", "the default, two decades either way"),
)
def yogi(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-3,
    initial_accumulator_value: Scalar = 1e-6,
    *,
    bias_correction: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """Yogi (Zaheer et al. 2018, Algorithm 2, https://papers.nips.cc/paper/8186).

        m <- b1 m + (1 - b1) g
        v <- v - (1 - b2) sign(v - g^2) g^2
        w <- w - learning_rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    The paper corrects neither m nor v, and starts v at the square of a first gradient; Optax and this implementation
    correct both. Optax also starts m at `initial_accumulator_value`, so a parameter without a gradient moves; here, as
    in the paper and TensorFlow Addons, m starts at 0.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: One less the share of g^2 by which v moves, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        initial_accumulator_value: Where v starts, >= 0, in units of g^2.
        bias_correction: Whether m is divided by 1 - b1^t, and v by 1 - b2^t.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    """

    def init(params: Params) -> YogiState:
        v = reals_like(params, moment_dtype, initial_accumulator_value)
        return YogiState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), v)

    def update(grads, state, params=None):
        t = next_step(state.t)
        rate = value_at(learning_rate, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: v - (1 - b2) * jnp.sign(v - squared(g)) * squared(g), state.v, grads)
        m_scale = 1 / one_minus_power(b1, t) if bias_correction else 1
        v_scale = 1 / one_minus_power(b2, t) if bias_correction else 1
        step = lambda m, v: -rate * m_scale * (m / (jnp.sqrt(v_scale * v) + eps))
        return jax.tree.map(step, m, v), YogiState(t, m, v)

    return optimizer(init, update)
