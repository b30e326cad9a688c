"""COCOB: bets on the gradient's sign, coordinate by coordinate, with what earlier bets have won."""

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
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class COCOBState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    start: Params  # w at step 0
    theta: Params  # sum of -g
    scale: Params  # largest |g| so far: L in the paper
    total: Params  # sum of |g|: G in the paper
    reward: Params  # what the bets have won, at least 0


@method(
    alpha=Prior(10.0, 1000.0, "log", "our judgement: the default, a decade either way"),
)
def cocob(
    learning_rate: ScalarOrSchedule = 1.0,
    alpha: Scalar = 100.0,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """COCOB-Backprop (Orabona & Tommasi 2017, Algorithm 2, https://arxiv.org/abs/1705.07795).

        g <- learning_rate * (g + weight_decay * w)
        L <- max(L, |g|)                                        at step 0: eps
        G <- G + |g|
        reward <- max(reward - g (w - start), 0)
        theta <- theta - g
        w <- start + theta / (L max(G + L, alpha L)) * (L + reward)

    The steps do not depend on the scale of g, so a constant learning rate matters only relative to eps; a schedule
    weights gradients against each other. Conventions are Optax's; the paper has no eps and no decay.

    Args:
        learning_rate: Factor of the gradient, > 0, without unit; scalar, traced or a schedule `step -> value`.
        alpha: First bets are 1 / alpha of the most that is allowed; > 0, without unit.
        eps: Where L starts, > 0, in units of g.
        weight_decay: Factor of w added to g, >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of the four sums and maxima, for example "float32" for bfloat16 parameters, in which a sum
            stops growing after some hundred steps. None keeps the parameters' dtype, but float32 for float16
            parameters.

    Returns:
        The (init, update) pair; all buffers have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> COCOBState:
        start = jax.tree.map(jnp.copy, params)  # a copy, so that either may be donated
        theta, total, reward = (zeros_like(params, moment_dtype) for _ in range(3))
        scale = reals_like(params, moment_dtype, eps)
        return COCOBState(step_count(learning_rate, weight_decay), start, theta, scale, total, reward)

    def update(grads, state, params=None):
        needs_params(params, "cocob", "measures the way of")
        rate = value_at(learning_rate, state.t)
        g = jax.tree.map(lambda g: rate * g, decayed(grads, params, value_at(weight_decay, state.t), mask))
        way = jax.tree.map(jnp.subtract, params, state.start)
        theta = jax.tree.map(jnp.subtract, state.theta, g)
        scale = jax.tree.map(lambda scale, g: jnp.maximum(scale, jnp.abs(g)), state.scale, g)
        total = jax.tree.map(lambda total, g: total + jnp.abs(g), state.total, g)
        reward = jax.tree.map(lambda reward, g, way: jnp.maximum(reward - g * way, 0), state.reward, g, way)

        def step(w, start, theta, scale, total, reward):
            share = theta / (scale * jnp.maximum(total + scale, alpha * scale))  # of what is held
            return start + share * (scale + reward) - w

        updates = jax.tree.map(step, params, state.start, theta, scale, total, reward)
        return updates, COCOBState(next_step(state.t), state.start, theta, scale, total, reward)

    return optimizer(init, update, real_only="cocob")
