"""Dion2: Muon that orthogonalises only the largest rows or columns of a matrix, and keeps the rest for later steps."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, zeros_like
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._matrices import beside_adamw, shape_factor
from jaxopt_lab.optimizers._newton_schulz import orthogonalizer
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class Dion2State(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # sum of g, of which a share is taken off where it was used


def largest(m: Array, fraction: float) -> Array:
    """Return the indices (..., count, 1) of the rows with the largest sums of |m|, of a matrix or each of a stack."""
    sizes = jnp.sum(jnp.abs(m), -1)
    count = max(1, math.ceil(fraction * sizes.shape[-1]))
    return jax.lax.top_k(sizes, count)[1][..., None]


def with_rows(x: Array, chosen: Array, rows: Array) -> Array:
    """Replace the rows of x whose indices are `chosen`, without a scatter, which is slow on a CPU."""
    is_at = chosen == jax.lax.broadcasted_iota(chosen.dtype, (*chosen.shape[:-1], x.shape[-2]), chosen.ndim - 1)
    new = jnp.take_along_axis(rows, jnp.argmax(is_at, -2)[..., None], -2)
    return jnp.where(jnp.any(is_at, -2)[..., None], new, x)


def checked_fraction(fraction: float | None) -> float:
    """Return the fraction of rows or columns; None: the authors' default. Raises ValueError outside (0, 1]."""
    fraction = 0.25 if fraction is None else fraction
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got fraction={fraction}.")
    return fraction


@method(
    learning_rate=Prior(1e-3, 1e-1, "log", "the authors' default 0.01, a decade either way"),
    beta=Prior(0.8, 0.99, "one_minus", "as Muon's"),
    weight_decay=Prior(1e-3, 1.0, "log", "as Muon's"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def dion2(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.95,
    adam_eps: Scalar = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.01,
    consistent_rms: Scalar | None = None,
    *,
    fraction: float | None = None,
    ns_coeffs: Sequence[Any] | str = "polar_express",
    ns_steps: int = 5,
    ns_dtype: Any = None,
    scaling: str | None = "spectral_norm",
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Dion2 (Ahn, Amsel & Langford 2025, https://arxiv.org/abs/2512.16928).

        m <- m + g
        s <- the rows or columns of m with the largest sums of absolute values, a `fraction` of the shorter side
        m <- beta m                                                         in these rows or columns alone
        w <- w - learning_rate * weight_decay * w                           everywhere
        w <- w - learning_rate * sqrt(outputs / inputs) * o                 in these; o: s, orthogonalised

    for matrices w of shape (inputs, outputs). What is not used stays in m until it is among the largest: error
    feedback. A step costs `fraction` of Muon's. All other parameters are trained by AdamW. This is the authors' code.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: What is kept of m where it was used, in [0, 1).
        eps: Added to the Frobenius norm before the orthogonalisation, > 0, in units of g.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps: Added to Adam's root, >= 0, in units of g.
        adam_weight_decay: As weight_decay, for the parameters that Adam trains.
        consistent_rms: In place of the factor before o, consistent_rms * sqrt(max(inputs, outputs)); 0.2 matches Adam.
            None: as `scaling` says.
        fraction: Share of the rows or columns that are orthogonalised, in (0, 1], rounded up; None: a quarter. At 1 the
            method is Muon with a sum in place of a mean and without look-ahead.
        ns_coeffs: The Newton-Schulz polynomials, or their name, or "exact": see `muon`.
        ns_steps: Number of Newton-Schulz steps, where there is one triple of coefficients.
        ns_dtype: Dtype of the Newton-Schulz steps of real matrices: "bfloat16" as in the authors' code. None: at least
            float32.
        scaling: The factor before o: "spectral_norm", the one above; "original", sqrt(max(1, outputs / inputs)); None:
            1.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the matrices.

    Raises:
        ValueError: fraction is not in (0, 1], `update` was called without the parameters, or `matrices`, `ns_coeffs` or
            `scaling` is wrong as `muon` says.

    """
    fraction = checked_fraction(fraction)
    orthogonalized = orthogonalizer(ns_coeffs, ns_steps, eps, ns_dtype)

    def init(params: Params) -> Dion2State:
        return Dion2State(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def stepped(m):
        factor, is_tall = shape_factor(m, scaling, consistent_rms), m.shape[-2] >= m.shape[-1]
        turned = lambda x: jnp.swapaxes(x, -1, -2) if is_tall else x  # what is chosen among are rows
        m = turned(m)
        chosen = largest(m, fraction)
        s = jnp.take_along_axis(m, chosen, -2)
        put = lambda x, rows: turned(with_rows(x, chosen, rows))
        return put(jnp.zeros_like(m), factor * orthogonalized(s)), put(m, beta * s)

    def ascend(grads, state, params=None):
        a, m = in_stacks(stepped, jax.tree.map(jnp.add, state.m, grads), results=2)
        return a, Dion2State(next_step(state.t), m)

    ascent, adam = optimizer(init, ascend), adam_direction(adam_b1, adam_b2, adam_eps, moment_dtype=moment_dtype)
    rates, decays = (learning_rate, adam_learning_rate), (weight_decay, adam_weight_decay)
    return beside_adamw("dion2", ascent, adam, rates, decays, matrices, weight_decay_mask)
