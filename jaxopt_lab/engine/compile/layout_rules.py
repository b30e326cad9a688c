"""How operations are computed on arrays in other axis orders: see `layout`.

A rule takes the orders, an equation, and its operands as they lie; it returns the result as it lies, or None where the
operands have to be brought into their original orders first.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxopt_lab.engine.compile.laid import (
    CARRIED,
    GIVEN,
    Laid,
    Orders,
    as_given,
    is_turned,
    numbers_moved,
    without,
)

ELEMENTWISE_NAMES = """
abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp convert_element_type
copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p
log2 logistic lt max min mul ne neg nextafter not one_minus_square or polygamma pow reduce_precision rem round rsqrt
select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan
tanh xor
"""
ELEMENTWISE = frozenset(ELEMENTWISE_NAMES.split())
LEAST_COPIED = 4  # a transposed copy pays from so many contracted numbers on
WIDE = 8  # a matrix is wide if it is this many times as wide as high
RANK = {CARRIED: 0, CARRIED | GIVEN: 1, GIVEN: 2, 0: 2}


def elementwise(orders: Orders, equation: Any, *operands: Laid) -> Laid:
    """Apply it in the order of an operand that is not free to transpose, preferably a transposed one."""
    arrays = [x for x in operands if x.order]
    if not arrays:
        return Laid(_bind(equation, *(x.value for x in operands)), ())
    chosen = _chosen(arrays)
    within = chosen.within if len({x.within for x in arrays if not x.spread}) == 1 else None
    values = (orders.ordered(x, chosen.order, within) if x.order else x.value for x in operands)
    return Laid(_bind(equation, *values), chosen.order, spread=all(x.spread for x in arrays), within=within)


def _chosen(arrays: Sequence[Laid]) -> Laid:
    return min(arrays, key=lambda x: (x.spread, not is_turned(x.order)))


def dot_general(orders: Orders, equation: Any, a: Laid, b: Laid) -> Laid:
    """Put the operand that depends only on the trial's state first, and one that depends only on data last."""
    (contract_a, contract_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    free = lambda x, contracted, batch: [axis for axis in x.order if axis not in (*contracted, *batch)]
    free_a, free_b, first = free(a, contract_a, batch_a), free(b, contract_b, batch_b), len(batch_a)
    after = first + len(free_a)  # the result's own axes: batch, of a, of b
    order_of = lambda free, start: [start + sorted(free).index(axis) for axis in free]
    sides = [(a, contract_a, batch_a, order_of(free_a, first)), (b, contract_b, batch_b, order_of(free_b, after))]
    precision = equation.params["precision"]
    # XLA multiplies element by element where one number is contracted: twice as fast in the order as written.
    one_number = {a.value.shape[a.order.index(axis)] for axis in contract_a} == {1}
    if not one_number and (
        RANK[a.depends] > RANK[b.depends] or (RANK[a.depends] == RANK[b.depends] and _is_low(a, b, equation))
    ):
        orders.swapped = True
        sides, precision = sides[::-1], precision[::-1] if isinstance(precision, tuple) else precision
    at = lambda x, axes: tuple(x.order.index(axis) for axis in axes)
    ((contract_a, contract_b), batch) = (tuple(at(x, axes[kind]) for x, *axes, _ in sides) for kind in (0, 1))
    left, right = (x.value for x, *_ in sides)
    if orders.copies and _pays_to_copy(left, right, contract_a, batch[0]):
        left, contract_a = jax.lax.optimization_barrier(left.swapaxes(-2, -1)), (left.ndim - 1,)
    value = _bind(equation, left, right, dimension_numbers=((contract_a, contract_b), batch), precision=precision)
    return Laid(value, (*range(first), *sides[0][-1], *sides[1][-1]))


def _pays_to_copy(a: jax.Array, b: jax.Array, contracted: Sequence[int], batch: Sequence[int]) -> bool:
    """Return whether a product `a^T b` is faster with a transposed copy of `a`.

    XLA's fast kernels for a CPU do not take `a^T b`. Over 96 trials, (10, 16)^T times (10, 64), the gradient with
    respect to a hidden layer, takes 1.7 us a trial, and .6 with a copy; (32, 32)^T times (32, 32) takes 2.6 and 1.7,
    and from 256 rows on there is little difference. Where XLA contracts up to three numbers, or a side has one column,
    it multiplies element by element, which is faster than a copy.
    """
    if tuple(contracted) != (a.ndim - 2,) or tuple(batch) != tuple(range(a.ndim - 2)):
        return False
    length, columns = a.shape[-2:]
    return length >= LEAST_COPIED and columns > 1 and b.size > length * math.prod(a.shape[:-2])


def _is_low(a: Laid, b: Laid, equation: Any) -> bool:
    """Return whether this is the product of wide matrices, `a b^T`, with fewer rows in `a`: `b a^T` is then faster.

    XLA's libraries take 70 us for (16, 1024) times (72, 1024), and 40 us with these swapped.
    """
    (contract_a, contract_b), (batch_a, _) = equation.params["dimension_numbers"]
    if batch_a or a.value.ndim != 2 or b.value.ndim != 2 or len(contract_a) != 1:
        return False
    (rows, width), others = a.value.shape, b.value.shape[0]
    wide = a.order.index(contract_a[0]) == b.order.index(contract_b[0]) == 1
    return wide and rows < others and width >= WIDE * others


def transpose(orders: Orders, equation: Any, x: Laid) -> Laid:
    permutation = equation.params["permutation"]
    orders.moved_before += numbers_moved(
        x, [x.value.shape[x.order.index(axis)] for axis in sorted(x.order)], permutation
    )
    return x._replace(order=tuple(permutation.index(axis) for axis in x.order))


def broadcast_in_dim(orders: Orders, equation: Any, x: Laid, *sizes: Laid) -> Laid | None:
    if sizes:
        return None
    shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]
    order = list(range(len(shape)))
    for place, axis in zip(axes, x.order, strict=True):
        order[place] = axes[axis]
    value = _bind(equation, x.value, shape=tuple(shape[axis] for axis in order))
    return Laid(value, tuple(order), spread=x.spread or math.prod(shape) > math.prod(x.value.shape))


def reduction(orders: Orders, equation: Any, x: Laid) -> Laid:
    """Reduce in any order, also a raveled array out of its order, since the order does not matter."""
    axes = equation.params["axes"]
    value = _bind(equation, x.value, axes=tuple(sorted(x.order.index(axis) for axis in axes)))
    return Laid(value, without(x.order, axes))


def squeeze(_: Orders, equation: Any, x: Laid) -> Laid:
    axes = equation.params["dimensions"]
    value = _bind(equation, x.value, dimensions=tuple(sorted(x.order.index(axis) for axis in axes)))
    return x._replace(value=value, order=without(x.order, axes))


def reshape(orders: Orders, equation: Any, x: Laid, *sizes: Laid) -> Laid | None:
    """Keep the order where an array is raveled or unraveled, and where axes are split or merged."""
    shape, axes = equation.params["new_sizes"], tuple(sorted(x.order))
    if sizes or equation.params["dimensions"] is not None:
        return None
    if x.within is not None and x.within[0] == shape:
        order = x.within[1]
        return x._replace(value=x.value.reshape([shape[axis] for axis in order]), order=order, within=None)
    if not is_turned(x.order) or 0 in shape:
        return None
    own = tuple(x.value.shape[x.order.index(axis)] for axis in axes)
    if len(shape) == 1:
        return x._replace(value=x.value.reshape(-1), order=(0,), within=(own, x.order))
    pairs = _matched(own, shape)
    # Axes that are merged come side by side, where the last of them is in memory.
    pairs.sort(key=lambda pair: max(x.order.index(axis) for axis in pair[0]))
    before, after = ([axis for pair in pairs for axis in pair[side]] for side in (0, 1))
    value = orders.ordered(x, (*(n for n in axes if own[n] == 1), *before))
    order = (*(n for n, size in enumerate(shape) if size == 1), *after)
    return x._replace(value=value.reshape([shape[n] for n in order]), order=order)


def _matched(own: Sequence[int], shape: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return which axes of a reshaped array become which, as few together as possible, without those of length 1."""
    pairs, left, right = [], _longer(own), _longer(shape)
    while left:
        before, after = [left.pop(0)], [right.pop(0)]
        length = own[before[0]], shape[after[0]]
        while length[0] != length[1]:
            if length[0] < length[1]:
                before.append(left.pop(0))
                length = length[0] * own[before[-1]], length[1]
            else:
                after.append(right.pop(0))
                length = length[0], length[1] * shape[after[-1]]
        pairs.append((before, after))
    return pairs


def _longer(shape: Sequence[int]) -> list[int]:
    return [n for n, size in enumerate(shape) if size != 1]


def cut(_: Orders, equation: Any, x: Laid) -> Laid:
    """Slice the axes where they are."""
    bounds = {name: equation.params[name] for name in ("start_indices", "limit_indices", "strides")}
    bounds = {name: values and tuple(values[axis] for axis in x.order) for name, values in bounds.items()}
    return x._replace(value=_bind(equation, x.value, **bounds))


def pad(_: Orders, equation: Any, x: Laid, padding: Laid) -> Laid:
    config = tuple(equation.params["padding_config"][axis] for axis in x.order)
    return Laid(_bind(equation, x.value, padding.value, padding_config=config), x.order)


def concatenate(orders: Orders, equation: Any, *operands: Laid) -> Laid:
    order = _chosen(operands).order
    values = [orders.ordered(x, order) for x in operands]
    return Laid(_bind(equation, *values, dimension=order.index(equation.params["dimension"])), order)


def gather(orders: Orders, equation: Any, x: Laid, indices: Laid) -> Laid | None:
    """Gather from any order in which the axes of a slice keep theirs."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    taken = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    if is_turned(without(x.order, taken)):
        return None
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    pairs = sorted((x.order.index(axis), other) for axis, other in pairs)
    numbers = numbers._replace(
        collapsed_slice_dims=tuple(sorted(x.order.index(axis) for axis in numbers.collapsed_slice_dims)),
        start_index_map=tuple(x.order.index(axis) for axis in numbers.start_index_map),
        operand_batching_dims=tuple(axis for axis, _ in pairs),
        start_indices_batching_dims=tuple(axis for _, axis in pairs),
    )
    sizes = tuple(sizes[axis] for axis in x.order)
    value = _bind(equation, x.value, orders.plain(indices), dimension_numbers=numbers, slice_sizes=sizes)
    return Laid(value, as_given(value))


def _bind(equation: Any, *values: Any, **changed: Any) -> Any:
    return equation.primitive.bind(*values, **(equation.params | changed))


RULES: dict[str, Callable[..., Laid | None]] = {
    "dot_general": dot_general,
    "transpose": transpose,
    "broadcast_in_dim": broadcast_in_dim,
    "squeeze": squeeze,
    "reshape": reshape,
    "slice": cut,
    "pad": pad,
    "concatenate": concatenate,
    "gather": gather,
    **dict.fromkeys((f"reduce_{kind}" for kind in ("and", "max", "min", "or", "prod", "sum", "xor")), reduction),
    **dict.fromkeys(("argmax", "argmin"), reduction),
    **dict.fromkeys(ELEMENTWISE, elementwise),
}
RAVELED = ELEMENTWISE | {"reshape", "reduce_sum", "reduce_max", "reduce_min"}  # a raveled array's order is irrelevant
