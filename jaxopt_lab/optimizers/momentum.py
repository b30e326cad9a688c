"""Momentum: gradient descent along a decaying sum of gradients, a heavy ball."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, step_count, value_at, zeros_like
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class MomentumState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    m: Params  # decaying sum of g


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "the usual values and decades either way; our choice"),
    momentum=Prior(0.5, 0.999, "one_minus", "a memory of a few steps to a thousand; our choice"),
)
def momentum(
    learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9, *, nesterov: bool = False, moment_dtype: Any = None
) -> Optimizer:
    """Heavy ball (Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5), or with Nesterov's look-ahead
    (Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html).

        m <- momentum * m + g
        w <- w - learning_rate * m                     heavy ball
        w <- w - learning_rate * (g + momentum * m)    nesterov

    The same as `optax.sgd(learning_rate, momentum)` and `torch.optim.SGD` without dampening.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        momentum: Decay of the sum of gradients, in [0, 1); a steady gradient is amplified by 1 / (1 - momentum).
        nesterov: Whether the step looks one decay ahead.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters.

    """

    def init(params: Params) -> MomentumState:
        return MomentumState(step_count(learning_rate), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        decay_and_add = lambda g, m: g + momentum * m
        m = jax.tree.map(decay_and_add, grads, state.m)
        ahead = jax.tree.map(decay_and_add, grads, m) if nesterov else m
        return jax.tree.map(lambda a: -rate * a, ahead), MomentumState(next_step(state.t), m)

    return optimizer(init, update)
