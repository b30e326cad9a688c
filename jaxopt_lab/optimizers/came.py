"""CAME: Adafactor's steps, damped where they disagree with their running mean."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, reals_like, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class CAMEState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of u
    v: Params  # running mean of g**2; of a matrix, its means over rows and over columns
    s: Params  # the same of (u - m)**2; nothing where it is no matrix


@method(
    learning_rate=Prior(1e-5, 1e-2, "log", "around the paper's 1e-4 to 1e-3, https://arxiv.org/abs/2307.02047"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    b3=Prior(0.99, 0.9999, "one_minus", "from a decade below b2's default to the authors' default"),
    clipping_threshold=Prior(0.5, 2.0, "log", "as Adafactor's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def came(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    b3: Scalar = 0.9999,
    eps: Scalar = 1e-30,
    confidence_eps: Scalar = 1e-16,
    clipping_threshold: Scalar = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """CAME (Luo et al. 2023, Algorithm 2, https://arxiv.org/abs/2307.02047).

        v <- b2 v + (1 - b2) (g^2 + eps)
        u <- g / sqrt(v)
        u <- u / max(1, rms(u) / clipping_threshold)
        m <- b1 m + (1 - b1) u
        s <- b3 s + (1 - b3) ((u - m)^2 + confidence_eps)
        w <- w - learning_rate * (m / sqrt(s) + weight_decay * w)

    v and s of a matrix are stored as means over its rows and its columns, v = rows(v) columns(v) / mean(v); a tensor of
    more axes is a stack of matrices along its last two. For vectors and scalars v is stored whole, and the step is m
    alone. No mean is corrected for its start at 0.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of u, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        b3: Decay of the mean of (u - m)^2, in [0, 1).
        eps: Added to g^2, > 0, in units of g^2.
        confidence_eps: Added to (u - m)^2, > 0, without unit.
        clipping_threshold: Largest root mean square of u, > 0.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, `v` and `s`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, or the parameters are held flat.

    """

    def init(params: Params) -> CAMEState:
        needs_leaves(params, "came")
        squares = reals_like(params, moment_dtype)
        s = jax.tree.map(lambda x: _means(x) if x.ndim > 1 else (), squares)
        return CAMEState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), jax.tree.map(_means, squares), s)

    def ascend(grads, state, params=None):
        mix = lambda b: lambda old, new: b * old + (1 - b) * new

        def scale(g, v):
            u = g * _inverse_root(v)
            return u / jnp.maximum(1, jnp.sqrt(jnp.mean(squared(u))) / clipping_threshold)

        def instability(u, m, s):
            return jax.tree.map(mix(b3), s, _means(squared(u - m) + confidence_eps) if s else ())

        v = jax.tree.map(lambda g, v: jax.tree.map(mix(b2), v, _means(squared(g) + eps)), grads, state.v)
        u = jax.tree.map(scale, grads, v)
        m = jax.tree.map(mix(b1), state.m, u)
        s = jax.tree.map(instability, u, m, state.s)
        a = jax.tree.map(lambda m, s: m * _inverse_root(s) if s else m, m, s)
        return a, CAMEState(next_step(state.t), m, v, s)

    return decoupled(optimizer(init, ascend), "came", learning_rate, weight_decay, mask)


def _means(square: jax.Array) -> tuple[jax.Array, ...]:
    """Return the means over the last axis and over the one before; of fewer than two axes, the square itself."""
    return tuple(jnp.mean(square, axis, keepdims=True) for axis in (-1, -2)) if square.ndim > 1 else (square,)


def _inverse_root(means: tuple[jax.Array, ...]) -> jax.Array:
    """Return 1 / sqrt(v) of what `_means` has stored of v."""
    if len(means) == 1:
        return jax.lax.rsqrt(means[0])
    rows, columns = means
    return jax.lax.rsqrt(rows / jnp.mean(rows, -2, keepdims=True)) * jax.lax.rsqrt(columns)
