"""Schedule-free averaging of the steps of any method (Defazio et al. 2024)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxopt_lab.optimizers._base import copied, needs_params, next_step, optimizer, value_at
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._numerics import widened
from jaxopt_lab.types import Optimizer, Params, Scalar, ScalarOrSchedule


class ScheduleFreeState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    z: Params  # the iterate without averaging
    largest_rate: Float[Array, ""]  # of all steps so far
    weight: Float[Array, ""]  # sum of the steps' weights in the average
    b1: Float[Array, ""]  # weight of x in y
    ascent: Any  # state of the method that takes the steps

    def evaluation_params(self, params: Params) -> Params:
        """Return the average x, which is the answer; `params` is y, where gradients are taken."""
        # Written so that x is y, to the last bit, as long as z is.
        return jax.tree.map(
            lambda y, z: (widened(y) + (1 - 1 / self.b1) * (z - widened(y))).astype(jnp.result_type(y)), params, self.z
        )


def weighed(
    state: ScheduleFreeState, rate: Any, weight_lr_power: Scalar, weight_step_power: Scalar
) -> tuple[Any, Any, Any]:
    """Return the share of this step's z in the average, the largest rate, and the sum of all weights, so far."""
    largest_rate = jnp.maximum(state.largest_rate, rate)
    weight = next_step(state.t).astype(float) ** weight_step_power * largest_rate**weight_lr_power
    total = state.weight + weight
    return weight / jnp.where(total > 0, total, 1), largest_rate, total  # steps of rate 0 leave x where it is


def moved(y: Params, z: Params, a: Params, rate: Any, b1: Scalar, c: Any) -> tuple[Params, Params]:
    """Return the change of y, and z, after a step along a, of which the average x takes the share c.

    z <- z - rate * a,  x <- (1 - c) x + c z,  y <- (1 - b1) z + b1 x,  all without x: there is no division by b1, and
    nothing cancels.
    """
    z = jax.tree.map(lambda z, a: z - rate * a, z, a)
    return jax.tree.map(lambda y, z, a: c * (z - y) - (1 - b1) * (1 - c) * rate * a, y, z, a), z


def schedule_free(
    ascent: Optimizer,
    name: str,
    learning_rate: ScalarOrSchedule,
    warmup_steps: Scalar | None,
    b1: Scalar,
    weight_decay: ScalarOrSchedule | None,
    weight_lr_power: Scalar,
    weight_step_power: Scalar,
    state_dtype: Any,
) -> Optimizer:
    """Average the steps of the method `name` along what `ascent` gives.

        y = (1 - b1) z + b1 x                                   the parameters, where g is taken
        z <- z - rate * (a + weight_decay * y)                  a: of `ascent`; rate: with warm-up
        c = weight / (sum of all weights so far)                weight: t^weight_step_power * max(rate)^weight_lr_power
        x <- (1 - c) x + c z                                    the answer: `evaluation_params`

    y and z are stored; x follows from them.
    """

    def init(params: Params) -> ScheduleFreeState:
        zero = jnp.zeros([], float)
        z = copied(params, state_dtype)
        return ScheduleFreeState(jnp.zeros([], jnp.int32), z, zero, zero, jnp.asarray(b1, float), ascent.init(params))

    def update(grads, state, params=None):
        needs_params(params, name, "averages")
        t = next_step(state.t)
        rate = value_at(learning_rate, state.t)
        if warmup_steps is not None:
            rate = rate * jnp.minimum(t.astype(float) / warmup_steps, 1)
        a, ascent_state = ascent.update(grads, state.ascent, params)
        if weight_decay is not None:
            a = decayed(a, params, value_at(weight_decay, state.t))

        c, largest_rate, total = weighed(state, rate, weight_lr_power, weight_step_power)
        updates, z = moved(params, state.z, a, rate, b1, c)
        return updates, ScheduleFreeState(t, z, largest_rate, total, state.b1, ascent_state)

    return optimizer(init, update)
