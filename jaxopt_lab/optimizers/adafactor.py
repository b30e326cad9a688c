"""Adafactor: gradients divided by a root mean square that is stored as rows and columns."""

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
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdafactorState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    v: Params  # running mean of g**2; if factored, its means over the longest and over the second longest axis
    m: Params | None  # running mean of steps; None without momentum


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "the paper's 1e-2 (Algorithm 6), two decades either way"),
    decay_rate=Prior(0.5, 1.0, "linear", "around the paper's 0.8 (Algorithm 6)"),
    clipping_threshold=Prior(0.5, 2.0, "log", "around the paper's 1.0 (Algorithm 6)"),
)
def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    decay_rate: Scalar = 0.8,
    decay_offset: Scalar = 0,
    clipping_threshold: Scalar | None = 1.0,
    momentum: Scalar | None = None,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: Scalar = 1e-30,
    min_scale: Scalar = 1e-3,
    *,
    min_dim_size_to_factor: int = 128,
    multiply_by_parameter_scale: bool = True,
    factored: bool = True,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018, Algorithms 4 and 5, https://arxiv.org/abs/1804.04235).

        v <- (1 - r) v + r (g^2 + eps),   r = (t - decay_offset)^-decay_rate
        u <- g / sqrt(v)                          of a matrix: v = rows(v) columns(v) / mean(v)
        u <- u / max(1, rms(u) / clipping_threshold)
        s <- learning_rate * max(min_scale, rms(w)) u
        m <- momentum m + (1 - momentum) s        with momentum; else m = s
        w <- w - m - weight_decay_rate w

    The paper's learning rate is the schedule min(1e-2, 1 / sqrt(t)). PyTorch replaces 1e-2 by the learning rate, uses
    eps as a floor under v instead of a part of it, and multiplies decay by the learning rate.

    Args:
        learning_rate: Step size, > 0, as a share of the root mean square of w (or, without
            `multiply_by_parameter_scale`, in units of w); scalar, traced or a schedule `step -> value`. None: 1.
        decay_rate: Exponent of the weight of the newest g^2, > 0: the larger, the longer the memory.
        decay_offset: Step at which the memory starts, for training that continues an earlier run; < t.
        clipping_threshold: Largest root mean square of u, >= 1; None does not clip.
        momentum: Decay of the mean of steps, in [0, 1); None (the default) keeps none.
        weight_decay_rate: Share of w taken off each step, >= 0, not multiplied by the learning rate; scalar, traced or
            a schedule; None (the default) does not decay.
        eps: Added to g^2, > 0, in units of g^2.
        min_scale: Floor under the root mean square of w, > 0, in units of w.
        min_dim_size_to_factor: Smallest length of the second longest axis at which v is factored.
        multiply_by_parameter_scale: Whether the learning rate is a share of the root mean square of w.
        factored: Whether v is factored at all.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or
            a function from the parameters to one; None decays all.
        moment_dtype: Dtype of `v` and `m`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair.

    Raises:
        ValueError: `min_dim_size_to_factor` is under 1, or `update` was called without the parameters.

    """
    least = static_count("min_dim_size_to_factor", min_dim_size_to_factor)

    def axes(w):
        """Return the second longest and the longest axis if v is factored, else None."""
        by_size = sorted(range(w.ndim), key=lambda axis: w.shape[axis])[-2:]
        return by_size if factored and len(by_size) == 2 and w.shape[by_size[0]] >= least else []

    def means(square):
        return tuple(jnp.mean(square, axis, keepdims=True) for axis in reversed(axes(square))) or square

    def init(params: Params) -> AdafactorState:
        needs_leaves(params, "adafactor")
        v = jax.tree.map(means, reals_like(params, moment_dtype))
        m = None if momentum is None else zeros_like(params, moment_dtype)
        return AdafactorState(jnp.zeros([], jnp.int32), v, m)

    def update(grads, state, params=None):
        needs_params(params, "adafactor", "scales its steps by")
        t = next_step(state.t)
        newest = jnp.asarray(t - decay_offset, float) ** -decay_rate
        rate = 1.0 if learning_rate is None else value_at(learning_rate, state.t)
        rms = lambda x: jnp.sqrt(jnp.mean(squared(x)))

        def second_moment(g, v):
            return jax.tree.map(lambda v, new: (1 - newest) * v + newest * new, v, means(squared(g) + eps))

        def step(g, v, w):
            if axes(g):
                rows, columns = v
                u = g * jax.lax.rsqrt(rows / jnp.mean(rows, axes(g)[0], keepdims=True)) * jax.lax.rsqrt(columns)
            else:
                u = g * jax.lax.rsqrt(v)
            if clipping_threshold is not None:
                u = u / jnp.maximum(1, rms(u) / clipping_threshold)
            return rate * u * (jnp.maximum(min_scale, rms(w)) if multiply_by_parameter_scale else 1)

        v = jax.tree.map(second_moment, grads, state.v)
        steps, m = jax.tree.map(step, grads, v, params), None
        if momentum is not None:
            fresh = 1 - momentum
            steps = m = jax.tree.map(lambda m, s: momentum * m + fresh * s, state.m, steps)
        if weight_decay_rate is not None:
            steps = decayed(steps, params, value_at(weight_decay_rate, state.t), weight_decay_mask)
        return jax.tree.map(jnp.negative, steps), AdafactorState(t, v, m)

    return optimizer(init, update)
