"""Muon: momentum whose matrices are replaced by their nearest orthogonal ones; Adam for all else."""

import math
from collections.abc import Sequence
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
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.optimizers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

SEE = "see its argument `matrices`."

Layout = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Axes of a parameter: those over which it is a stack of matrices, those of their inputs, those of their outputs."""


class MuonState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2 where Adam steps; None at the matrices


@method(
    learning_rate=Prior(1e-3, 1e-1, "log", "the author's default 0.02, about a decade either way"),
    beta=Prior(0.8, 0.99, "one_minus", "the author's default 0.95, about a factor of 5 either way"),
    weight_decay=Prior(1e-3, 1.0, "log", "Moonlight's default 0.1 (Liu et al. 2025), a decade and two"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def muon(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_eps_root: Scalar = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    consistent_rms: Scalar | None = None,
    *,
    ns_coeffs: Sequence[Any] = (3.4445, -4.7750, 2.0315),
    ns_steps: int = 5,
    nesterov: bool = True,
    adam_nesterov: bool | None = None,
    bias_correction: bool = True,
    adaptive: bool = False,
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

        m <- beta m + (1 - beta) g
        u <- beta m / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t)    nesterov; else m / (1 - beta^t)
        o <- X after ns_steps of X <- a X + (b A + c A A) X, A = X X',  from X = u / (|u| + eps)
        w <- w - learning_rate * (sqrt(max(1, outputs / inputs)) o + weight_decay * w)

    for matrices w of shape (inputs, outputs), |u| the Frobenius norm and (a, b, c) `ns_coeffs`: the singular values of
    o lie between about 0.7 and 1.2. AdamW steps elsewhere. Bias correction, and Adam's look-ahead with Muon's,
    are Optax's conventions; the author has neither, and nor has PyTorch. Those write matrices as (outputs, inputs).

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: Decay of the mean of g, in [0, 1).
        eps: Added to |u|, > 0, and to Adam's root, in units of g.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps_root: Added under Adam's root, >= 0, in units of g^2.
        adam_weight_decay: As weight_decay, where Adam steps.
        consistent_rms: Root mean square of an element of the step, whatever its shape: the factor before o is
            consistent_rms * sqrt(max(inputs, outputs)), with 0.2 as Adam's (Liu et al. 2025, Section 2.2,
            https://arxiv.org/abs/2502.16982). None: the factor above.
        ns_coeffs: (a, b, c), or one triple for each Newton-Schulz step, which then says how many.
        ns_steps: How many Newton-Schulz steps.
        nesterov: Whether u looks one decay ahead.
        adam_nesterov: The same of Adam; None: as `nesterov`.
        bias_correction: Whether means are divided by 1 - beta^t (of Adam they always are).
        adaptive: Whether o is multiplied by its inner product with u, so that the step shrinks with g
            (Bernstein & Newhouse 2024, https://arxiv.org/abs/2409.20325). Each matrix of a stack has its own, while
            Optax takes one of the whole stack.
        matrices: Which parameters are orthogonalised, and how they are matrices: a tree (or a prefix), or a function
            from the parameters to one. At a leaf, False or None leaves it to Adam; True takes the last axis as outputs
            and all others as inputs; `optax.contrib.MuonDimensionNumbers(reduction_axis, output_axis)` says which axes
            are inputs and outputs, and over the remaining ones it is a stack of matrices, each orthogonalised by
            itself: (1, 2) for the (layers, inputs, outputs) of a scanned network. None: True where there are two axes.
        weight_decay_mask: Which parameters decay, likewise; None: all.
        moment_dtype: Of `m` and `v`, for example "float32" beside bfloat16 parameters; None keeps the parameters', but
            for float32 beside float16 ones.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, or one of `matrices` has fewer than two axes, or does
            not have the axes that were named.

    """
    ns_steps = static_count("ns_steps", ns_steps)
    triples = ns_coeffs if isinstance(ns_coeffs[0], Sequence) else (ns_coeffs,) * ns_steps
    adam_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    adam_nesterov = nesterov if adam_nesterov is None else adam_nesterov

    def init(params: Params) -> MuonState:
        needs_leaves(params, "muon")
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        v = jax.tree.map(lambda v, layout: None if layout else v, v, _layouts(matrices, params))
        return MuonState(jnp.zeros([], jnp.int32), m, v)

    def update(grads, state, params=None):
        needs_params(params, "muon", "decays")
        t = next_step(state.t)
        layouts, decays = _layouts(matrices, params), _decays(weight_decay_mask, params)
        v_scale = 1 / one_minus_power(adam_b2, t)
        rate, adam_now = value_at(learning_rate, state.t), value_at(adam_rate, state.t)
        decay, adam_decay = value_at(weight_decay, state.t), value_at(adam_weight_decay, state.t)

        def mean(m, g, layout):
            b = beta if layout else adam_b1
            return b * m + (1 - b) * g

        def direction(m, g, layout):
            b, ahead = (beta, nesterov) if layout else (adam_b1, adam_nesterov)
            scale = lambda t: 1 / one_minus_power(b, t) if bias_correction or not layout else 1
            return b * (scale(t + 1) * m) + (1 - b) * (scale(t) * g) if ahead else scale(t) * m

        def step(u, layout, v, w, decays):
            if layout:
                a = ascent(u, layout)
                return -rate * (a + decay * w if decays else a)
            a = u / (jnp.sqrt(v_scale * v + adam_eps_root) + eps)
            return -adam_now * (a + adam_decay * w if decays else a)

        def ascent(u, layout):
            if u.size == 0:
                return u  # nothing to orthogonalise
            x = as_matrices(u, layout)
            inputs, outputs = x.shape[-2:]
            o = orthogonalized(x, triples, eps)
            factor = max(1, outputs / inputs) ** 0.5
            if consistent_rms is not None:
                factor = consistent_rms * max(inputs, outputs) ** 0.5
            if adaptive:
                o = jnp.sum(jnp.real(jnp.conj(x) * o), (-2, -1), keepdims=True) * o
            return as_tensor(factor * o, u.shape, layout)

        m = jax.tree.map(mean, state.m, grads, layouts)
        second_moment = lambda g, v: None if v is None else adam_b2 * v + (1 - adam_b2) * squared(g)
        v = jax.tree.map(second_moment, grads, state.v)
        u = jax.tree.map(direction, m, grads, layouts)
        return jax.tree.map(step, u, layouts, v, params, decays), MuonState(t, m, v)

    return optimizer(init, update)


def as_matrices(u: Array, layout: Layout) -> Array:
    """The matrix, or stack of matrices, that u is by its layout: inputs and outputs its last two axes."""
    stack, inputs, outputs = layout
    u = u.transpose(stack + inputs + outputs)
    rows = math.prod(u.shape[len(stack) : len(stack) + len(inputs)])
    return u.reshape(*u.shape[: len(stack)], rows, math.prod(u.shape[len(stack) + len(inputs) :]))


def as_tensor(x: Array, shape: tuple[int, ...], layout: Layout) -> Array:
    """What `as_matrices` made x of, which had this shape."""
    stack, inputs, outputs = layout
    axes = stack + inputs + outputs
    back = sorted(range(len(axes)), key=axes.__getitem__)
    return x.reshape(tuple(shape[axis] for axis in axes)).transpose(back)


def orthogonalized(u: Array, triples: Sequence[Sequence[float]], eps: Scalar) -> Array:
    """The matrix u, or each of a stack, with its singular values brought near 1, by one odd quintic for each triple."""
    x = adjoint(u) if u.shape[-2] > u.shape[-1] else u  # the smaller of X X' and X' X
    x = x / (jnp.sqrt(jnp.sum(squared(x), (-2, -1), keepdims=True)) + eps)
    for a, b, c in triples:
        square = x @ adjoint(x)
        x = a * x + (b * square + c * square @ square) @ x
    return adjoint(x) if u.shape[-2] > u.shape[-1] else x


def _layouts(matrices: Any, params: Params) -> Params:
    """Of every parameter its layout, or None where Adam steps."""
    said = matrices(params) if callable(matrices) else matrices
    if said is None:
        said = jax.tree.map(lambda w: w.ndim == 2, params)
    is_leaf = lambda x: x is None or hasattr(x, "reduction_axis")
    return jax.tree.map(_layout, params, jax.tree.broadcast(said, params, is_leaf))


def _layout(w: Array, said: Any) -> Layout | None:
    numbered = hasattr(said, "reduction_axis")
    if not numbered and not said:
        return None
    if w.ndim < 2:
        raise ValueError(f"muon was told to orthogonalise a parameter of shape {w.shape}, fewer than two axes: {SEE}")
    if not numbered:
        return (), tuple(range(w.ndim - 1)), (w.ndim - 1,)
    given = [(axes,) if isinstance(axes, int) else tuple(axes) for axes in (said.reduction_axis, said.output_axis)]
    if not all(-w.ndim <= axis < w.ndim for axes in given for axis in axes):
        raise ValueError(f"{said} names axes that a parameter of shape {w.shape} does not have: {SEE}")
    inputs, outputs = (tuple(axis % w.ndim for axis in axes) for axes in given)
    if not inputs or not outputs or len({*inputs, *outputs}) < len(inputs + outputs):
        raise ValueError(f"{said} must give a parameter of shape {w.shape} inputs and outputs, each axis once: {SEE}")
    return tuple(axis for axis in range(w.ndim) if axis not in inputs + outputs), inputs, outputs


def _decays(mask: Mask, params: Params) -> Params:
    return jax.tree.broadcast(True if mask is None else mask(params) if callable(mask) else mask, params)
