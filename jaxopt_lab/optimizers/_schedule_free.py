"""Schedule-free averaging of the steps of any method (Defazio et al. 2024)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxopt_lab.optimizers._base import copied, needs_params, next_step, optimizer, value_at
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._numerics import widened
from jaxopt_lab.optimizers.wrappers.filled import answered
from jaxopt_lab.types import Optimizer, Params, Scalar, ScalarOrSchedule


class ScheduleFreeState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    z: Params  # the iterate without averaging
    largest_rate: Float[Array, ""]  # of all steps so far
    weight: Float[Array, ""]  # sum of the steps' weights in the average
    b1: Float[Array, ""]  # weight of x in y
    inner: Any  # state of the method that takes the steps

    def evaluation_params(self, params: Params) -> Params:
        """Return the average x, which is the answer; `params` is y, where gradients are taken."""
        # Written so that x is y, to the last bit, as long as z is.
        return answered(lambda z, y: widened(y) + (1 - 1 / self.b1) * (z - widened(y)), self.z, params)


def averaged(
    init_inner: Callable[..., Any],
    step: Callable[..., Any],
    name: str,
    learning_rate: ScalarOrSchedule,
    b1: Scalar,
    weight_decay: ScalarOrSchedule | None,
    weight_lr_power: Scalar,
    weight_step_power: Scalar,
    state_dtype: Any,
) -> Optimizer:
    """Average the steps u that the method `name` takes from z: (u, inner) = step(g, inner, z, rate, extra).

        y = (1 - b1) z + b1 x                                   the parameters, where g is taken
        z <- z - rate * weight_decay * y + u                    rate: learning_rate at this step
        c = weight / (sum of all weights so far)                weight: t^weight_step_power * max(rate)^weight_lr_power
        x <- (1 - c) x + c z                                    the answer: `evaluation_params`

    y and z are stored; x follows from them.
    """

    def init(params: Params) -> ScheduleFreeState:
        zero = lambda dtype: jnp.zeros([], dtype)  # an array for each, so that a state can be donated
        z, share = copied(params, state_dtype), jnp.array(b1, float)
        return ScheduleFreeState(zero(jnp.int32), z, zero(float), zero(float), share, init_inner(params))

    def update(grads, state, params=None, **extra):
        needs_params(params, name, "averages")
        t, rate = next_step(state.t), value_at(learning_rate, state.t)
        decay = 0 if weight_decay is None else value_at(weight_decay, state.t)
        from_z = decayed(state.z, params, decay, rate=-rate)
        u, inner = step(grads, state.inner, from_z, rate, extra)
        move = decayed(u, params, decay, rate=-rate)

        c, largest_rate, total = weighed(state, rate, weight_lr_power, weight_step_power)
        updates, z = moved(params, state.z, move, b1, c)
        return updates, ScheduleFreeState(t, z, largest_rate, total, state.b1, inner)

    return optimizer(init, update)


def weighed(
    state: ScheduleFreeState, rate: Any, weight_lr_power: Scalar, weight_step_power: Scalar
) -> tuple[Any, Any, Any]:
    """Return the share of this step's z in the average, the largest rate, and the sum of all weights, so far."""
    largest_rate = jnp.maximum(state.largest_rate, rate)
    weight = next_step(state.t).astype(float) ** weight_step_power * largest_rate**weight_lr_power
    total = state.weight + weight
    return weight / jnp.where(total > 0, total, 1), largest_rate, total  # steps of rate 0 leave x where it is


def moved(y: Params, z: Params, move: Params, b1: Scalar, c: Any) -> tuple[Params, Params]:
    """Return the change of y, and z, after a move of z, of which the average x takes the share c.

    z <- z + move,  x <- (1 - c) x + c z,  y <- (1 - b1) z + b1 x,  all without x: there is no division by b1, and
    nothing cancels.
    """
    z = jax.tree.map(jnp.add, z, move)
    return jax.tree.map(lambda y, z, move: c * (z - y) + (1 - b1) * (1 - c) * move, y, z, move), z


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
    """Average the steps of the method `name` along what `ascent` gives, with warm-up: see `averaged`."""

    def rate(t):
        now = value_at(learning_rate, t)
        return now if warmup_steps is None else now * jnp.minimum((t + 1).astype(float) / warmup_steps, 1)

    def step(grads, inner, z, rate, extra):
        a, inner = ascent.update(grads, inner, z)
        return jax.tree.map(lambda a: -rate * a, a), inner

    parts = ascent.init, step, name, rate, b1, weight_decay, weight_lr_power, weight_step_power, state_dtype
    return averaged(*parts)
