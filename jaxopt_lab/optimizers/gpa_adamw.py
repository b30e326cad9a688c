"""GPA-AdamW: AdamW whose gradients are taken between its iterate and an exponential average, which is the answer."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import copied, method, needs_params, next_step, optimizer, value_at
from jaxopt_lab.optimizers._decay import decayed, is_off
from jaxopt_lab.optimizers._schedule_free import ScheduleFreeState, moved, weighed
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

DECAYS = ("z", "y", "both")


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
    train_interpolation=Prior(0.5, 0.98, "one_minus", "around the authors' default 0.7"),
    evaluation_interpolation=Prior(0.9, 0.999, "one_minus", "around the authors' default 0.9967"),
)
def gpa_adamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    train_interpolation: Scalar = 0.7,
    evaluation_interpolation: Scalar = 0.9967,
    weight_lr_power: Scalar = 2.0,
    weight_step_power: Scalar = 0.0,
    *,
    schedule_free: bool = False,
    decay_of: str = "z",
    state_dtype: Any = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdamW with generalised primal averaging (Defazio et al. 2025, https://arxiv.org/abs/2512.17131).

        y = (1 - mu_y) z + mu_y x              the parameters, where g is taken; mu_y: train_interpolation
        a <- m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)                                 m, v: Adam's
        z <- (1 - learning_rate * weight_decay) z - learning_rate * a
        x <- mu_x x + (1 - mu_x) z                                         mu_x: evaluation_interpolation

    Evaluate at x: `state.evaluation_params(params)`, as the training loop does. With `schedule_free`, 1 - mu_x is
    Schedule-Free's weight of the step; with b1 = 0 as well, the method is `schedule_free_adamw` (but for decay). y and
    z are stored, and x follows from them; so whatever decays y or z alone also moves x.

    Args:
        learning_rate: Step size of z, >= 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        train_interpolation: Share of the average x in y, in (0, 1].
        evaluation_interpolation: Share that x keeps of itself in each step, in [0, 1].
        weight_lr_power: With `schedule_free`, the power of the learning rate in the weights of the average.
        weight_step_power: With `schedule_free`, the power of the step number in them.
        schedule_free: Whether the average is Schedule-Free's instead of an exponential one.
        decay_of: What decays, before the step: "z"; "y"; or "both", where the decay of y is a part of a, as in
            Schedule-Free and in a later version of the authors' code.
        state_dtype: Dtype of `z`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.
        moment_dtype: Dtype of `m` and `v`, likewise.

    Returns:
        The (init, update) pair; `z`, `m` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `decay_of` is none of the three, or `update` was called without the parameters.

    """
    if decay_of not in DECAYS:
        raise ValueError(f"decay_of must be one of {DECAYS}, got {decay_of!r}.")
    direction, mu_y = adam_direction(b1, b2, eps, moment_dtype=moment_dtype), train_interpolation

    def init(params: Params) -> ScheduleFreeState:
        zero = lambda dtype: jnp.zeros([], dtype)  # an array for each, so that a state can be donated
        z, share = copied(params, state_dtype), jnp.array(mu_y, float)
        return ScheduleFreeState(zero(jnp.int32), z, zero(float), zero(float), share, direction.init(params))

    def update(grads, state, params=None):
        needs_params(params, "gpa_adamw", "averages")
        y, z, rate, decay = params, state.z, value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        a, adam = direction.update(grads, state.inner, y)
        c, largest_rate, total = weighed(state, rate, weight_lr_power, weight_step_power)
        if not schedule_free:
            c = 1 - evaluation_interpolation

        shrink = lambda w: w if is_off(decay) else jax.tree.map(lambda w: w - rate * decay * w, w)
        if decay_of == "z":
            z = shrink(z)
        elif decay_of == "y":
            y = shrink(y)
        else:
            a = decayed(a, y, decay)
        updates, z = moved(y, z, jax.tree.map(lambda a: -rate * a, a), mu_y, c)
        if decay_of == "y":
            updates = jax.tree.map(lambda u, shrunk, w: u + (shrunk - w), updates, y, params)
        return updates, ScheduleFreeState(next_step(state.t), z, largest_rate, total, state.b1, adam)

    return optimizer(init, update)
