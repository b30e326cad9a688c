"""Convolutions as patches and one product.

XLA's CPU compiler has fast convolutions, but neither inside a loop nor with separate filters for each trial; and a
gradient with respect to filters is to it a convolution whose filter is an image. Instead, what each position in the
filter sees of the images is a slice of them; these slices, one above the other, are patches, and a convolution is the
product of filters and patches, and so are its gradients. The same numbers are multiplied, and summed in another order.

Images are sliced along one axis after the other: a filter of 5 x 5 needs 10 slices in place of 25, and a program with
fewer operations compiles sooner. Channels come first and examples last, so that slices are long pieces of memory and
products are wide. Slices keep the axes of images until all are there: written in merged axes, LLVM does not see that
they are contiguous, and a processor with AVX-512 takes 1.4 times as long for a step.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_lab.rewrite.products import transposed_times
from jaxopt_lab.rewrite.rule import Rule

MOST_POSITIONS = 64  # in a filter
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
    along = zip(window, sizes, p["padding"], p["lhs_dilation"], p["rhs_dilation"], p["window_strides"], strict=True)
    slices = [
        [_Slice(low - n * between, apart, stride, size) for n in range(count)]
        for count, size, (low, _), apart, between, stride in along
    ]
    value = _filtered(images, slices, filters, p["feature_group_count"], p["precision"], p["preferred_element_type"])
    order = numbers.out_spec[1], *numbers.out_spec[2:], numbers.out_spec[0]
    return jnp.transpose(value.reshape([shape[axis] for axis in order]), [order.index(n) for n in range(len(order))])


class _Slice(NamedTuple):
    """What one position in the filter sees along an axis."""

    before: int  # zeros before the axis; where negative, numbers left out
    apart: int  # the distance of the axis's numbers, with zeros in between where it is more than 1
    stride: int  # the distance of the numbers that are seen
    size: int  # how many are seen

    def of(self, x: Any, axis: int) -> Any:
        end = (self.size - 1) * self.stride + 1
        edges = [(0, 0, 0)] * x.ndim
        edges[axis] = self.before, end - self.before - (x.shape[axis] - 1) * self.apart - 1, self.apart - 1
        return jax.lax.slice_in_dim(jax.lax.pad(x, jnp.zeros((), x.dtype), edges), 0, end, self.stride, axis)


def _filtered(
    images: Any, slices: Sequence[Sequence[_Slice]], filters: Any, groups: int, precision: Any, kind: Any
) -> Any:
    """Multiply filters (*window, channels of a group, results) by what each position in the window sees of images."""
    of_group, results = filters.shape[-2:]
    if of_group == 1 and results == groups:  # depth-wise: nothing to sum over but positions, so no patches
        wide = lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32))  # sums are wider than bfloat16
        filters = filters.reshape(-1, results, *[1] * (images.ndim - 1))
        seen = [
            functools.reduce(lambda x, at: at[1].of(x, at[0]), enumerate(place, 1), images)
            for place in itertools.product(*slices)
        ]
        scaled = [wide(x) * wide(scale) for x, scale in zip(seen, filters, strict=True)]
        return functools.reduce(jnp.add, scaled).astype(kind or filters.dtype)
    rows = images.reshape(groups, of_group, *images.shape[1:])
    for axis, pieces in reversed([*enumerate(slices, 1 - images.ndim)]):  # axes from the end, since each adds one
        rows = jnp.stack([piece.of(rows, axis) for piece in pieces], 1)
    rows = rows.reshape(groups, -1, math.prod(rows.shape[1 - images.ndim :]))
    filters = jnp.moveaxis(filters.reshape(-1, groups, results // groups), 1, 0)
    if groups == 1:
        return transposed_times(filters[0], rows[0], precision, kind)
    return transposed_times(filters, rows, precision, kind)


PATCHES = Rule("convolutions as patches", as_patches)
