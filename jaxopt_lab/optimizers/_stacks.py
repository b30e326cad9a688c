"""Matrices of one shape as one stack: a transformer's projections are a few large products, not many small ones."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Params


def in_stacks(function: Callable[..., Any], *trees: Params, results: int = 1) -> Any:
    """Apply a function of stacks of matrices to all matrices of a tree.

    Args:
        function: Takes an array (count, rows, columns) for each tree, or (rows, columns) where a matrix is alone, and
            returns `results` arrays (a tuple, if there are several) with the same first axis. It must treat each matrix
            by itself.
        *trees: Trees of one structure. A leaf is a matrix, or has further axes before its last two. Leaves in one place
            of the trees have these axes in common, and share a stack with all places of the same matrices and dtypes.
        results: The number of arrays that the function returns.

    Returns:
        As many trees, with the further axes of the leaves.

    """
    first, structure = jax.tree.flatten(trees[0])
    places = list(zip(first, *map(structure.flatten_up_to, trees[1:]), strict=True))
    alike: dict[Any, list[int]] = {}
    for i, xs in enumerate(places):
        alike.setdefault(tuple((x.shape[-2:], x.dtype) for x in xs), []).append(i)
    made: list[list[Any]] = [[None] * len(places) for _ in range(results)]
    for indices in alike.values():
        leads = [places[i][0].shape[:-2] for i in indices]
        stacks = function(*(_joined(xs, leads) for xs in zip(*(places[i] for i in indices), strict=True)))
        for leaves, stack in zip(made, stacks if results > 1 else (stacks,), strict=True):
            for i, leaf in zip(indices, _parted(stack, leads), strict=True):
                leaves[i] = leaf
    grown = [structure.unflatten(leaves) for leaves in made]
    return tuple(grown) if results > 1 else grown[0]


def _joined(xs: Any, leads: list[tuple[int, ...]]) -> jax.Array:
    """Join matrices, and stacks of them, into one stack; one that is alone remains a matrix."""
    if leads == [()]:
        return xs[0]
    flat = [x.reshape(-1, *x.shape[-2:]) for x in xs]
    return flat[0] if len(flat) == 1 else jnp.concatenate(flat)


def _parted(stack: jax.Array, leads: list[tuple[int, ...]]) -> list[jax.Array]:
    """Undo `_joined`: one array for each of the shapes before the last two axes."""
    if leads == [()]:
        return [stack]
    pieces = jax.lax.split(stack, [math.prod(lead) for lead in leads])
    return [piece.reshape(*lead, *stack.shape[1:]) for piece, lead in zip(pieces, leads, strict=True)]
