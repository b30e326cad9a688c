"""Pooling over windows that do not overlap, by slices.

XLA's CPU compiler computes a window's maximum element by element, and its gradient by another search through the
window. Windows that lie side by side are an axis of their own after a reshape, over which maxima and sums are
vectorised.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.rewrite.rule import Rule


def _windows(equation: Any, x: Any) -> list[Any] | None:
    """Return for each position in a window an array of what all windows have there; None where windows overlap."""
    p = equation.params
    window = p["window_dimensions"]
    plain = all(n == 1 for n in (*p["base_dilation"], *p["window_dilation"])) and not any(map(any, p["padding"]))
    if not plain or tuple(p["window_strides"]) != tuple(window) or 0 in equation.outvars[0].aval.shape:
        return None
    counts = [size // n for size, n in zip(x.shape, window, strict=True)]
    if any(size != n * count for size, n, count in zip(x.shape, window, counts, strict=True)):
        x = jax.lax.slice(x, [0] * x.ndim, [n * count for n, count in zip(window, counts, strict=True)])
    split = x.reshape([size for n, count in zip(window, counts, strict=True) for size in (count, n)])
    places = itertools.product(*map(range, window))
    return [split[tuple(i for at in place for i in (slice(None), at))] for place in places]


def maximum(equation: Any, x: Any) -> Any:
    """Return each window's maximum; the gradient goes to the first of equal ones, as in XLA's, and NaN stays NaN."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or (found := _windows(equation, x)) is None:
        return None
    most, *others = found
    for other in others:
        most = jnp.where((other > most) | (other != other), other, most)
    return most


def total(equation: Any, x: Any) -> Any:
    """Return each window's sum."""
    if (found := _windows(equation, x)) is None:
        return None
    first, *others = found
    for other in others:
        first = first + other
    return first


MAXIMUM, SUM = Rule("pooling by slices", maximum), Rule("pooling by slices", total)
