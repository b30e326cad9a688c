"""MoMo-Adam: Adam with steps to where a model of the loss reaches its lower bound."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers._sums import inner
from jaxopt_lab.optimizers.momo import truncated_step
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class MomoAdamState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2
    f: Float[Array, ""]  # running mean of the loss
    dot: Float[Array, ""]  # running mean of <g, w>
    bound: Float[Array, ""]  # lower bound of the loss, as given or as last estimated


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "our judgement: the default, two decades either way"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def momo_adam(
    learning_rate: ScalarOrSchedule = 1e-2,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    lower_bound: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    adapt_lower_bound: bool = False,
    divide: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """MoMo-Adam (Schaipp et al. 2024, Algorithm 2, https://arxiv.org/abs/2305.07583).

        m, f, dot <- running means of g, of the loss and of <g, w>, decay b1      all from 0: their weights sum to
        v   <- b2 v + (1 - b2) g^2                                                weight = 1 - b1^t
        D   <- sqrt(v / (1 - b2^t)) + eps
        L   <- 1 + learning_rate * weight_decay
        tau <- min(learning_rate / weight, max(L (f - weight * bound - dot) + <m, w>, 0) / <m, m / D>)
        w   <- (w - tau m / D) / L

    `momo.truncated_step` gives tau in full. With weight decay, Optax's step w / L - tau m / D differs from that of the
    paper and the authors: a division by L is missing. Below <m, m / D> = 2.2e-16 Optax does not move; the paper has no
    such rule.

    Args:
        learning_rate: Largest step size, > 0, in units of w; scalar, traced or a schedule.
        b1: Decay of the means of g, the loss and <g, w>, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, > 0, in units of g.
        lower_bound: A lower bound of the loss, in its units; the tighter, the better the step.
        weight_decay: Proximal decay, >= 0: of w, the share 1 - 1 / L is taken off; scalar, traced or a schedule.
        adapt_lower_bound: Whether the bound is estimated during the run, from `lower_bound` upwards.
        divide: Whether decay is proximal as above; otherwise it is AdamW's: w (1 - learning_rate * weight_decay) - tau
            m / D.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `update` needs `value`, the loss at params.

    Raises:
        ValueError: `update` was called without the parameters or without `value`.

    """

    def init(params: Params) -> MomoAdamState:
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        f, dot = (jnp.zeros([], float) for _ in range(2))
        bound: Any = jnp.asarray(lower_bound, float)
        return MomoAdamState(jnp.zeros([], jnp.int32), m, v, f, dot, bound)

    def update(grads, state, params=None, *, value):
        needs_params(params, "momo_adam", "models the loss over")
        t = next_step(state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        f = b1 * state.f + (1 - b1) * value
        dot = b1 * state.dot + (1 - b1) * inner(grads, params)
        weight, v_scale = one_minus_power(b1, t), 1 / one_minus_power(b2, t)
        step = jax.tree.map(lambda m, v: m / (jnp.sqrt(v_scale * v) + eps), m, v)

        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        shrink = 1 + rate * decay  # the model divides even if the step does not, as in the authors' code
        tau, bound = truncated_step(
            rate, f, dot, inner(m, params), inner(m, step), shrink, weight, state.bound, lower_bound, adapt_lower_bound
        )
        divisor = shrink if divide else 1
        steps = decayed(jax.tree.map(lambda step: tau / divisor * step, step), params, decay, rate=rate / divisor)
        return jax.tree.map(jnp.negative, steps), MomoAdamState(t, m, v, f, dot, bound)

    return optimizer(init, update)
