"""Signum: sign descent along a running mean of the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, value_at, zeros_like
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class SignumState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    beta=Prior(0.5, 0.999, "one_minus", "as Adam's b1"),
)
def signum(learning_rate: ScalarOrSchedule, beta: Scalar = 0.9, *, moment_dtype: Any = None) -> Optimizer:
    """Signum (Bernstein et al. 2018, Algorithm 2, https://arxiv.org/abs/1802.04434).

        m <- beta m + (1 - beta) g
        w <- w - learning_rate * sign(m)      sign(0) = 0

    The start of m at 0 needs no correction, since only the sign of m is used.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: Decay of the mean of g, in [0, 1); at 0 it is `sign_sgd`.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters.

    """

    def init(params: Params) -> SignumState:
        return SignumState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        m = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.m, grads)
        return jax.tree.map(lambda m: -rate * jnp.sign(m), m), SignumState(next_step(state.t), m)

    return optimizer(init, update, real_only="signum")
