"""AdaBelief: Adam with the deviation of the gradient from its mean in place of the gradient's square."""

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
from jaxopt_lab.optimizers._compiler import plus
from jaxopt_lab.optimizers._decay import Mask, decayed, is_off
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.nadam import corrected
from jaxopt_lab.optimizers.radam import rectifier
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdaBeliefState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    s: Params  # running mean of (g - m)**2, and every step's eps_root


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps_root=Prior(1e-16, 1e-8, "log", "the authors' range, https://github.com/juntang-zhuang/Adabelief-Optimizer"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    nesterov: bool = False,
    rectify: bool = False,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdaBelief (Zhuang et al. 2020, Algorithm 2, https://arxiv.org/abs/2010.07468).

        m <- b1 m + (1 - b1) g
        s <- b2 s + (1 - b2) (g - m)^2 + eps_root
        w <- w - learning_rate * m / (1 - b1^t) / (sqrt(s / (1 - b2^t)) + eps)

    The eps_root of every step stays in s, as in the paper, so the corrected s never falls below eps_root / (1 - b2).
    The authors' package has since rectified the step by default, as RAdam does, with eps added before the correction:

        w <- w - learning_rate * r_t * m / (1 - b1^t) / (sqrt(s) + eps) * sqrt(1 - b2^t)     rho_t >= 5
        w <- w - learning_rate * m / (1 - b1^t)                                              until then

    Weight decay is decoupled, as in the authors' default: learning_rate * weight_decay * w is also subtracted.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in (0, 1): at 0, g is never away from its mean.
        b2: Decay of the mean of (g - m)^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added to s in every step, > 0, in units of g^2.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        nesterov: Whether the mean of g is NAdam's, a step ahead.
        rectify: Whether the step is rectified as RAdam's.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `s`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `s` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, and there is weight decay.

    """

    def init(params: Params) -> AdaBeliefState:
        m, s = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        return AdaBeliefState(jnp.zeros([], jnp.int32), m, s)

    def update(grads, state, params=None):
        if not is_off(weight_decay):
            needs_params(params, "adabelief", "decays")
        t = next_step(state.t)
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        s = jax.tree.map(lambda s, g, m: plus(b2 * s + eps_root, (1 - b2) * squared(g - m)), state.s, grads, m)
        scale, mean = corrected(m, grads, b1, t, nesterov)
        s_scale = 1 / one_minus_power(b2, t)
        rho, r = rectifier(b2, t, s_scale)

        def step(mean, s):
            if rectify:
                factor = jnp.where(rho >= 5, r / (jnp.sqrt(s_scale) * (jnp.sqrt(s) + eps)), 1)
            else:
                factor = 1 / (jnp.sqrt(s_scale * s) + eps)
            return -rate * scale * (mean * factor)

        updates = decayed(jax.tree.map(step, mean, s), params, decay, mask, rate=-rate)
        return updates, AdaBeliefState(t, m, s)

    return optimizer(init, update)
