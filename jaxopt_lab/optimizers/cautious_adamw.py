"""Cautious AdamW: AdamW that moves only where the mean of the gradient agrees in sign with the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, one_minus_power, optimizer, reals_like, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

LEAST_SHARE = 1e-3  # the smallest mean(s) that is divided by, so that a step grows by at most 1000


class CautiousAdamWState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def cautious_adamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    eps_before_correction: bool = False,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Cautious AdamW (Liang et al. 2024, https://arxiv.org/abs/2411.16085).

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        u <- m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
        s <- 1 where m g > 0, else 0
        a <- u s / max(mean(s), 1e-3)             mean: over the elements of the tensor
        w <- w - learning_rate * (a + weight_decay * w)

    The paper divides s by (sum(s) + 1) / n for a tensor of n elements; the mean is the authors' code's. That code adds
    eps before the correction unless it takes all tensors together: `eps_before_correction`.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1); at 0 the method is AdamW.
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        eps_before_correction: Whether eps is added to sqrt(v) before that is divided by sqrt(1 - b2^t).
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, or the parameters are held flat.

    """

    def init(params: Params) -> CautiousAdamWState:
        needs_leaves(params, "cautious_adamw")
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        return CautiousAdamWState(jnp.zeros([], jnp.int32), m, v)

    def update(grads, state, params=None):
        t = next_step(state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        m_scale, v_scale = 1 / one_minus_power(b1, t), 1 / one_minus_power(b2, t)  # both means start at 0

        def root(v):
            if eps_before_correction:
                return jnp.sqrt(v_scale) * (jnp.sqrt(v) + eps)
            return jnp.sqrt(v_scale * v) + eps

        def cautious(m, v, g):
            s = jnp.where(m * g > 0, 1, 0).astype(m.dtype)
            return m_scale * (m / root(v)) * (s / jnp.maximum(jnp.mean(s), LEAST_SHARE))

        return jax.tree.map(cautious, m, v, grads), CautiousAdamWState(t, m, v)

    return decoupled(
        optimizer(init, update, real_only="cautious_adamw"), "cautious_adamw", learning_rate, weight_decay, mask
    )
