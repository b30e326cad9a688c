"""Pooling over windows that do not overlap, by slices.

XLA's CPU compiler computes a window's maximum element by element, and its gradient by another search through the
window. Windows that lie side by side are an axis of their own after a reshape, over which maxima and sums are
vectorised. So is the gradient of a maximum, as a comparison of each place's number with that of the first maximum:
45 us for 64 x 8 x 8 x 16 numbers, where the sum of the slices' own gradients takes 480.
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.rewrite.rule import Rule


def _split(equation: Any, x: Any) -> Any:
    """Return the array with an axis for the places in a window after each axis of windows; None where they overlap."""
    p = equation.params
    window = p["window_dimensions"]
    plain = all(n == 1 for n in (*p["base_dilation"], *p["window_dilation"])) and not any(map(any, p["padding"]))
    if not plain or tuple(p["window_strides"]) != tuple(window) or 0 in equation.outvars[0].aval.shape:
        return None
    counts = [size // n for size, n in zip(x.shape, window, strict=True)]
    if any(size != n * count for size, n, count in zip(x.shape, window, counts, strict=True)):
        x = jax.lax.slice(x, [0] * x.ndim, [n * count for n, count in zip(window, counts, strict=True)])
    return x.reshape([size for n, count in zip(window, counts, strict=True) for size in (count, n)])


def _places(split: Any) -> list[Any]:
    """Return for each place in a window an array of what all windows have there."""
    places = itertools.product(*map(range, split.shape[1::2]))
    return [split[tuple(i for at in place for i in (slice(None), at))] for place in places]


def maximum(equation: Any, x: Any) -> Any:
    """Return each window's maximum; the gradient goes to the first of equal ones, as in XLA's, and NaN stays NaN."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or (split := _split(equation, x)) is None:
        return None
    return _maximum(split)


@jax.custom_jvp
def _maximum(split: Any) -> Any:
    return _first_maximum(split)[0]


@_maximum.defjvp
def _(primals: Any, tangents: Any) -> Any:
    """A window's places are an axis of the tangents, so that the gradient is one comparison for each number."""
    (split,), (d_split,) = primals, tangents
    most, place = _first_maximum(split)
    axes = tuple(range(1, split.ndim, 2))
    numbers = jnp.arange(math.prod(split.shape[1::2]), dtype=place.dtype).reshape(
        [size if axis % 2 else 1 for axis, size in enumerate(split.shape)]
    )
    return most, jnp.where(jnp.expand_dims(place, axes) == numbers, d_split, 0).sum(axes)


def _first_maximum(split: Any) -> tuple[Any, Any]:
    """Return each window's maximum, and the number of the first place that has it."""
    most, *others = _places(split)
    place = jnp.zeros(most.shape, jnp.int32)
    for number, other in enumerate(others, 1):
        larger = (other > most) | (other != other)
        most, place = jnp.where(larger, other, most), jnp.where(larger, jnp.int32(number), place)
    return most, place


def total(equation: Any, x: Any) -> Any:
    """Return each window's sum."""
    if (split := _split(equation, x)) is None:
        return None
    return functools.reduce(jnp.add, _places(split))


MAXIMUM, SUM = Rule("pooling by slices", maximum), Rule("pooling by slices", total)
