"""AMSGrad: Adam whose divisor never falls."""

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
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AMSGradState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2
    v_max: Params  # the largest v so far, each corrected unless the maximum comes first


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
)
def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    *,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    max_before_correction: bool = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """AMSGrad (Reddi, Kale & Kumar 2018, Algorithm 2, https://arxiv.org/abs/1904.09237).

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        v_max <- max(v_max, v / (1 - b2^t))
        w <- w - learning_rate * m / (1 - b1^t) / (sqrt(v_max + eps_root) + eps)

    The paper corrects neither mean: switch both corrections off. PyTorch takes the maximum of v and divides it by 1 -
    b2^t, so its divisor can fall while 1 - b2^t rises: `max_before_correction`. The default is Optax's.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        bias_correction_mu: Whether m is divided by 1 - b1^t.
        bias_correction_nu: Whether v is divided by 1 - b2^t.
        max_before_correction: Whether the maximum is taken of the uncorrected v, and v_max is corrected instead.
        moment_dtype: Dtype of `m`, `v` and `v_max`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `v` and `v_max` have the shapes of the parameters.

    """

    def init(params: Params) -> AMSGradState:
        v, v_max = (reals_like(params, moment_dtype) for _ in range(2))
        return AMSGradState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), v, v_max)

    def update(grads, state, params=None):
        t = next_step(state.t)
        rate = value_at(learning_rate, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        m_scale = 1 / one_minus_power(b1, t) if bias_correction_mu else 1
        v_scale = 1 / one_minus_power(b2, t) if bias_correction_nu else 1
        before, after = (1, v_scale) if max_before_correction else (v_scale, 1)
        v_max = jax.tree.map(lambda v_max, v: jnp.maximum(v_max, before * v), state.v_max, v)
        step = lambda m, v_max: -rate * m_scale * (m / (jnp.sqrt(after * v_max + eps_root) + eps))
        return jax.tree.map(step, m, v_max), AMSGradState(t, m, v, v_max)

    return optimizer(init, update)
