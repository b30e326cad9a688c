"""Amos: Adam-like steps whose rate and decay follow from the scale that each tensor should come to."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._blocks import Blocks, block_mean, shared_axes
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

LEAST = 2.0**-125  # of the mean of g^2 that is divided by


class AmosState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    v: Params  # running mean of g**2
    b: Params  # the decay so far, by which rates fall
    m: Params | None  # running mean of steps; None without momentum


@method(
    learning_rate=Prior(1e-3, 1.0, "log", "around 1 / sqrt(batches in the data), the advice of Tian & Parikh 2022"),
    eta=Prior(1e-2, 10.0, "log", "weights of size 1, two decades below and one above"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
)
def amos(
    learning_rate: ScalarOrSchedule,
    eta: Any = 1.0,
    b2: Scalar = 0.999,
    c_coef: Scalar = 0.25,
    d_coef: Scalar = 0.25,
    l2: Scalar = 0.0,
    momentum: Scalar | None = None,
    clip_value: Scalar | None = None,
    *,
    shared: Blocks = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """Amos (Tian & Parikh 2022, Algorithm 1, https://arxiv.org/abs/2210.11693).

        v <- b2 v + (1 - b2) mean(g^2);  g2 <- mean(g^2) (1 - b2^t) / v
        gamma <- learning_rate^2 g2 / sqrt(1 + c_coef sqrt(learning_rate) b)
        rate <- learning_rate * eta
        step <- (rate * g / sqrt(v / (1 - b2^t)) + (gamma / 2 + l2) w) / (1 + d_coef sqrt(rate) b)
        w <- w - step                              with momentum: the running mean of steps, which starts at 0
        b <- b + gamma (1 + b)

    The learning rate and the decay fall by themselves, so that the weights come to the scale eta: a schedule is not
    needed. The mean is over the `shared` axes, none by default, as in the authors' code; the paper shares v and b among
    slices of a tensor, which saves their memory.

    Args:
        learning_rate: The paper's xi, > 0, without unit: the relative size of a step; scalar, traced or a schedule
            `step -> value`.
        eta: The scale of trained weights, > 0, in units of w: a scalar, or a tree of scalars with the parameters'
            structure (or a prefix of it); numbers or traced.
        b2: Decay of the mean of g^2, in [0, 1).
        c_coef: How fast the decay falls, >= 0.
        d_coef: How fast the rate falls, >= 0.
        l2: Share of w taken off each step beside, >= 0; it falls with the rate.
        momentum: Decay of the mean of steps, in [0, 1); None (the default) keeps none.
        clip_value: Largest |g| of an element, > 0; None (the default) does not clip.
        shared: Axes along which elements share v and b: a tree with the parameters' structure (or a prefix of it), or a
            function from the parameters to one. At a leaf True: all axes; False: none; an axis or a tuple of axes.
        moment_dtype: Dtype of `v`, `b` and `m`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `v` and `b` have the shapes of the parameters, but for the shared axes of length 1.

    Raises:
        ValueError: `update` was called without the parameters, `shared` names an axis that a parameter does not have,
            or the parameters are held flat and `shared` or a tree `eta` tells them apart.

    """
    by_tensor = shared is not False or not jax.tree_util.all_leaves([eta])

    def init(params: Params) -> AmosState:
        if by_tensor:
            needs_leaves(params, "amos with shared axes or a tree of scales")
        zeros = lambda: jax.tree.map(block_mean, reals_like(params, moment_dtype), shared_axes(shared, params))
        m = None if momentum is None else zeros_like(params, moment_dtype)
        return AmosState(jnp.zeros([], jnp.int32), zeros(), zeros(), m)

    def update(grads, state, params=None):
        needs_params(params, "amos", "decays")
        t, xi = next_step(state.t), value_at(learning_rate, state.t)
        if clip_value is not None:
            most: Scalar = clip_value
            grads = jax.tree.map(lambda g: jnp.sign(g) * jnp.minimum(jnp.abs(g), most), grads)
        square = jax.tree.map(lambda g, axes: block_mean(squared(g), axes), grads, shared_axes(shared, params))
        v = jax.tree.map(lambda v, square: b2 * v + (1 - b2) * square, state.v, square)
        inverse = jax.tree.map(lambda v: one_minus_power(b2, t) / jnp.maximum(v, LEAST), v)  # v starts at 0

        def gamma_of(b, square, inverse):
            return xi**2 * (inverse * square) * jax.lax.rsqrt(1 + c_coef * jnp.sqrt(xi) * b)

        def step(g, w, b, inverse, gamma, eta):
            rate = xi * eta
            return (rate * jnp.sqrt(inverse) * g + (gamma / 2 + l2) * w) / (1 + d_coef * jnp.sqrt(rate) * b)

        gamma = jax.tree.map(gamma_of, state.b, square, inverse)
        steps = jax.tree.map(step, grads, params, state.b, inverse, gamma, jax.tree.broadcast(eta, params))
        b, m = jax.tree.map(lambda b, gamma: b + gamma * (1 + b), state.b, gamma), None
        if momentum is not None:
            fresh = 1 - momentum
            steps = m = jax.tree.map(lambda m, s: momentum * m + fresh * s, state.m, steps)
        return jax.tree.map(jnp.negative, steps), AmosState(t, v, b, m)

    return optimizer(init, update)
