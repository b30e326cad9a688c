"""Adadelta: gradients scaled by the ratio of two root mean squares, of past steps and of gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    optimizer,
    reals_like,
    step_count,
    value_at,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdadeltaState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    v: Params  # running mean of g**2
    s: Params  # running mean of a**2, where a is the step without the learning rate


@method(
    learning_rate=Prior(1e-1, 1e1, "log", "the default, a decade either way"),
    rho=Prior(0.9, 0.99, "one_minus", "Zeiler 2012, Table 2, https://arxiv.org/abs/1212.5701"),
    eps=Prior(1e-8, 1e-2, "log", "the same"),
)
def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    rho: Scalar = 0.9,
    eps: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Adadelta (Zeiler 2012, Algorithm 1, https://arxiv.org/abs/1212.5701).

        g <- g + weight_decay * w
        v <- rho v + (1 - rho) g^2
        a <- sqrt(s + eps) / sqrt(v + eps) * g
        s <- rho s + (1 - rho) a^2
        w <- w - learning_rate * a

    The paper has no learning rate; here and in PyTorch it is 1 by default. Decay is L2 regularisation, added to the
    gradient.

    Args:
        learning_rate: Factor of every step, > 0, without a unit; scalar, traced or a schedule `step -> value`.
        rho: Decay of both running means, in [0, 1).
        eps: Added under both roots, > 0: the first steps are about sqrt(eps), in units of w (and of g below).
        weight_decay: Added to g per unit of w, >= 0; scalar, traced or a schedule.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None decays all.
        moment_dtype: Dtype of `v` and `s`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `v` and `s` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> AdadeltaState:
        v, s = reals_like(params, moment_dtype), reals_like(params, moment_dtype)
        return AdadeltaState(step_count(learning_rate, weight_decay), v, s)

    def update(grads, state, params=None):
        needs_params(params, "adadelta", "decays")
        rate = value_at(learning_rate, state.t)
        grads = decayed(grads, params, value_at(weight_decay, state.t), weight_decay_mask)
        mean_square = lambda mean, x: rho * mean + (1 - rho) * squared(x)
        v = jax.tree.map(mean_square, state.v, grads)
        a = jax.tree.map(lambda g, v, s: jnp.sqrt(s + eps) / jnp.sqrt(v + eps) * g, grads, v, state.s)
        s = jax.tree.map(mean_square, state.s, a)
        return jax.tree.map(lambda a: -rate * a, a), AdadeltaState(next_step(state.t), v, s)

    return optimizer(init, update)
