"""The axis order in which a training loop keeps its arrays, chosen for fast products over many trials.

Losses are usually written with examples as rows, `x @ w`. Over many trials, XLA on a CPU computes these products up to
twice as fast with examples last, `w.T @ x.T`; and it reads a gradient that is the transpose of its parameter with
strides, once for each moment that an optimizer keeps. So the body of the loop is traced for one trial and rebuilt, with
each array in the axis order in which products return it. Numbers are as before, but for the order of products' sums.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from jaxopt_lab.engine.compile.branches import chosen

if TYPE_CHECKING:  # its import is slow
    from jax.extend import core

Order = tuple[int, ...]

CARRIED, GIVEN = 1, 2  # bits for what a value depends on: the loop's state, arrays from outside the loop
ELEMENTWISE_NAMES = """
abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp convert_element_type
copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log log1p
log2 logistic lt max min mul ne neg nextafter not one_minus_square or polygamma pow reduce_precision rem round rsqrt
select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh xor
"""
ELEMENTWISE = frozenset(ELEMENTWISE_NAMES.split())
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}
ATTEMPTS = 3  # to find orders that the body of the loop preserves


class Laid(NamedTuple):
    """An array in some axis order; or an array raveled to one axis, possibly out of another order.

    Attributes:
        value: `transpose(array, order)`.
        order: The order of the array's axes.
        depends: What it depends on, as bits.
        spread: Whether it repeats one number or row, so that a transpose is free.
        within: For an array raveled from another axis order: its shape and that order.

    """

    value: Any
    order: Order
    depends: int = 0
    spread: bool = False
    within: tuple[Order, Order] | None = None


def fori_loop(lower: Any, upper: Any, body: Callable[[Any, Any], Any], init: Any, held: bool = False) -> Any:
    """Loop as `jax.lax.fori_loop` does, with carried arrays in the axis order that suits products.

    It calls that function itself where nothing would change, or where an iteration would transpose more than before.
    `held` forces XLA to keep these orders: a GPU's compiler may otherwise undo some before the loop, and redo them in
    each iteration.
    """
    leaves, tree = jax.tree.flatten(init)
    number = 0 * (lower + upper)  # of the type that the loop counts in
    flat = lambda i, *leaves: tree.flatten_up_to(body(i, tree.unflatten(leaves)))
    traced = jax.make_jaxpr(flat)(number, *leaves)
    orders = [_given(x) for x in leaves]
    for _ in range(ATTEMPTS):
        turn = _Turn(traced, orders)
        jaxpr = jax.make_jaxpr(turn)(number, *map(_turned, leaves, orders))
        if turn.orders == orders:
            break
        orders = turn.orders
    if turn.orders != orders or not _pays(turn):
        return jax.lax.fori_loop(lower, upper, body, init)
    from jax.extend import core

    run, carried = core.jaxpr_as_fun(jaxpr), list(map(_turned, leaves, orders))
    if held:
        carried = [_held(x) if _is_turned(order) else x for x, order in zip(carried, orders, strict=True)]
    results = jax.lax.fori_loop(lower, upper, lambda i, leaves: run(i, *leaves), carried)
    return tree.unflatten(_turned(x, _inverse(order)) for x, order in zip(results, orders, strict=True))


class _Turn:
    """The body of the loop: takes leaves in `given` orders, and returns them in the orders that `orders` then has.

    Attributes:
        swapped: Whether it swaps the operands of a product.
        moved: How many numbers per trial it transposes.
        moved_before: How many it transposes as originally written.

    """

    def __init__(self, traced: Any, given: Sequence[Order]):
        self.traced, self.given, self.orders = traced, given, list(given)
        self.swapped, self.moved, self.moved_before = False, 0, 0

    def __call__(self, i: jax.Array, *leaves: jax.Array) -> list[jax.Array]:
        carried = [Laid(x, order, CARRIED) for x, order in zip(leaves, self.given, strict=True)]
        results = [*map(self._unraveled, self._run(self.traced.jaxpr, self.traced.consts, [Laid(i, ()), *carried]))]
        self.orders = [x.order for x in results]
        return [x.value for x in results]

    def _run(self, jaxpr: "core.Jaxpr", consts: Sequence[Any], arguments: Sequence[Laid]) -> list[Laid]:
        given = [Laid(x, _given(x), GIVEN if jnp.ndim(x) else 0) for x in consts]
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*given, *arguments], strict=True))
        read = lambda v: Laid(v.val, _given(v.val), 0, True) if hasattr(v, "val") else known[v]
        for equation in jaxpr.eqns:
            known |= zip(equation.outvars, self._apply(equation, [read(v) for v in equation.invars]), strict=True)
        return [read(v) for v in jaxpr.outvars]

    def _apply(self, equation: "core.JaxprEqn", operands: list[Laid]) -> Sequence[Laid]:
        name = equation.primitive.name
        if name in CALLS:
            called = equation.params[CALLS[name]]
            return self._run(called.jaxpr, called.consts, operands)
        depends = functools.reduce(int.__or__, (x.depends for x in operands), 0)
        if name == "cond" and (found := chosen(self, equation, operands)) is not None:
            return [Laid(x, (), depends) for x in found]
        operands = operands if name in RAVELED else [self._unraveled(x) for x in operands]
        if name in RULES and (made := RULES[name](self, equation, *operands)) is not None:
            return [made._replace(depends=depends)]
        parameters = equation.primitive.get_bind_params(equation.params)
        values = equation.primitive.bind(*map(self._plain, operands), **parameters)
        values = values if equation.primitive.multiple_results else [values]
        return [Laid(x, _given(x), depends, spread=not operands) for x in values]

    def _ordered(self, x: Laid, order: Order, within: Any = None) -> Any:
        """Return the array in this order."""
        if (x.order, x.within) == (order, within):
            return x.value
        value = x.value
        if x.within is not None:
            shape, inner = x.within
            value = self._moved(x, value.reshape([shape[axis] for axis in inner]), _inverse(inner)).reshape(-1)
        value = self._moved(x, value, [x.order.index(axis) for axis in order])
        return value if within is None else self._moved(x, value.reshape(within[0]), within[1]).reshape(-1)

    def _moved(self, x: Laid, value: Any, permutation: Sequence[int]) -> Any:
        """Transpose a value of `x`, and count it."""
        self.moved += _count(x, value.shape, permutation)
        return _turned(value, permutation)

    def _plain(self, x: Laid) -> Any:
        """Return the array in its original order."""
        return self._ordered(x, tuple(sorted(x.order)))

    def _unraveled(self, x: Laid) -> Laid:
        """Return a raveled array in its original order."""
        return x if x.within is None else x._replace(value=self._plain(x), within=None)

    def _elementwise(self, equation: "core.JaxprEqn", *operands: Laid) -> Laid:
        """Apply it in the order of an operand that is not free to transpose, preferably a transposed one."""
        arrays = [x for x in operands if x.order]
        if not arrays:
            return Laid(_bind(equation, *(x.value for x in operands)), ())
        chosen = min(arrays, key=lambda x: (x.spread, not _is_turned(x.order)))
        within = chosen.within if len({x.within for x in arrays if not x.spread}) == 1 else None
        values = (self._ordered(x, chosen.order, within) if x.order else x.value for x in operands)
        return Laid(_bind(equation, *values), chosen.order, spread=all(x.spread for x in arrays), within=within)

    def _dot_general(self, equation: "core.JaxprEqn", a: Laid, b: Laid) -> Laid:
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
        if RANK[a.depends] > RANK[b.depends] and not one_number:
            self.swapped = True
            sides, precision = sides[::-1], precision[::-1] if isinstance(precision, tuple) else precision
        at = lambda x, axes: tuple(x.order.index(axis) for axis in axes)
        numbers = tuple(tuple(at(x, axes[kind]) for x, *axes, _ in sides) for kind in (0, 1))
        value = _bind(equation, *(x.value for x, *_ in sides), dimension_numbers=numbers, precision=precision)
        return Laid(value, (*range(first), *sides[0][-1], *sides[1][-1]))

    def _transpose(self, equation: "core.JaxprEqn", x: Laid) -> Laid:
        permutation = equation.params["permutation"]
        self.moved_before += _count(x, [x.value.shape[x.order.index(axis)] for axis in sorted(x.order)], permutation)
        return x._replace(order=tuple(permutation.index(axis) for axis in x.order))

    def _broadcast_in_dim(self, equation: "core.JaxprEqn", x: Laid, *sizes: Laid) -> Laid | None:
        if sizes:
            return None
        shape, axes = equation.params["shape"], equation.params["broadcast_dimensions"]
        order = list(range(len(shape)))
        for place, axis in zip(axes, x.order, strict=True):
            order[place] = axes[axis]
        value = _bind(equation, x.value, shape=tuple(shape[axis] for axis in order))
        return Laid(value, tuple(order), spread=x.spread or math.prod(shape) > math.prod(x.value.shape))

    def _reduction(self, equation: "core.JaxprEqn", x: Laid) -> Laid:
        """Reduce in any order, also a raveled array out of its order, since the order does not matter."""
        axes = equation.params["axes"]
        value = _bind(equation, x.value, axes=tuple(sorted(x.order.index(axis) for axis in axes)))
        return Laid(value, _without(x.order, axes))

    def _squeeze(self, equation: "core.JaxprEqn", x: Laid) -> Laid:
        axes = equation.params["dimensions"]
        value = _bind(equation, x.value, dimensions=tuple(sorted(x.order.index(axis) for axis in axes)))
        return x._replace(value=value, order=_without(x.order, axes))

    def _reshape(self, equation: "core.JaxprEqn", x: Laid, *sizes: Laid) -> Laid | None:
        """Keep the order where an array is raveled or unraveled, or where only axes of length 1 change."""
        shape, axes = equation.params["new_sizes"], tuple(sorted(x.order))
        if sizes or equation.params["dimensions"] is not None:
            return None
        if x.within is not None and x.within[0] == shape:
            order = x.within[1]
            return x._replace(value=x.value.reshape([shape[axis] for axis in order]), order=order, within=None)
        if not _is_turned(x.order):
            return None
        own = tuple(x.value.shape[x.order.index(axis)] for axis in axes)
        if len(shape) == 1:
            return x._replace(value=x.value.reshape(-1), order=(0,), within=(own, x.order))
        before, after = [n for n in axes if own[n] != 1], [n for n, size in enumerate(shape) if size != 1]
        if [own[n] for n in before] != [shape[n] for n in after]:
            return None
        order = [n for n, size in enumerate(shape) if size == 1]
        order += [after[before.index(axis)] for axis in x.order if axis in before]
        return x._replace(value=x.value.reshape([shape[n] for n in order]), order=tuple(order))

    def _gather(self, equation: "core.JaxprEqn", x: Laid, indices: Laid) -> Laid | None:
        """Gather from any order in which the axes of a slice keep theirs."""
        numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
        taken = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
        if _is_turned(_without(x.order, taken)):
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
        value = _bind(equation, x.value, self._plain(indices), dimension_numbers=numbers, slice_sizes=sizes)
        return Laid(value, _given(value))


RULES: dict[str, Callable[..., Laid | None]] = {
    "dot_general": _Turn._dot_general,
    "transpose": _Turn._transpose,
    "broadcast_in_dim": _Turn._broadcast_in_dim,
    "squeeze": _Turn._squeeze,
    "reshape": _Turn._reshape,
    "gather": _Turn._gather,
    **dict.fromkeys((f"reduce_{kind}" for kind in ("and", "max", "min", "or", "prod", "sum", "xor")), _Turn._reduction),
    **dict.fromkeys(("argmax", "argmin"), _Turn._reduction),
    **dict.fromkeys(ELEMENTWISE, _Turn._elementwise),
}
RAVELED = ELEMENTWISE | {"reshape", "reduce_sum", "reduce_max", "reduce_min"}  # a raveled array's order is irrelevant
RANK = {CARRIED: 0, CARRIED | GIVEN: 1, GIVEN: 2, 0: 2}


def _pays(turn: _Turn) -> bool:
    return (turn.swapped or any(map(_is_turned, turn.orders))) and turn.moved <= turn.moved_before


def _bind(equation: "core.JaxprEqn", *values: Any, **changed: Any) -> Any:
    return equation.primitive.bind(*values, **(equation.params | changed))


def _given(x: Any) -> Order:
    return tuple(range(jnp.ndim(x)))


def _is_turned(order: Sequence[int]) -> bool:
    return list(order) != sorted(order)


def _count(x: Laid, shape: Sequence[int], permutation: Sequence[int]) -> int:
    """Count the numbers per trial that a transpose moves."""
    moves = _is_turned([axis for axis in permutation if shape[axis] != 1])
    return math.prod(shape) if moves and x.depends & CARRIED and not x.spread else 0


def _turned(x: Any, order: Sequence[int]) -> Any:
    return jax.lax.transpose(x, order) if _is_turned(order) else x


def _held(x: jax.Array) -> jax.Array:
    """Constrain the array's memory layout to its axis order."""
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))


def _inverse(order: Order) -> Order:
    return tuple(order.index(axis) for axis in range(len(order)))


def _without(order: Order, axes: Sequence[int]) -> Order:
    """Return the order of the remaining axes, renumbered."""
    left = [axis for axis in order if axis not in axes]
    return tuple(sorted(left).index(axis) for axis in left)
