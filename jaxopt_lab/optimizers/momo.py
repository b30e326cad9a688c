"""MoMo: momentum with steps to where a model of the loss reaches its lower bound."""

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
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._sums import inner, ratio
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class MomoState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    f: Float[Array, ""]  # running mean of the loss
    dot: Float[Array, ""]  # running mean of <g, w>
    bound: Float[Array, ""]  # lower bound of the loss, as given or as last estimated


def truncated_step(rate, f, dot, here, norm2, shrink, weight, bound, lower_bound, adapt_lower_bound: bool):
    """Return the step size tau of MoMo's model of the loss, and the bound for the next step.

        h     <- shrink * (f - dot) + here                     here: <m, w>
        bound <- max(h / (2 shrink weight), lower_bound)       adapting, where h < shrink * weight * bound
        tau   <- min(rate / weight, max(h - shrink * weight * bound, 0) / norm2)
        bound <- max((f + here - dot - tau norm2 / 2) / weight, lower_bound)      adapting

    `weight` is the sum of the running means' weights, `shrink` the divisor of the decayed parameters. If norm2 is 0, so
    is the direction; tau is then finite and has no effect.
    """
    h = shrink * (f - dot) + here
    if adapt_lower_bound:
        lowered = jnp.maximum(h / (2 * shrink * weight), lower_bound)
        bound = jnp.where(h < shrink * weight * bound, lowered, bound)
    tau = jnp.minimum(rate, weight * ratio(jnp.maximum(h - shrink * weight * bound, 0), norm2)) / weight
    if adapt_lower_bound:
        bound = jnp.maximum((f + here - dot - tau * norm2 / 2) / weight, lower_bound)
    return tau, bound


@method(
    learning_rate=Prior(1e-2, 1e2, "log", "our judgement: the default, two decades either way"),
    beta=Prior(0.5, 0.999, "one_minus", "as Adam's b1"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def momo(
    learning_rate: ScalarOrSchedule = 1.0,
    beta: Scalar = 0.9,
    lower_bound: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    adapt_lower_bound: bool = False,
    bias_correction: bool = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """MoMo (Schaipp et al. 2024, Algorithm 1, https://arxiv.org/abs/2305.07583).

        m   <- beta m   + (1 - beta) g              all three start at their first values, or,
        f   <- beta f   + (1 - beta) loss           with `bias_correction`, at 0
        dot <- beta dot + (1 - beta) <g, w>
        L   <- 1 + learning_rate * weight_decay
        tau <- min(learning_rate, max(L (f - bound - dot) + <m, w>, 0) / ||m||^2)
        w   <- (w - tau m) / L

    `truncated_step` gives tau in full. With weight decay, Optax's step w / L - tau m differs from that of the paper and
    the authors: a division by L is missing. Below ||m|| = 1.5e-8 Optax does not move; the paper has no such rule.

    Args:
        learning_rate: Largest step size, > 0, in units of w per unit of g; scalar, traced or a schedule.
        beta: Decay of the running means, in [0, 1).
        lower_bound: A lower bound of the loss, in its units; the tighter, the better the step.
        weight_decay: Proximal decay, >= 0: of w, the share 1 - 1 / L is taken off; scalar, traced or a schedule.
        adapt_lower_bound: Whether the bound is estimated during the run, from `lower_bound` upwards.
        bias_correction: Whether the means start at 0 and are corrected for that, instead of starting at their first
            values.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `update` needs `value`, the loss at params.

    Raises:
        ValueError: `update` was called without the parameters or without `value`.

    """

    def init(params: Params) -> MomoState:
        zero = jnp.zeros([], float)
        bound: Any = jnp.asarray(lower_bound, float)
        return MomoState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), zero, jnp.copy(zero), bound)

    def update(grads, state, params=None, *, value):
        needs_params(params, "momo", "models the loss over")
        t = next_step(state.t)
        b = beta if bias_correction else jnp.where(t == 1, 0, beta)
        weight = one_minus_power(beta, t) if bias_correction else 1
        m = jax.tree.map(lambda m, g: b * m + (1 - b) * g, state.m, grads)
        f = b * state.f + (1 - b) * value
        dot = b * state.dot + (1 - b) * inner(grads, params)

        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        shrink = 1 + rate * decay
        tau, bound = truncated_step(
            rate, f, dot, inner(m, params), inner(m, m), shrink, weight, state.bound, lower_bound, adapt_lower_bound
        )
        steps = decayed(jax.tree.map(lambda m: tau / shrink * m, m), params, decay, rate=rate / shrink)
        return jax.tree.map(jnp.negative, steps), MomoState(t, m, f, dot, bound)

    return optimizer(init, update)
