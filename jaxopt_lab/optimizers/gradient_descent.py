"""Gradient descent: a step against the gradient."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, step_count, value_at
from jaxopt_lab.types import Optimizer, Params, Prior, ScalarOrSchedule


class GradientDescentState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule


@method(learning_rate=Prior(1e-4, 1.0, "log", "the usual values and decades either way; our choice"))
def gradient_descent(learning_rate: ScalarOrSchedule) -> Optimizer:
    """Gradient descent (Cauchy 1847; Nocedal & Wright 2006, Numerical Optimization, chapter 3).

        w <- w - learning_rate * g

    On a quadratic with largest curvature L it converges for learning_rate < 2/L. With the gradient of a random batch
    instead of the whole objective, it is stochastic gradient descent: see `sgd`.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.

    Returns:
        The (init, update) pair; the state is the number of steps taken, under a schedule.

    """

    def init(params: Params) -> GradientDescentState:
        return GradientDescentState(step_count(learning_rate))

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda g: -rate * g, grads), GradientDescentState(next_step(state.t))

    return optimizer(init, update)
