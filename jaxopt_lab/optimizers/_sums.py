"""Sums over all parameters at once, for methods that measure the whole tree."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Params

SMALL = 10_000  # elements of a leaf that is added to others first: XLA on a CPU has faster sums for larger ones
TOGETHER = 16  # leaves that are: with hundreds the kernel would take long to compile


def product(a: Any, b: Any) -> Any:
    """<a, b> of two arrays, as rows: XLA on a CPU adds up a matrix in small windows, more slowly."""
    return jnp.sum(_products(a, b))


def inner(a: Params, b: Params) -> Any:
    """<a, b>, over all leaves; not `vdot`, which some accelerators multiply with ten bits."""
    return _total(jax.tree.map(_products, a, b))


def _products(a: Any, b: Any) -> Any:
    """Row of terms of <a, b>, real: complex numbers are pairs of real ones here."""
    a, b = jnp.ravel(a), jnp.ravel(b)
    return jnp.real(jnp.conj(a) * b) if jnp.iscomplexobj(a) or jnp.iscomplexobj(b) else a * b


def l1_norm(a: Params) -> Any:
    """The sum of |a|, over all leaves."""
    return _total(jax.tree.map(lambda a: jnp.abs(jnp.ravel(a)), a))


def _total(rows: Params) -> Any:
    """The sum of all elements. Of small leaves what takes the time is the number of kernels, so leaves of one length
    are added up first, in one.
    """
    alike: dict[Any, list[Any]] = {}
    for row in jax.tree.leaves(rows):
        alike.setdefault((row.size, row.dtype), []).append(row)
    total: Any = 0.0
    for (size, _), leaves in alike.items():
        together = TOGETHER if size <= SMALL else 1
        for i in range(0, len(leaves), together):
            total += jnp.sum(functools.reduce(operator.add, leaves[i : i + together]))
    return total


def ratio(a: Any, b: Any) -> Any:
    """A / b for b >= 0, and a where b is 0: of sums that vanish together it makes 0, in the derivative too."""
    return a / jnp.where(b > 0, b, 1)
