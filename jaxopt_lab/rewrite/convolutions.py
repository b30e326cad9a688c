"""Convolutions as patches and one product.

XLA's CPU compiler has fast convolutions, but neither inside a loop nor with separate filters for each trial; and a
gradient with respect to filters is to it a convolution whose filter is an image. Instead, what each position in the
filter sees of the images is a slice of them; these slices, one above the other, are patches, and a convolution is the
product of filters and patches, and so are its gradients. The same numbers are multiplied, and summed in another order.

Channels come first and examples last, so that slices are long pieces of memory and products are wide. XLA chooses its
memory layouts such that operations in between need no transposes.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.rewrite.products import transposed_times
from jaxopt_lab.rewrite.rule import Rule

MOST_POSITIONS = 64  # in a filter: each is a slice
MOST_BYTES = 2**24  # of patches: up to that a step takes as long as with XLA's own convolution outside of a loop


def as_patches(equation: Any, images: Any, filters: Any) -> Any:
    """Convolve by patches: also strided, dilated, transposed, grouped and depth-wise, in any number of dimensions."""
    p, numbers, shape = equation.params, equation.params["dimension_numbers"], equation.outvars[0].aval.shape
    window = [filters.shape[axis] for axis in numbers.rhs_spec[2:]]
    sizes = [shape[axis] for axis in numbers.out_spec[2:]]
    examples, channels = (images.shape[axis] for axis in numbers.lhs_spec[:2])
    patch_bytes = examples * channels * math.prod((*sizes, *window)) * images.dtype.itemsize
    fits = math.prod(window) <= MOST_POSITIONS and patch_bytes <= MOST_BYTES
    if p["batch_group_count"] != 1 or not fits or 0 in (*images.shape, *filters.shape, *shape):
        return None
    images = jnp.transpose(images, (numbers.lhs_spec[1], *numbers.lhs_spec[2:], numbers.lhs_spec[0]))
    filters = jnp.transpose(filters, (*numbers.rhs_spec[2:], *numbers.rhs_spec[1::-1]))
    edges = [(*edge, between - 1) for edge, between in zip(p["padding"], p["lhs_dilation"], strict=True)]
    if any(map(any, edges)):
        images = jax.lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    places = list(itertools.product(*map(range, window)))
    seen = [_seen(images, at, sizes, p["window_strides"], p["rhs_dilation"]) for at in places]
    filters = filters.reshape(len(places), *filters.shape[-2:])
    value = _filtered(seen, filters, p["feature_group_count"], p["precision"], p["preferred_element_type"])
    order = numbers.out_spec[1], *numbers.out_spec[2:], numbers.out_spec[0]
    return jnp.transpose(value.reshape([shape[axis] for axis in order]), [order.index(n) for n in range(len(order))])


def _seen(images: Any, at: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Any:
    """Return what one position in the filter sees, for each place of the filter: (channels, ..., examples)."""
    start = [n * between for n, between in zip(at, dilation, strict=True)]
    end = [first + (size - 1) * stride + 1 for first, size, stride in zip(start, sizes, strides, strict=True)]
    return jax.lax.slice(images, (0, *start, 0), (images.shape[0], *end, images.shape[-1]), (1, *strides, 1))


def _filtered(seen: list[Any], filters: Any, groups: int, precision: Any, kind: Any) -> Any:
    """Multiply (positions, channels of a group, results) by what the positions see: (results, places of the filter)."""
    of_group, results = filters.shape[1:]
    if of_group == 1 and results == groups:  # depth-wise: nothing to sum over but positions, so no patches
        wide = lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32))  # sums are wider than bfloat16
        scaled = [wide(x) * wide(filters[n, 0]).reshape(-1, *[1] * (x.ndim - 1)) for n, x in enumerate(seen)]
        return functools.reduce(jnp.add, scaled).astype(kind or filters.dtype)
    rows = jnp.stack([x.reshape(groups, of_group, -1) for x in seen], 1).reshape(groups, len(seen) * of_group, -1)
    filters = jnp.moveaxis(filters.reshape(len(seen) * of_group, groups, -1), 1, 0)
    if groups == 1:
        return transposed_times(filters[0], rows[0], precision, kind)
    return transposed_times(filters, rows, precision, kind)


PATCHES = Rule("convolutions as patches", as_patches)
