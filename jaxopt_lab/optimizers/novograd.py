"""NovoGrad: momentum along gradients that are divided by a running root mean square of each tensor's norm."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, value_at, zeros_like
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._numerics import real_dtype, wide_dtype
from jaxopt_lab.optimizers._sums import product
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class NovoGradState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # decaying sum of normalised gradients
    v: Params  # running mean of |g|**2, a scalar for every tensor


@method(
    learning_rate=Prior(1e-4, 1e0, "log", "1e-2, two decades either way; our choice"),
    b1=Prior(0.5, 0.99, "one_minus", "a memory of a few steps to a hundred; our choice"),
    b2=Prior(0.2, 0.999, "one_minus", "from Optax's default to a memory of a thousand steps; our choice"),
    weight_decay=Prior(1e-5, 1e-2, "log", "1e-3, about a decade or two either way; our choice"),
)
def novograd(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.25,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    moment_dtype: Any = None,
) -> Optimizer:
    """NovoGrad (Ginsburg et al. 2019, Algorithm 1, https://arxiv.org/abs/1905.11286), for every tensor w by itself:

        v <- b2 v + (1 - b2) |g|^2; at the first step |g|^2
        m <- b1 m + g / (sqrt(v + eps_root) + eps) + weight_decay * w
        w <- w - learning_rate * m

    |.| is the Euclidean (Frobenius) norm. Defaults are Optax's; the paper's experiments mostly use b1 = 0.95 and b2 =
    0.98.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the sum m, in [0, 1); a steady direction is amplified by 1 / (1 - b1).
        b2: Decay of the mean of |g|^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; > 0 where the update itself is differentiated.
        weight_decay: Added to the normalised gradient per unit of w, >= 0; scalar, traced or a schedule.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters, `v` holds scalars in float32 at the least.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> NovoGradState:
        needs_leaves(params, "novograd")
        v = jax.tree.map(lambda w: jnp.zeros([], wide_dtype(real_dtype(jnp.result_type(w)))), params)
        return NovoGradState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), v)

    def update(grads, state, params=None):
        needs_params(params, "novograd", "decays")
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        kept = jnp.where(state.t == 0, 0, b2)  # v starts at the first square
        v = jax.tree.map(lambda v, g: kept * v + (1 - kept) * product(g, g), state.v, grads)
        a = jax.tree.map(lambda g, v: g / (jnp.sqrt(v + eps_root) + eps), grads, v)
        m = jax.tree.map(lambda m, a: b1 * m + a, state.m, decayed(a, params, decay))
        return jax.tree.map(lambda m: -rate * m, m), NovoGradState(next_step(state.t), m, v)

    return optimizer(init, update)
