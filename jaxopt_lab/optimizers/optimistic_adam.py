"""Optimistic Adam: Adam along an extrapolation of its last two directions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
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


class OptimisticAdamState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2
    previous: Params  # a of the step before


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
)
def optimistic_adam(
    learning_rate: ScalarOrSchedule,
    optimism: ScalarOrSchedule | None = None,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    nesterov: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """Optimistic Adam (Daskalakis et al. 2018, Algorithm 1, https://arxiv.org/abs/1711.00141).

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        n <- m / (1 - b1^t), or b1 m / (1 - b1^(t+1)) + (1 - b1) g / (1 - b1^t) with nesterov
        a <- n / (sqrt(v / (1 - b2^t) + eps_root) + eps)
        w <- w - learning_rate * a - optimism * (a - previous)      previous = a at the first step
        previous <- a

    Nesterov's look-ahead (Dozat 2016), on by default as in Optax, is not in the paper, whose `previous` starts at 0.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        optimism: Weight of the change of `a`, >= 0, in units of w; scalar, traced or a schedule. None, as in the paper:
            the learning rate, schedule or not.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        nesterov: Whether the mean of g looks one decay ahead.
        moment_dtype: Dtype of the state, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `v` and `previous` have the shapes of the parameters.

    """

    def init(params: Params) -> OptimisticAdamState:
        m, previous = (zeros_like(params, moment_dtype) for _ in range(2))
        return OptimisticAdamState(jnp.zeros([], jnp.int32), m, reals_like(params, moment_dtype), previous)

    def update(grads, state, params=None):
        t = next_step(state.t)
        rate = value_at(learning_rate, state.t)
        hope = rate if optimism is None else value_at(optimism, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        m_scale, v_scale = 1 / one_minus_power(b1, t), 1 / one_minus_power(b2, t)
        n = jax.tree.map(lambda m: m_scale * m, m)
        if nesterov:
            ahead_scale = 1 / one_minus_power(b1, t + 1)
            n = jax.tree.map(lambda m, g: b1 * (ahead_scale * m) + (1 - b1) * (m_scale * g), m, grads)
        a = jax.tree.map(lambda n, v: n / (jnp.sqrt(v_scale * v + eps_root) + eps), n, v)
        change = jax.tree.map(lambda a, previous: jnp.where(t == 1, 0, a - previous), a, state.previous)
        step = lambda a, change: -(rate * a + hope * change)
        return jax.tree.map(step, a, change), OptimisticAdamState(t, m, v, a)

    return optimizer(init, update)
