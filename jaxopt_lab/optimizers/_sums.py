"""Sums over all parameters at once, for methods that measure the whole tree."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._compiler import total
from jaxopt_lab.types import Params


def product(a: Any, b: Any) -> Any:
    """Return <a, b> of two arrays."""
    return jnp.sum(_terms(a, b))


def inner(a: Params, b: Params) -> Any:
    """Return <a, b> over all leaves. It is not `vdot`, which some accelerators compute with ten bits."""
    return total(jax.tree.map(lambda a, b: _terms(jnp.ravel(a), jnp.ravel(b)), a, b))


def _terms(a: Any, b: Any) -> Any:
    """The terms of <a, b>, real: a complex number counts as a pair of real ones."""
    return jnp.real(jnp.conj(a) * b) if jnp.iscomplexobj(a) or jnp.iscomplexobj(b) else a * b


def length(a: Params) -> Any:
    """Return the Euclidean norm over all leaves. Its derivative is 0 where all are 0."""
    square = inner(a, a)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def l1_norm(a: Params) -> Any:
    """Return the sum of |a| over all leaves."""
    return total(jax.tree.map(lambda a: jnp.abs(jnp.ravel(a)), a))


def ratio(a: Any, b: Any) -> Any:
    """a / b for b >= 0, and a where b is 0, so that sums that vanish together give 0 and have a finite derivative."""
    return a / jnp.where(b > 0, b, 1)
