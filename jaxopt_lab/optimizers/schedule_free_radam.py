"""Schedule-free RAdam: schedule-free AdamW that needs no warm-up, for its rate is RAdam's."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, next_step, one_minus_power, optimizer, reals_like, value_at
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers._schedule_free import schedule_free
from jaxopt_lab.optimizers.radam import rectifier
from jaxopt_lab.optimizers.schedule_free_adamw import ScaleState
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(2e-4, 2e-1, "log", "as schedule-free AdamW's"),
    b1=Prior(0.9, 0.98, "one_minus", "as schedule-free AdamW's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def schedule_free_radam(
    learning_rate: ScalarOrSchedule = 0.0025,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: Scalar = 2.0,
    weight_step_power: Scalar = 0.0,
    *,
    silent_sgd_phase: bool = True,
    state_dtype: Any = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Schedule-free RAdam, by the authors of Schedule-Free (Defazio et al. 2024, https://arxiv.org/abs/2405.15682) with
    the rectification of RAdam (Liu et al. 2020, https://arxiv.org/abs/1908.03265).

        y = (1 - b1) z + b1 x                                  the parameters, where g is taken
        v <- b2 v + (1 - b2) g^2
        rate <- learning_rate * r_t                            rho_t > 4; until then 0, or not silent: learning_rate
        a <- g / (sqrt(v / (1 - b2^t)) + eps)                  rho_t > 4; until then g
        z <- z - rate * (a + weight_decay * y)
        c = weight_t / (weight_1 + ... + weight_t)             weight_t = t^weight_step_power * rate^weight_lr_power
        x <- (1 - c) x + c z

    Evaluate at x: `state.evaluation_params(params)`, as the training loop does. (The weight uses the largest rate so
    far.) rho_t and r_t are `radam`'s: at b2 = 0.999, rho_t is above 4 from step 5 on. Only the authors' code describes
    the method (https://github.com/facebookresearch/schedule_free).

    Args:
        learning_rate: Step size of z, >= 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Share of the average in the point where gradients are taken, in (0, 1]; it replaces Adam's mean of g.
        b2: Decay of the mean of g^2, in (0.6, 1): below, rho_t never exceeds 4.
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of y taken off z each step, times the rate; >= 0; scalar, traced or a schedule.
        weight_lr_power: Power of the rate in the weights of the average.
        weight_step_power: Power of the step number in the weights of the average, the authors' r; > 0 forgets faster.
        silent_sgd_phase: Whether nothing moves until rho_t exceeds 4; otherwise these are steps of SGD.
        state_dtype: Dtype of `z`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.
        moment_dtype: Dtype of `v`, likewise.

    Returns:
        The (init, update) pair; `z` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def rectified(t):
        """Return the rate after t steps."""
        rho, r = rectifier(b2, t + 1, 1 / one_minus_power(b2, t + 1))
        return value_at(learning_rate, t) * jnp.where(rho > 4, r, 0 if silent_sgd_phase else 1)

    def init(params: Params) -> ScaleState:
        return ScaleState(jnp.zeros([], jnp.int32), reals_like(params, moment_dtype))

    def ascend(grads, state, params=None):
        t = next_step(state.t)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        v_scale = 1 / one_minus_power(b2, t)  # the mean starts at 0
        rho, _ = rectifier(b2, t, v_scale)
        a = jax.tree.map(lambda g, v: jnp.where(rho > 4, g / (jnp.sqrt(v_scale * v) + eps), g), grads, v)
        return a, ScaleState(t, v)

    return schedule_free(
        optimizer(init, ascend),
        "schedule_free_radam",
        rectified,
        None,
        b1,
        weight_decay,
        weight_lr_power,
        weight_step_power,
        state_dtype,
    )
