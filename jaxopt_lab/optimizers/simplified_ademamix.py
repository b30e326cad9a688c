"""Simplified AdEMAMix: a long decaying sum of gradients plus the current gradient, scaled as in Adam."""

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


class SimplifiedAdEMAMixState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # decaying sum of g
    v: Params  # running mean of g**2


@method(
    learning_rate=Prior(1e-6, 1e-2, "log", "Adam's, times a step's share of the sum, 1 - b1, of a tenth"),
    b1=Prior(0.95, 0.999, "one_minus", "the authors' advice, https://github.com/DepenM/Simplified-AdEMAMix"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    alpha=Prior(0.05, 100.0, "log", "optima for batches from 1M tokens to 32k, the same advice"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.99,
    b2: Scalar = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Simplified AdEMAMix (Morwani et al. 2025, https://arxiv.org/abs/2502.02431).

        m <- b1 m + g
        v <- b2 v + (1 - b2) g^2
        a <- (m + alpha g) / (sqrt(v / (1 - b2^t) + eps_root) + eps)
        w <- w - learning_rate * (a + weight_decay * w)

    m is a sum, not a mean: a steady gradient is amplified by 1 / (1 - b1), so learning rates are smaller than Adam's.
    The same as the authors' code without its warm-up of b1.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the sum of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        alpha: Weight of the current gradient relative to the sum, >= 0; the smaller the batch, the larger it should be;
            scalar, traced or a schedule.
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> SimplifiedAdEMAMixState:
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        return SimplifiedAdEMAMixState(jnp.zeros([], jnp.int32), m, v)

    def update(grads, state, params=None):
        t = next_step(state.t)
        alpha_now = value_at(alpha, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        v_scale = 1 / one_minus_power(b2, t)  # the mean starts at 0
        mixed = lambda m, g, v: (m + alpha_now * g) / (jnp.sqrt(v_scale * v + eps_root) + eps)
        return jax.tree.map(mixed, m, grads, v), SimplifiedAdEMAMixState(t, m, v)

    return decoupled(optimizer(init, update), "simplified_ademamix", learning_rate, weight_decay, mask)
