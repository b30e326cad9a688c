"""Schedule-free AdamW: gradients are taken between Adam's iterate and its average, which is the answer."""

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
)
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers._schedule_free import schedule_free
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ScaleState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    v: Params  # running mean of g**2


@method(
    learning_rate=Prior(2e-4, 2e-1, "log", "around Defazio et al. 2024, Appendix G, https://arxiv.org/abs/2405.15682"),
    b1=Prior(0.9, 0.98, "one_minus", "the values of the same"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: Scalar | None = None,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: Scalar = 2.0,
    weight_step_power: Scalar = 0.0,
    *,
    correction_in_rate: bool = False,
    state_dtype: Any = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Schedule-free AdamW (Defazio et al. 2024, Algorithm 1, https://arxiv.org/abs/2405.15682).

        y = (1 - b1) z + b1 x                                  the parameters, where g is taken
        v <- b2 v + (1 - b2) g^2
        rate = learning_rate * min(t / warmup_steps, 1)        t = 1, 2, ...
        z <- z - rate * (g / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * y)
        c = weight_t / (weight_1 + ... + weight_t)             weight_t = t^weight_step_power * rate^weight_lr_power
        x <- (1 - c) x + c z

    Evaluate at x: `state.evaluation_params(params)`, as the training loop does. (The weight uses the largest rate so
    far.) The paper needs a warm-up; Optax's default has none. In Optax 0.2.8 z is one step behind during the warm-up,
    so its first step is 0; the authors' code does not do this.

    Args:
        learning_rate: Step size of z, >= 0, in units of w; scalar, traced or a schedule `step -> value`.
        warmup_steps: Steps of linear warm-up, >= 0; None: no warm-up.
        b1: Share of the average in the point where gradients are taken, in (0, 1]; it replaces Adam's mean of g.
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of y taken off z each step, times the learning rate; >= 0; scalar, traced or a schedule.
        weight_lr_power: Power of the learning rate in the weights of the average.
        weight_step_power: Power of the step number in the weights of the average, the authors' r; > 0 forgets faster.
        correction_in_rate: Whether the root of 1 - b2^t multiplies the rate, and with it decay and weights, instead of
            correcting v. The paper does so; the authors' code (1.4 and later) and Optax correct v.
        state_dtype: Dtype of `z`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.
        moment_dtype: Dtype of `v`, likewise.

    Returns:
        The (init, update) pair; `z` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> ScaleState:
        return ScaleState(jnp.zeros([], jnp.int32), reals_like(params, moment_dtype))

    def update(grads, state, params=None):
        t = next_step(state.t)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        scale = 1.0 if correction_in_rate else 1 / one_minus_power(b2, t)  # the mean starts at 0
        return jax.tree.map(lambda g, v: g / (jnp.sqrt(scale * v) + eps), grads, v), ScaleState(t, v)

    def corrected(t):
        return value_at(learning_rate, t) * jnp.sqrt(one_minus_power(b2, t + 1))

    return schedule_free(
        optimizer(init, update),
        "schedule_free_adamw",
        corrected if correction_in_rate else learning_rate,
        warmup_steps,
        b1,
        weight_decay,
        weight_lr_power,
        weight_step_power,
        state_dtype,
    )
