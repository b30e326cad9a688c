"""AdaMax: Adam with the largest recent gradient in place of the root mean square."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    descent,
    method,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    value_at,
    zeros_like,
)
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdaMaxState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    u: Params  # largest |g|, those of the past decayed


def adamax_direction(
    b1: Scalar, b2: Scalar, eps: Scalar, *, rate: ScalarOrSchedule = 1.0, moment_dtype: Any = None
) -> Optimizer:
    """Give `rate` times the direction of AdaMax's step, uphill."""

    def init(params: Params) -> AdaMaxState:
        return AdaMaxState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), reals_like(params, moment_dtype))

    def update(grads, state, params=None):
        t = next_step(state.t)
        now = value_at(rate, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        u = jax.tree.map(lambda u, g: jnp.maximum(b2 * u, jnp.abs(g) + eps), state.u, grads)
        m_scale = 1 / one_minus_power(b1, t)  # the mean starts at 0; a maximum needs no correction
        return jax.tree.map(lambda m, u: now * m_scale * (m / u), m, u), AdaMaxState(t, m, u)

    return optimizer(init, update)


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
)
def adamax(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    *,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdaMax (Kingma & Ba 2015, Algorithm 2, https://arxiv.org/abs/1412.6980).

        m <- b1 m + (1 - b1) g
        u <- max(b2 u, |g| + eps)
        w <- w - learning_rate * m / (1 - b1^t) / u

    The paper has no eps; Optax and PyTorch add it here, within the maximum. The paper's learning rate is twice
    Adam's, 2e-3.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the largest |g|, in [0, 1).
        eps: Added to |g|, > 0, in units of g: u is never less.
        moment_dtype: Dtype of `m` and `u`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `u` have the shapes of the parameters.

    """
    return descent(adamax_direction(b1, b2, eps, rate=learning_rate, moment_dtype=moment_dtype))
