"""Grams: the size of Adam's step in the direction of the gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, one_minus_power, optimizer
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers.adam import AdamState, adam_means, adam_start
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def grams(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    bias_correction: bool = True,
    eps_before_correction: bool = True,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Grams, gradient descent with adaptive momentum scaling (Cao, Li & Song 2024, https://arxiv.org/abs/2412.17107).

        u <- m / (1 - b1^t) / ((sqrt(v) + eps) / sqrt(1 - b2^t))       m, v: Adam's
        w <- w - learning_rate * (sign(g) |u| + weight_decay * w)

    The paper adds eps after the correction of v (`eps_before_correction=False`). Of complex numbers, sign(g) is
    g / |g|.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        bias_correction: Whether m and v are corrected for their start at 0.
        eps_before_correction: Whether eps is added to sqrt(v) before that is divided by sqrt(1 - b2^t).
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is Adam's.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> AdamState:
        return adam_start(params, moment_dtype)

    def ascend(grads, state, params=None):
        state = adam_means(grads, state, b1, b2)
        m_scale, v_scale = (
            (1 / one_minus_power(b1, state.t), 1 / one_minus_power(b2, state.t)) if bias_correction else (1.0, 1.0)
        )

        def root(v):
            if eps_before_correction:
                return jnp.sqrt(v_scale) * (jnp.sqrt(v) + eps)
            return jnp.sqrt(v_scale * v) + eps

        return jax.tree.map(
            lambda g, m, v: jnp.sign(g) * jnp.abs(m_scale * m / root(v)), grads, state.m, state.v
        ), state

    return decoupled(optimizer(init, ascend), "grams", learning_rate, weight_decay, mask)
