"""Optimistic gradient descent: a step along an extrapolation of the last two gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, step_count, value_at, zeros_like
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class OptimisticGradientDescentState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    first: Bool[Array, ""]  # whether there was no step before
    previous: Params  # g of the step before


@method(
    learning_rate=Prior(1e-4, 1e0, "log", "as gradient descent's, whose steps these are where g is steady"),
    beta=Prior(0.1, 10.0, "log", "the default, a decade either way"),
)
def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Scalar = 1.0, beta: Scalar = 1.0, *, moment_dtype: Any = None
) -> Optimizer:
    """Generalized OGDA (Mokhtari, Ozdaglar & Pattathil 2020, https://arxiv.org/abs/1901.08511).

        w <- w - learning_rate * ((alpha + beta) g - beta * previous)      previous = g at the first step
        previous <- g

    With alpha = beta = 1 it is Popov's method (1980): 2 g - previous estimates the gradient at the next point, so in
    two-player games it converges where gradient descent circles or diverges.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        alpha: Weight of the gradient, > 0.
        beta: Weight of its change since the step before, >= 0; at 0 it is `gradient_descent`.
        moment_dtype: Dtype of `previous`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `previous` has the shapes of the parameters.

    """

    def init(params: Params) -> OptimisticGradientDescentState:
        previous = zeros_like(params, moment_dtype)
        return OptimisticGradientDescentState(step_count(learning_rate), jnp.ones([], bool), previous)

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        previous = jax.tree.map(lambda p, g: jnp.where(state.first, g, p), state.previous, grads)
        step = lambda g, previous: -rate * ((alpha + beta) * g - beta * previous)
        state = OptimisticGradientDescentState(next_step(state.t), jnp.zeros([], bool), grads)
        return jax.tree.map(step, grads, previous), state

    return optimizer(init, update)
