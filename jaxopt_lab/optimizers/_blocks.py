"""Blocks of a tensor whose elements share one number: which axes a mean is taken over."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.types import Params

Blocks = Any
"""A tree (or a prefix), or a function from the parameters to one; at a leaf True: all axes, False: none, or axes."""


def shared_axes(said: Blocks, params: Params) -> Params:
    """Return for every parameter the axes along which its elements share a number."""
    said = said(params) if callable(said) else said
    is_axes = lambda x: isinstance(x, tuple) and all(type(axis) is int for axis in x)
    return jax.tree.map(_axes, params, jax.tree.broadcast(said, params, is_axes))


def _axes(w: Array, said: Any) -> tuple[int, ...]:
    if isinstance(said, bool):
        return tuple(range(w.ndim)) if said else ()
    axes = (said,) if isinstance(said, int) else said
    if not isinstance(axes, tuple) or not all(-w.ndim <= axis < w.ndim for axis in axes):
        raise ValueError(
            f"A parameter of shape {w.shape} cannot share numbers along axes {said!r}: give True (all its axes), False "
            "(none), an axis that it has, or a tuple of such."
        )
    return tuple(axis % w.ndim for axis in axes)


def block_mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean over these axes, which are kept with length 1; of no elements 0."""
    if not axes:
        return x
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return jnp.sum(x, axes, keepdims=True) / max(count, 1)
