"""Adan: Adam with Nesterov's look-ahead expressed by differences of gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdanState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    g: Params  # the gradient of the step before
    m: Params  # running mean of g
    d: Params  # running mean of the differences of g from step to step
    n: Params  # running mean of (g + b2 * difference)**2


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "ten times Adam's, as the authors advise, https://github.com/sail-sg/Adan"),
    b1=Prior(0.8, 0.998, "one_minus", "the default, a decade either way"),
    b2=Prior(0.2, 0.992, "one_minus", "the default, a decade either way"),
    b3=Prior(0.9, 0.999, "one_minus", "the default, a decade either way"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def adan(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.98,
    b2: Scalar = 0.92,
    b3: Scalar = 0.99,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    proximal: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """Adan (Xie et al. 2022, Algorithm 1, https://arxiv.org/abs/2208.06677); whose betas are 1 minus ours.

        z <- g - the g before                0 in the first step
        m <- b1 m + (1 - b1) g
        d <- b2 d + (1 - b2) z
        n <- b3 n + (1 - b3) (g + b2 z)^2
        a <- (m / (1 - b1^t) + b2 d / (1 - b2^t)) / (sqrt(n / (1 - b3^t) + eps_root) + eps)
        w <- (w - learning_rate * a) / (1 + learning_rate * weight_decay)

    The corrections by 1 - b^t are those of the authors' code. Optax multiplies z and d by 1 - b2 instead of b2, its
    decay is not proximal, and its eps_root is 1e-8.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of the differences and their factor, in [0, 1).
        b3: Decay of the mean square, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        weight_decay: Strength of the decay, >= 0, times the learning rate; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        proximal: Whether w is divided by 1 + learning_rate * weight_decay after the step; if not, its share
            learning_rate * weight_decay is taken off before it.
        moment_dtype: Dtype of `g`, `m`, `d` and `n`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `g`, `m`, `d` and `n` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> AdanState:
        zeros = lambda: zeros_like(params, moment_dtype)
        return AdanState(jnp.zeros([], jnp.int32), zeros(), zeros(), zeros(), reals_like(params, moment_dtype))

    def update(grads, state, params=None):
        needs_params(params, "adan", "decays")
        t = next_step(state.t)
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        z = jax.tree.map(lambda g, before: jnp.where(t == 1, 0, g - before), grads, state.g)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        d = jax.tree.map(lambda d, z: b2 * d + (1 - b2) * z, state.d, z)
        n = jax.tree.map(lambda n, g, z: b3 * n + (1 - b3) * squared(g + b2 * z), state.n, grads, z)
        m_scale, d_scale, n_scale = (1 / one_minus_power(b, t) for b in (b1, b2, b3))
        a = jax.tree.map(
            lambda m, d, n: (m_scale * m + b2 * (d_scale * d)) / (jnp.sqrt(n_scale * n + eps_root) + eps), m, d, n
        )
        point, chosen = params, mask(params) if callable(mask) else mask
        if proximal:  # w' / (1 + rate * decay), where w' = w - rate * a, is w' less a share of itself
            point, decay = jax.tree.map(lambda w, a: w - rate * a, params, a), decay / (1 + rate * decay)
        updates = jax.tree.map(lambda a: -rate * a, decayed(a, point, decay, chosen))
        return updates, AdanState(t, grads, m, d, n)

    return optimizer(init, update)
