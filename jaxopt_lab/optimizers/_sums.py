"""Sums over all parameters at once, for methods that measure the whole tree."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Params


def product(a: Any, b: Any) -> Any:
    """<a, b> of two arrays, as rows: XLA on a CPU adds up a matrix in small windows, more slowly."""
    return jnp.sum(jnp.ravel(a) * jnp.ravel(b))


def inner(a: Params, b: Params) -> Any:
    """<a, b>, over all leaves; not `vdot`, which some accelerators multiply with ten bits."""
    return sum(jax.tree.leaves(jax.tree.map(product, a, b)), start=0.0)


def l1_norm(a: Params) -> Any:
    """The sum of |a|, over all leaves."""
    return sum(jax.tree.leaves(jax.tree.map(lambda a: jnp.sum(jnp.abs(jnp.ravel(a))), a)), start=0.0)


def ratio(a: Any, b: Any) -> Any:
    """A / b for b >= 0, and a where b is 0: of sums that vanish together it makes 0, in the derivative too."""
    return a / jnp.where(b > 0, b, 1)
