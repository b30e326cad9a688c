"""Layouts: which axes of a parameter are the inputs and the outputs of a matrix."""

import math
from typing import Any

import jax
from jaxtyping import Array

from jaxopt_lab.types import Params

SEE = "see the argument `matrices` of its optimizer."

Layout = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Axes of a parameter: those over which it is a stack of matrices, those of their inputs, those of their outputs."""


def layouts_of(matrices: Any, params: Params) -> Params:
    """Return the layout of every parameter, or None where it is not a matrix, or one without elements.

    `matrices` is the argument of this name that all methods for matrices have: see `muon`.
    """
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
        raise ValueError(f"A parameter of shape {w.shape} was named a matrix, but has fewer than two axes: {SEE}")
    if not numbered:
        return None if w.size == 0 else ((), tuple(range(w.ndim - 1)), (w.ndim - 1,))
    given = [(axes,) if isinstance(axes, int) else tuple(axes) for axes in (said.reduction_axis, said.output_axis)]
    if not all(-w.ndim <= axis < w.ndim for axes in given for axis in axes):
        raise ValueError(f"{said} names axes that a parameter of shape {w.shape} does not have: {SEE}")
    inputs, outputs = (tuple(axis % w.ndim for axis in axes) for axes in given)
    if not inputs or not outputs or len({*inputs, *outputs}) < len(inputs + outputs):
        raise ValueError(f"{said} must give a parameter of shape {w.shape} inputs and outputs, each axis once: {SEE}")
    stack = tuple(axis for axis in range(w.ndim) if axis not in inputs + outputs)
    return None if w.size == 0 else (stack, inputs, outputs)


def as_matrices(u: Array, layout: Layout) -> Array:
    """Reshape u by its layout into a matrix, or a stack of matrices, of shape (..., inputs, outputs)."""
    stack, inputs, outputs = layout
    u = u.transpose(stack + inputs + outputs)
    rows = math.prod(u.shape[len(stack) : len(stack) + len(inputs)])
    return u.reshape(*u.shape[: len(stack)], rows, math.prod(u.shape[len(stack) + len(inputs) :]))


def as_tensor(x: Array, shape: tuple[int, ...], layout: Layout) -> Array:
    """Undo `as_matrices`: x becomes a tensor of this shape again."""
    stack, inputs, outputs = layout
    axes = stack + inputs + outputs
    back = sorted(range(len(axes)), key=axes.__getitem__)
    return x.reshape(tuple(shape[axis] for axis in axes)).transpose(back)
