"""ASGD: gradient descent with falling rates, and the average of its iterates as the answer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import copied, method, needs_params, next_step, optimizer, value_at
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ASGDState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    average: Params  # of w from a certain step on; w itself until then

    def evaluation_params(self, params: Params) -> Params:
        """Return the average, which is the method's answer."""
        return jax.tree.map(lambda average, w: average.astype(jnp.result_type(w)), self.average, params)


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "as SGD's"),
    decay=Prior(1e-6, 1e-2, "log", "the default 1e-4, two decades either way"),
    power=Prior(0.5, 1.0, "linear", "between 1/2 and 1, Polyak & Juditsky 1992"),
)
def asgd(
    learning_rate: ScalarOrSchedule,
    decay: Scalar = 1e-4,
    power: Scalar = 0.75,
    averaging_start: Scalar = 1e6,
    *,
    average_dtype: Any = None,
) -> Optimizer:
    """Averaged SGD (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046), as PyTorch has it.

        rate <- learning_rate / (1 + decay * learning_rate * (t - 1))^power
        w <- w - rate * (g + decay * w)
        average <- average + (w - average) / max(1, t - 1 - averaging_start)

    Evaluate at the average: `state.evaluation_params(params)`, as the training loop does. Until step averaging_start +
    2 it is w itself; with PyTorch's default it differs only after a million steps. PyTorch holds the rates in float32,
    even for float64 parameters, and calls the hyperparameters lambd, alpha and t0.

    Args:
        learning_rate: Step size at first, > 0, in units of w per unit of g; scalar, traced or a schedule.
        decay: Share of w taken off each step, times the rate, >= 0; also how fast the rate falls.
        power: Exponent of the falling rate, in (1/2, 1] for the theory; 0 keeps it constant.
        averaging_start: Steps before the average begins, >= 0; at 0 all iterates but the first count the same.
        average_dtype: Of the average, for example "float32" beside bfloat16 parameters; None keeps the parameters', but
            for float32 beside float16 ones.

    Returns:
        The (init, update) pair; the average has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> ASGDState:
        return ASGDState(jnp.zeros([], jnp.int32), copied(params, average_dtype))

    def update(grads, state, params=None):
        needs_params(params, "asgd", "averages")
        before = jnp.asarray(state.t, float)
        first = value_at(learning_rate, state.t)
        rate = first / (1 + decay * first * before) ** power
        share = 1 / jnp.maximum(1, before - averaging_start)
        updates = jax.tree.map(lambda g, w: -rate * (g + decay * w), grads, params)
        mix = lambda average, w, step: (1 - share) * average + share * (w + step)
        average = jax.tree.map(mix, state.average, params, updates)
        return updates, ASGDState(next_step(state.t), average)

    return optimizer(init, update)
