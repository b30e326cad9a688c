"""Momentum: gradient descent along a decaying sum of gradients, a heavy ball."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import optimizer, value_at
from jaxopt_lab.types import Optimizer, Params, Scalar, ScalarOrSchedule


class MomentumState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # decaying sum of g


def momentum(learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9, *, nesterov: bool = False) -> Optimizer:
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

    Returns:
        The (init, update) pair; `m` has the shapes and dtypes of the parameters.

    """

    def init(params: Params) -> MomentumState:
        return MomentumState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        decay_and_add = lambda g, m: g + momentum * m
        m = jax.tree.map(decay_and_add, grads, state.m)
        ahead = jax.tree.map(decay_and_add, grads, m) if nesterov else m
        return jax.tree.map(lambda a: -rate * a, ahead), MomentumState(state.t + 1, m)

    return optimizer(init, update)
