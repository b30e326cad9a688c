"""Adam: steps scaled by running means of the gradient and of its square."""

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
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdamState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2


def adam_start(params: Params, moment_dtype: Any = None) -> AdamState:
    """Return Adam's first state: both means are 0."""
    return AdamState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), reals_like(params, moment_dtype))


def adam_means(grads: Params, state: AdamState, b1: Scalar, b2: Scalar) -> AdamState:
    """Renew both means by this step's gradient."""
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
    return AdamState(next_step(state.t), m, v)


def adam_direction(
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    rate: ScalarOrSchedule = 1.0,
    moment_dtype: Any = None,
) -> Optimizer:
    """Give `rate` times the direction of Adam's step, uphill: AdamW, LAMB and GaLore build on it."""

    def init(params: Params) -> AdamState:
        return adam_start(params, moment_dtype)

    def update(grads, state, params=None):
        now = value_at(rate, state.t)
        state = adam_means(grads, state, b1, b2)
        m_scale, v_scale = 1 / one_minus_power(b1, state.t), 1 / one_minus_power(b2, state.t)  # both means start at 0
        direction = lambda m, v: now * m_scale * (m / (jnp.sqrt(v_scale * v + eps_root) + eps))
        return jax.tree.map(direction, state.m, state.v), state

    return optimizer(init, update)


def preconditioner(state: AdamState, *, b2: Scalar, eps: Scalar, eps_root: Scalar, **_: Any) -> Params:
    """Return what divides m / (1 - b1^t)."""
    scale = 1 / one_minus_power(b2, state.t)
    return jax.tree.map(lambda v: jnp.sqrt(scale * v + eps_root) + eps, state.v)


@method(
    preconditioner=preconditioner,
    learning_rate=Prior(1e-5, 1e-1, "log", "the usual values and decades either way; our choice"),
    b1=Prior(0.5, 0.999, "one_minus", "a memory of a few steps to a thousand; our choice"),
    b2=Prior(0.8, 0.999, "one_minus", "a memory of a few steps to a thousand; our choice"),
    eps=Prior(
        1e-10,
        1e-1,
        "log",
        "up to where it dominates, as Choi et al. 2019 found to pay, https://arxiv.org/abs/1910.05446",
    ),
)
def adam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    moment_dtype: Any = None,
) -> Optimizer:
    """Adam (Kingma & Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980).

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        w <- w - learning_rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    """
    return descent(adam_direction(b1, b2, eps, eps_root, rate=learning_rate, moment_dtype=moment_dtype))
