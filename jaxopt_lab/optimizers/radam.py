"""RAdam: Adam with a warm-up that follows from the variance of its step."""

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
from jaxopt_lab.optimizers.nadam import corrected
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class RAdamState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2


def rectifier(b2: Scalar, t: jax.Array, v_scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return rho_t, the number of gradients that the mean of g^2 is worth at step t, and the factor r_t on the step.

    v_scale is 1 / (1 - b2^t), which every caller has at hand.
    """
    rho_end = 2 / (1 - b2) - 1
    x = -jnp.log1p(b2 - 1)  # b2^t = e^(-t x)
    # While t x is small, rho_end - rho_t is a difference of two large numbers. Inserting 1 / (e^y - 1) = 1 / y - 1 / 2
    # + h(y) into both cancels them by hand. Below 0.2, four terms of h give rho_t to 1e-13.
    h = lambda y: y * (1 / 12 - y**2 * (1 / 720 - y**2 * (1 / 30240 - y**2 / 1209600)))
    rho = jnp.where(t * x < 0.2, t - 2 * (t * h(t * x) - h(x)), rho_end - 2 * t * (v_scale - 1))
    free = rho > 4  # until then the variance is infinite, and there is no step to rectify
    above = jnp.where(free, rho, 5)
    square = (above - 4) * (above - 2) * rho_end / ((rho_end - 4) * (rho_end - 2) * above)
    # `where` also before the root, since the derivative of the root at 0 is infinite.
    return rho, jnp.where(free, jnp.sqrt(jnp.where(free, square, 1)), 0)


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
)
def radam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    threshold: Scalar = 5.0,
    *,
    nesterov: bool = False,
    eps_before_correction: bool = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """Rectified Adam (Liu et al. 2020, Algorithm 2, https://arxiv.org/abs/1908.03265).

        rho_t = rho - 2 t b2^t / (1 - b2^t),  rho = 2 / (1 - b2) - 1
        r_t = sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t))
        a <- m / (1 - b1^t)                                                            m, v: Adam's
        w <- w - learning_rate * r_t * a / (sqrt(v / (1 - b2^t) + eps_root) + eps)     rho_t >= threshold
        w <- w - learning_rate * a                                                     until then

    The paper's threshold is rho_t > 4, and it has no eps; the authors' code and both libraries use rho_t >= 5. PyTorch
    adds eps to the root before its correction.

    Args:
        learning_rate: Step size, > 0, in units of w (until rho_t reaches the threshold: of w per unit of g); scalar,
            traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1); below 1 - 2 / (threshold + 1), 0.67 by default, v is never used.
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        threshold: Value of rho_t from which v is used, >= 4.
        nesterov: Whether the mean of g is NAdam's, a step ahead.
        eps_before_correction: Whether eps is added to sqrt(v + eps_root), and the sum divided by sqrt(1 - b2^t).
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    """

    def init(params: Params) -> RAdamState:
        return RAdamState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), reals_like(params, moment_dtype))

    def update(grads, state, params=None):
        t = next_step(state.t)
        rate = value_at(learning_rate, state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * squared(g), state.v, grads)
        scale, mean = corrected(m, grads, b1, t, nesterov)
        v_scale = 1 / one_minus_power(b2, t)
        rho, r = rectifier(b2, t, v_scale)

        def step(mean, v):
            if eps_before_correction:
                root = jnp.sqrt(v_scale) * (jnp.sqrt(v + eps_root) + eps)
            else:
                root = jnp.sqrt(v_scale * v + eps_root) + eps
            return -rate * scale * jnp.where(rho >= threshold, mean * (r / root), mean)

        return jax.tree.map(step, mean, v), RAdamState(t, m, v)

    return optimizer(init, update)
