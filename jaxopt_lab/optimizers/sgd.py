"""Stochastic gradient descent: the gradient of a random batch, with or without momentum."""

from typing import Any

from jaxopt_lab.optimizers._base import method
from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.optimizers.momentum import momentum as heavy_ball
from jaxopt_lab.types import Optimizer, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "the usual values and decades either way; our choice"),
    momentum=Prior(0.5, 0.999, "one_minus", "a memory of a few steps to a thousand; our choice"),
)
def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar | None = None,
    *,
    nesterov: bool = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """Stochastic gradient descent (Robbins & Monro 1951, https://doi.org/10.1214/aoms/1177729586).

        w <- w - learning_rate * g        g: the gradient of one random batch

    Only the gradient is stochastic, through the task's batches. The step is that of `gradient_descent`, or that of
    `momentum` if `momentum` is given.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        momentum: Decay of the sum of gradients, in [0, 1); None (the default) keeps no sum.
        nesterov: Whether a step with momentum looks one decay ahead.
        moment_dtype: Dtype of the momentum's sum, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is `gradient_descent`'s or `momentum`'s.

    """
    if momentum is None:  # structural: whether there is a buffer
        return gradient_descent(learning_rate)
    return heavy_ball(learning_rate, momentum, nesterov=nesterov, moment_dtype=moment_dtype)
