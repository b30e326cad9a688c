"""Tensors and a matrix for each of their axes: Kronecker products that are never formed.

Functions of stacks take tensors of one shape along a first axis; each tensor has matrices of its own. An axis without a
matrix has None.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.optimizers._compiler import one_by_one
from jaxopt_lab.optimizers._decompositions import decomposed
from jaxopt_lab.optimizers._numerics import adjoint, state_dtype
from jaxopt_lab.types import Params

Matrices = tuple[Array | None, ...]
"""One matrix for each axis of a tensor, or None."""


def by_shape(
    step: Callable[..., tuple[Any, ...]], results: int, like: Params, *trees: Any, in_turn: bool = False
) -> tuple[Any, ...]:
    """Apply `step` once for all leaves of one shape and dtype.

    Args:
        step: A function of stacks, one for each tree: tensors of equal shape along a new leading axis. It returns as
            many stacks (or trees of them) as `results` says.
        results: The number of trees to return.
        like: The tree whose leaves are grouped; `step` gets these first.
        *trees: Further trees that have an array, or a tree of arrays, at each leaf of `like`.
        in_turn: Whether a CPU takes large tensors one after the other, each as a stack of its own: see `one_by_one`.

    """
    alone = lambda *tensors: jax.tree.map(lambda x: x[0], step(*jax.tree.map(lambda x: x[None], tensors)))
    leaves, structure = jax.tree.flatten(like)
    columns = [structure.flatten_up_to(tree) for tree in (like, *trees)]
    places: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        places.setdefault((leaf.shape, leaf.dtype), []).append(i)
    found: list[list[Any]] = [[None] * len(leaves) for _ in range(results)]
    for group in places.values():
        stacks = (jax.tree.map(lambda *x: jnp.stack(x), *(column[i] for i in group)) for column in columns)
        stepped = one_by_one(step, *stacks, alone=alone) if in_turn else step(*stacks)
        for column, stack in zip(found, stepped, strict=True):
            for n, i in enumerate(group):
                column[i] = jax.tree.map(lambda x, n=n: x[n], stack)
    return tuple(structure.unflatten(column) for column in found)


def merged(shape: tuple[int, ...], largest: int, axes: int = 1) -> tuple[int, ...]:
    """Join neighbouring axes, from the first on, while their product is at most `largest` and more than `axes` remain.

    Axes of length 1 disappear. A tensor without elements keeps its shape.
    """
    if math.prod(shape) == 0:
        return shape
    left = [size for size in shape if size != 1]
    found: list[int] = []
    for i, size in enumerate(left):
        if found and found[-1] * size <= largest and len(found) + len(left) - i > axes:
            found[-1] *= size
        else:
            found.append(size)
    return tuple(found) or (1,) * min(1, len(shape))


def sides(w: Array, largest: int, fewest_axes: int = 2) -> tuple[bool, ...]:
    """Tell for each axis of one tensor whether it has a matrix: not if it is longer than `largest` or one of few."""
    return tuple(w.ndim >= fewest_axes and w.size > 0 and size <= largest for size in w.shape)


def identities(w: Array, chosen: Sequence[bool], dtype: Any = None, scale: Any = 1.0) -> Matrices:
    """Return scale * I for each chosen axis of one tensor, in `dtype` (a method's `moment_dtype`) or the tensor's."""
    kind = state_dtype(jnp.result_type(w), dtype)
    return tuple(scale * jnp.eye(n, dtype=kind) if yes else None for n, yes in zip(w.shape, chosen, strict=True))


def along(matrix: Array | None, x: Array, axis: int) -> Array:
    """Multiply tensors by matrices along an axis: in two dimensions M x (axis 0) or x M' (axis 1)."""
    if matrix is None:
        return x
    folded = _folded(x, axis)
    return jnp.einsum("zij,zajc->zaic", matrix, folded).reshape(x.shape)


def along_all(matrices: Iterable[Array | None], x: Array) -> Array:
    """Multiply tensors along every axis: in two dimensions M1 x M2'."""
    for axis, matrix in enumerate(matrices):
        x = along(matrix, x, axis)
    return x


def scaled(vectors: Iterable[Array | None], x: Array) -> Array:
    """Multiply tensors by a vector along every axis, element by element."""
    for axis, vector in enumerate(vectors):
        if vector is not None:
            x = x * vector.reshape(x.shape[0], *[1] * axis, -1, *[1] * (x.ndim - 2 - axis))
    return x


def adjoints(matrices: Matrices) -> Matrices:
    """Return the conjugate transpose of each matrix."""
    return tuple(None if matrix is None else adjoint(matrix) for matrix in matrices)


def products(x: Array, axis: int) -> Array:
    """Return the inner products of slices along an axis: in two dimensions x x' (axis 0) or x' x (axis 1)."""
    folded = _folded(x, axis)
    return jnp.einsum("zaic,zajc->zij", folded, jnp.conj(folded))


def by_axis(function: Any, *matrices: Matrices) -> Matrices:
    """Apply a function of (axis, matrix of each) to every axis that has a matrix."""
    each = enumerate(zip(*matrices, strict=True))
    return tuple(None if found[0] is None else function(axis, *found) for axis, found in each)


def eigenvectors(factor: Array) -> Array:
    """Return the eigenvectors of symmetric matrices as columns, those of the largest eigenvalues first."""
    return decomposed(jnp.linalg.eigh, factor)[1][..., ::-1]


def sizes(x: Array) -> Array:
    """Return the root mean square of each tensor of a stack, with axes that broadcast."""
    axes = tuple(range(1, x.ndim))
    return jnp.sqrt(jnp.mean(jnp.real(x * jnp.conj(x)), axes, keepdims=True))


def _folded(x: Array, axis: int) -> Array:
    """Reshape to (stack, axes before, axis, axes after)."""
    at = axis + 1
    return x.reshape(x.shape[0], math.prod(x.shape[1:at]), x.shape[at], math.prod(x.shape[at + 1 :]))


def permuted(x: Array, order: Array, axis: int) -> Array:
    """Bring each tensor of a stack into its own order along an axis."""
    shape = [1] * x.ndim
    shape[0], shape[axis + 1] = order.shape
    return jnp.take_along_axis(x, order.reshape(shape), axis + 1)


def solved_along(matrix: Array, x: Array, axis: int) -> Array:
    """Multiply tensors along an axis by the inverses of transposed upper triangular matrices: M'^-1 x, or x M^-1."""
    columns = jnp.moveaxis(x, axis + 1, 1)
    flat, kind = columns.reshape(*columns.shape[:2], -1), jnp.result_type(matrix, x)
    solve = functools.partial(jax.lax.linalg.triangular_solve, left_side=True, lower=False, transpose_a=True)
    found = decomposed(solve, matrix.astype(kind), flat.astype(kind))
    return jnp.moveaxis(found.reshape(columns.shape), 1, axis + 1)


def squarest(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Join the axes of a tensor of more than two into the matrix whose sides are nearest each other."""
    if len(shape) < 3 or math.prod(shape) == 0:
        return shape
    cuts = [(math.prod(shape[:i]), math.prod(shape[i:])) for i in range(1, len(shape))]
    return min(cuts, key=max)
