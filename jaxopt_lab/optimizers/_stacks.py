"""Tensors of one shape as one stack, so that many small products and factorisations become a few large ones."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Params


def in_stacks(step: Callable[..., tuple[Any, ...]], results: int, like: Params, *trees: Any) -> tuple[Any, ...]:
    """Apply `step` once for all leaves of one shape and dtype.

    Args:
        step: A function of stacks, one for each tree: tensors of equal shape along a new leading axis. It returns as
            many stacks (or trees of them) as `results` says.
        results: The number of trees to return.
        like: The tree whose leaves are grouped; `step` gets these first.
        *trees: Further trees that have an array, or a tree of arrays, at each leaf of `like`.

    """
    leaves, structure = jax.tree.flatten(like)
    columns = [structure.flatten_up_to(tree) for tree in (like, *trees)]
    places: dict[Any, list[int]] = {}
    for i, leaf in enumerate(leaves):
        places.setdefault((leaf.shape, leaf.dtype), []).append(i)
    found: list[list[Any]] = [[None] * len(leaves) for _ in range(results)]
    for group in places.values():
        stacks = (jax.tree.map(lambda *x: jnp.stack(x), *(column[i] for i in group)) for column in columns)
        for column, stack in zip(found, step(*stacks), strict=True):
            for n, i in enumerate(group):
                column[i] = jax.tree.map(lambda x, n=n: x[n], stack)
    return tuple(structure.unflatten(column) for column in found)
