"""QHAdam: Adam with the gradient mixed into its means."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, one_minus_power, optimizer
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.adam import AdamState, adam_means, adam_start
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    nu1=Prior(0.5, 1.0, "linear", "around 0.7 and 0.8, Ma & Yarats 2019, https://arxiv.org/abs/1810.06801"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def qhadam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    nu1: Scalar = 1.0,
    nu2: Scalar = 1.0,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """QHAdam, quasi-hyperbolic Adam (Ma & Yarats 2019, https://arxiv.org/abs/1810.06801).

        m' <- nu1 m / (1 - b1^t) + (1 - nu1) g               m, v: Adam's
        v' <- nu2 v / (1 - b2^t) + (1 - nu2) g^2
        w <- w - learning_rate * (m' / (sqrt(v') + eps) + weight_decay * w)

    With nu1 = nu2 = 1 (the authors' default) it is AdamW, with nu2 = 1 and nu1 = b1 nearly NAdam, and with nu1 = 0
    RMSProp. Decay is the authors' decoupled option; their default adds it to g: `optax.add_decayed_weights` before the
    method.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1); 0.995 with nu1 = 0.7 is the paper's advice beside Adam's 0.9.
        b2: Decay of the mean of g^2, in [0, 1).
        nu1: Share of the mean in the numerator, in [0, 1]; the rest is g.
        nu2: Share of the mean in the divisor, in [0, 1]; the rest is g^2.
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
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
        m_scale, v_scale = nu1 / one_minus_power(b1, state.t), nu2 / one_minus_power(b2, state.t)

        def direction(m, v, g):
            return (m_scale * m + (1 - nu1) * g) / (jnp.sqrt(v_scale * v + (1 - nu2) * squared(g)) + eps)

        return jax.tree.map(direction, state.m, state.v, grads), state

    return decoupled(optimizer(init, ascend), "qhadam", learning_rate, weight_decay, mask)
