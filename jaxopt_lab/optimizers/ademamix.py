"""AdEMAMix: AdamW along a mixture of a fast and a slow running mean of the gradient."""

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
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdEMAMixState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # fast running mean of g
    slow: Params  # slow running mean of g
    v: Params  # running mean of g**2


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    b3=Prior(0.99, 0.9999, "one_minus", "the default and, for short runs, two decades of memory down"),
    alpha=Prior(1.0, 20.0, "log", "the default, a factor of 4 or 5 either way"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    warmup_steps: Scalar | None = None,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdEMAMix (Pagliardini, Ablin & Grangier 2025, Algorithm 1, https://arxiv.org/abs/2409.03137).

        m <- b1 m + (1 - b1) g
        slow <- b3 slow + (1 - b3) g
        v <- b2 v + (1 - b2) g^2
        a <- (m / (1 - b1^t) + alpha * slow) / (sqrt(v / (1 - b2^t) + eps_root) + eps)
        w <- w - learning_rate * (a + weight_decay * w)

    With `warmup_steps`, over these steps, alpha rises linearly from 0 and 1 / log(b3) linearly from 1 / log(b1), so
    that the slow mean's half-life grows linearly. The paper always warms up; by default, Optax and this implementation
    do not.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the fast mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        b3: Decay of the slow mean of g, in [b1, 1); scalar, traced or a schedule. 1 / (1 - b3) steps are remembered.
        alpha: Weight of the slow mean relative to the fast one, >= 0; scalar, traced or a schedule.
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        warmup_steps: Steps until alpha and b3 reach their values, >= 0; None: no warm-up.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, `slow` and `v`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `slow` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> AdEMAMixState:
        m, slow = (zeros_like(params, moment_dtype) for _ in range(2))
        return AdEMAMixState(jnp.zeros([], jnp.int32), m, slow, reals_like(params, moment_dtype))

    def update(grads, state, params=None):
        t = next_step(state.t)
        b3_now, alpha_now = value_at(b3, state.t), value_at(alpha, state.t)
        if warmup_steps is not None:
            share = jnp.minimum(t.astype(float) / warmup_steps, 1)
            b3_now = jnp.where(share < 1, _between(b1, b3_now, share), b3_now)
            alpha_now = share * alpha_now
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        slow = jax.tree.map(lambda m, g: b3_now * m + (1 - b3_now) * g, state.slow, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        # The slow mean also starts at 0, but is not corrected.
        m_scale, v_scale = 1 / one_minus_power(b1, t), 1 / one_minus_power(b2, t)
        mixed = lambda m, slow, v: (m_scale * m + alpha_now * slow) / (jnp.sqrt(v_scale * v + eps_root) + eps)
        return jax.tree.map(mixed, m, slow, v), AdEMAMixState(t, m, slow, v)

    return decoupled(optimizer(init, update), "ademamix", learning_rate, weight_decay, mask)


def _between(b1: Scalar, b3: Scalar, share: Array) -> Array:
    """Return the decay whose half-life is `share` of the way from b1's to b3's."""
    life = lambda b: 1 / jnp.log1p(b - 1 + 1e-8)  # negative; 1e-8 is the authors', so that b1 may be 0
    return jnp.exp(1 / ((1 - share) * life(b1) + share * life(b3)))
