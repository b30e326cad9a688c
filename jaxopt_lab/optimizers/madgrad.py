"""MADGRAD: dual averaging from the start, scaled by a cube root, with momentum as a mean of iterates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, reals_like, value_at, zeros_like
from jaxopt_lab.optimizers._compiler import cube_root
from jaxopt_lab.optimizers._decay import decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class MadgradState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    v: Params  # weighted sum of g**2
    s: Params  # weighted sum of g
    start: Params  # w before the first step


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's: the authors' default is 1e-2"),
    momentum=Prior(0.5, 0.99, "one_minus", "around the default 0.9"),
    weight_decay=Prior(1e-6, 1e-2, "log", "AdamW's, a decade lower: the authors ask for less than with SGD"),
)
def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar = 0.9,
    weight_decay: Scalar = 0.0,
    eps: Scalar = 1e-6,
    *,
    decouple_decay: bool = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """MADGRAD (Defazio & Jelassi 2021, Algorithm 1, https://arxiv.org/abs/2101.11075).

        r <- (learning_rate + eps) sqrt(t)            0 where the learning rate is
        g <- g + weight_decay w                       unless decoupled
        s <- s + r g
        v <- v + r g^2
        z <- start - s / (cbrt(v) + eps)
        w <- momentum w + (1 - momentum) z            decoupled: - (learning_rate + eps) weight_decay w

    Adding eps to the learning rate follows the authors' code and Optax; in Optax, parameters move even at a learning
    rate of 0.

    Args:
        learning_rate: Step size, > 0; scalar, traced or a schedule `step -> value`. Good ones are not Adam's.
        momentum: Share of the last iterate in the next, in [0, 1).
        weight_decay: L2 regularisation, >= 0; decoupled, share of w taken off each step, times the learning rate.
        eps: Added to the cube root and to the learning rate, > 0.
        decouple_decay: Whether decay is decoupled from the gradient, an option of the authors' code.
        moment_dtype: Dtype of `v` and `s`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; every part of the state but `t` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> MadgradState:
        start = jax.tree.map(jnp.array, params)  # copied: whoever gives the parameters away keeps this
        v, s = reals_like(params, moment_dtype), zeros_like(params, moment_dtype)
        return MadgradState(jnp.zeros([], jnp.int32), v, s, start)

    def update(grads, state, params=None):
        needs_params(params, "madgrad", "averages")
        t = next_step(state.t)
        rate = jnp.asarray(value_at(learning_rate, state.t), float)
        rate = jnp.where(rate == 0, 0, rate + eps)
        r = rate * jnp.sqrt(jnp.asarray(t, float))
        if not decouple_decay:
            grads = decayed(grads, params, weight_decay)
        s = jax.tree.map(lambda s, g: s + r * g, state.s, grads)
        v = jax.tree.map(lambda v, g: v + r * squared(g), state.v, grads)

        def step(w, start, s, v):
            z = start - s / (cube_root(v) + eps)
            pull = (1 - momentum) * (z - w)
            return pull - rate * weight_decay * w if decouple_decay else pull

        return jax.tree.map(step, params, state.start, s, v), MadgradState(t, v, s, state.start)

    return optimizer(init, update)
