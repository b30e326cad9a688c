"""SM3: Adagrad that stores one maximum per slice instead of a tensor of sums of squares."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, step_count, value_at, zeros_like
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class SM3State(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    mu: Params  # for every axis of a parameter, the largest v of each slice across it
    m: Params  # running mean of scaled g


@method(
    learning_rate=Prior(1e-3, 1.0, "log", "around Adagrad's usual 0.1"),
    momentum=Prior(0.5, 0.99, "one_minus", "around the default 0.9"),
)
def sm3(
    learning_rate: ScalarOrSchedule, momentum: Scalar = 0.9, eps: Scalar = 1e-8, *, moment_dtype: Any = None
) -> Optimizer:
    """SM3-II (Anil et al. 2019, https://arxiv.org/abs/1901.11150), with momentum.

        v <- min over axes(mu) + g^2
        mu <- for each axis: max of v over the other axes
        m <- momentum m + (1 - momentum) g / sqrt(v + eps)      0 where v is 0
        w <- w - learning_rate * m

    A vector keeps all its sums: there it is Adagrad. The paper has no eps.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        momentum: Decay of the mean of scaled g, in [0, 1).
        eps: Added under the root, >= 0, in units of g^2.
        moment_dtype: Dtype of `mu` and `m`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; a parameter of shape (a, b, ...) keeps a + b + ... numbers besides `m`.

    """

    def maxima(v):
        others = [tuple(j for j in range(v.ndim) if j != i) for i in range(max(v.ndim, 1))]
        return tuple(jnp.max(v, axes, keepdims=True, initial=None if v.size else 0) for axes in others)

    def init(params: Params) -> SM3State:
        needs_leaves(params, "sm3")
        zeros = zeros_like(params, moment_dtype)
        # Of the shapes that `maxima` returns. Calling it here would make XLA evaluate maxima of constants.
        along = lambda m, i: jnp.zeros_like(m, shape=[n if j == i else 1 for j, n in enumerate(m.shape)])
        mu = jax.tree.map(lambda m: tuple(along(m, i) for i in range(max(m.ndim, 1))), zeros)
        return SM3State(step_count(learning_rate), mu, zeros)

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)

        def accumulated(g, mu):
            least = mu[0]
            for of_axis in mu[1:]:
                least = jnp.minimum(least, of_axis)
            return least + g**2

        def scaled(g, v):
            return jnp.where(v > 0, g * jax.lax.rsqrt(jnp.where(v > 0, v + eps, 1)), 0)

        v = jax.tree.map(accumulated, grads, state.mu)
        m = jax.tree.map(lambda m, g, v: momentum * m + (1 - momentum) * scaled(g, v), state.m, grads, v)
        return jax.tree.map(lambda m: -rate * m, m), SM3State(next_step(state.t), jax.tree.map(maxima, v), m)

    return optimizer(init, update, real_only="sm3")
