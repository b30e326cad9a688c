"""Mirror MADGRAD: MADGRAD's weights and momentum around mirror descent instead of dual averaging."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import copied, method, needs_params, next_step, optimizer, reals_like, value_at
from jaxopt_lab.optimizers._compiler import cube_root
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class MirrorMadgradState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    v: Params  # sum of g**2, weighted by the root of their step over the root of the present one
    z: Params  # the iterate without momentum


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as MADGRAD's: the authors' default is 1e-2"),
    momentum=Prior(0.5, 0.99, "one_minus", "around the default 0.9"),
    weight_decay=Prior(1e-6, 1e-2, "log", "as MADGRAD's"),
)
def mirror_madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar = 0.9,
    weight_decay: Scalar = 0.0,
    eps: Scalar = 0.0,
    *,
    decouple_decay: bool = False,
    state_dtype: Any = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Mirror MADGRAD, a variant by MADGRAD's authors (Defazio & Jelassi 2021, https://arxiv.org/abs/2101.11075) that
    only their code describes (https://github.com/facebookresearch/madgrad).

        rate <- learning_rate + eps                   0 where the learning rate is
        g <- g + weight_decay * w                     decoupled: z <- z - rate * weight_decay * z
        v <- v * sqrt((t - 1) / t) + g^2
        z <- z - rate * cbrt(t) * g / (cbrt(v) + eps)       no step where the divisor is 0
        w <- momentum * w + (1 - momentum) z

    The authors advise it for large transformers, and MADGRAD where generalisation matters.

    Args:
        learning_rate: Step size, > 0; scalar, traced or a schedule `step -> value`. Good ones are not Adam's.
        momentum: Share of the last iterate in the next, in [0, 1).
        weight_decay: L2 regularisation, >= 0; decoupled, share of z taken off each step, times the rate.
        eps: Added to the cube root and to the learning rate, >= 0.
        decouple_decay: Whether decay is decoupled from the gradient.
        state_dtype: Dtype of `z`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.
        moment_dtype: Dtype of `v`, likewise.

    Returns:
        The (init, update) pair; `v` and `z` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> MirrorMadgradState:
        return MirrorMadgradState(
            jnp.zeros([], jnp.int32), reals_like(params, moment_dtype), copied(params, state_dtype)
        )

    def update(grads, state, params=None):
        needs_params(params, "mirror_madgrad", "averages")
        t = next_step(state.t)
        count = jnp.asarray(t, float)
        rate = jnp.asarray(value_at(learning_rate, state.t), float)
        rate = jnp.where(rate == 0, 0, rate + eps)
        kept, size = jnp.sqrt((count - 1) / count), rate * cube_root(count)
        if not decouple_decay:
            grads = decayed(grads, params, weight_decay)
        v = jax.tree.map(lambda v, g: kept * v + squared(g), state.v, grads)

        def move(z, g, v):
            root = cube_root(v) + eps
            rest = z - rate * weight_decay * z if decouple_decay else z
            return rest - size * jnp.where(root > 0, g / jnp.where(root > 0, root, 1), 0)

        z = jax.tree.map(move, state.z, grads, v)
        updates = jax.tree.map(lambda z, w: (1 - momentum) * (z - w), z, params)
        return updates, MirrorMadgradState(t, v, z)

    return optimizer(init, update)
