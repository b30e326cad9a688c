"""NAdam: Adam with Nesterov's look-ahead in the mean of the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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


class NAdamState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2
    missing: Float[Array, ""] | None  # 1 - mu_1 ... mu_t; None without momentum_decay, where it is 1 - b1**t


def corrected(m: Params, grads: Params, b1: Scalar, t: jax.Array, nesterov: bool) -> tuple[Scalar, Params]:
    """Return the mean of g corrected for its start at 0, as a scalar and what it multiplies.

    With `nesterov`, one step ahead.
    """
    if nesterov:
        return 1.0, weighted(m, grads, b1 / one_minus_power(b1, t + 1), (1 - b1) / one_minus_power(b1, t))
    return 1 / one_minus_power(b1, t), m


def weighted(m: Params, grads: Params, m_weight: Scalar, g_weight: Scalar) -> Params:
    """Return a weighted sum of m and g."""
    return jax.tree.map(lambda m, g: m_weight * m + g_weight * g, m, grads)


def nadam_direction(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    eps_root: Scalar,
    momentum_decay: Scalar | None,
    *,
    rate: ScalarOrSchedule = 1.0,
    moment_dtype: Any = None,
) -> Optimizer:
    """Give `rate` times the direction of NAdam's step, uphill."""

    def init(params: Params) -> NAdamState:
        missing = None if momentum_decay is None else jnp.zeros([], float)
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        return NAdamState(jnp.zeros([], jnp.int32), m, v, missing)

    def update(grads, state, params=None):
        t = next_step(state.t)
        now = value_at(rate, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        if momentum_decay is None:
            missing = None
            _, ahead = corrected(m, grads, b1, t, nesterov=True)
        else:
            mu, mu_next = (b1 * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
            after = lambda missing, mu: missing + (1 - missing) * (1 - mu)  # 1 - product of mu, without cancellation
            missing = after(state.missing, mu)
            ahead = weighted(m, grads, mu_next / after(missing, mu_next), (1 - mu) / missing)
        v_scale = 1 / one_minus_power(b2, t)
        direction = lambda ahead, v: now * (ahead / (jnp.sqrt(v_scale * v + eps_root) + eps))
        return jax.tree.map(direction, ahead, v), NAdamState(t, m, v, missing)

    return optimizer(init, update)


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
)
def nadam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    momentum_decay: Scalar | None = None,
    *,
    moment_dtype: Any = None,
) -> Optimizer:
    """NAdam (Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        a <- b1 m / (1 - b1^(t + 1)) + (1 - b1) g / (1 - b1^t)
        w <- w - learning_rate * a / (sqrt(v / (1 - b2^t) + eps_root) + eps)

    With `momentum_decay`, PyTorch's convention: b1 rises to its value, in a only,

        mu_t <- b1 (1 - 0.96^(t * momentum_decay) / 2)
        a <- mu_(t + 1) m / (1 - mu_1 ... mu_(t + 1)) + (1 - mu_t) g / (1 - mu_1 ... mu_t)

    The paper also multiplies the corrected v by b2, which neither library does.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        momentum_decay: How fast mu rises from b1 / 2 to b1, per step, > 0; PyTorch's default is 4e-3. None (the
            default, Optax's): mu is b1.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    """
    direction = nadam_direction(b1, b2, eps, eps_root, momentum_decay, rate=learning_rate, moment_dtype=moment_dtype)
    return descent(direction)
