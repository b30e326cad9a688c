"""The axis order in which a training loop keeps its arrays, chosen for fast products over many trials.

Losses are usually written with examples as rows, `x @ w`. Over many trials, XLA on a CPU computes these products up to
twice as fast with examples last, `w.T @ x.T`; and it reads a gradient that is the transpose of its parameter with
strides, once for each moment that an optimizer keeps. So the body of the loop is traced for one trial and rebuilt, with
each array in the axis order in which products return it. Numbers are as before, but for the order of products' sums.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from jaxopt_lab.engine.compile.branches import chosen
from jaxopt_lab.engine.compile.laid import (
    CARRIED,
    GIVEN,
    Laid,
    Order,
    Orders,
    as_given,
    inverse,
    is_turned,
    turned,
)
from jaxopt_lab.engine.compile.layout_rules import RAVELED, RULES

if TYPE_CHECKING:  # its import is slow
    from jax.extend import core

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}
ATTEMPTS = 3  # to find orders that the body of the loop preserves


def fori_loop(lower: Any, upper: Any, body: Callable[[Any, Any], Any], init: Any, held: bool = False) -> Any:
    """Loop as `jax.lax.fori_loop` does, with carried arrays in the axis order that suits products.

    It calls that function itself where nothing would change, or where an iteration would transpose more than before.
    `held` is for a GPU: it forces XLA to keep these orders, since its compiler may otherwise undo some before the loop,
    and redo them in each iteration. Products then take no transposed copies of their operands, which pay on a CPU.
    """
    leaves, tree = jax.tree.flatten(init)
    number = 0 * (lower + upper)  # of the type that the loop counts in
    flat = lambda i, *leaves: tree.flatten_up_to(body(i, tree.unflatten(leaves)))
    traced = jax.make_jaxpr(flat)(number, *leaves)
    orders = [as_given(x) for x in leaves]
    for _ in range(ATTEMPTS):
        turn = _Turn(traced, orders, copies=not held)
        jaxpr = jax.make_jaxpr(turn)(number, *map(turned, leaves, orders))
        if turn.orders == orders:
            break
        orders = turn.orders
    if turn.orders != orders or not _pays(turn):
        return jax.lax.fori_loop(lower, upper, body, init)
    from jax.extend import core

    run, carried = core.jaxpr_as_fun(jaxpr), list(map(turned, leaves, orders))
    if held:
        carried = [_held(x) if is_turned(order) else x for x, order in zip(carried, orders, strict=True)]
    results = jax.lax.fori_loop(lower, upper, lambda i, leaves: run(i, *leaves), carried)
    return tree.unflatten(turned(x, inverse(order)) for x, order in zip(results, orders, strict=True))


class _Turn(Orders):
    """The body of the loop: takes leaves in `given` orders, and returns them in the orders that `orders` then has."""

    def __init__(self, traced: Any, given: Sequence[Order], copies: bool):
        self.traced, self.given, self.orders = traced, given, list(given)
        super().__init__(copies)

    def __call__(self, i: jax.Array, *leaves: jax.Array) -> list[jax.Array]:
        carried = [Laid(x, order, CARRIED) for x, order in zip(leaves, self.given, strict=True)]
        results = [*map(self.unraveled, self._run(self.traced.jaxpr, self.traced.consts, [Laid(i, ()), *carried]))]
        self.orders = [x.order for x in results]
        return [x.value for x in results]

    def _run(self, jaxpr: "core.Jaxpr", consts: Sequence[Any], arguments: Sequence[Laid]) -> list[Laid]:
        given = [Laid(x, as_given(x), GIVEN if jnp.ndim(x) else 0) for x in consts]
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*given, *arguments], strict=True))
        read = lambda v: Laid(v.val, as_given(v.val), 0, True) if hasattr(v, "val") else known[v]
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
        operands = operands if name in RAVELED else [self.unraveled(x) for x in operands]
        if name in RULES and (made := RULES[name](self, equation, *operands)) is not None:
            return [made._replace(depends=depends)]
        parameters = equation.primitive.get_bind_params(equation.params)
        values = equation.primitive.bind(*map(self.plain, operands), **parameters)
        values = values if equation.primitive.multiple_results else [values]
        return [Laid(x, as_given(x), depends, spread=not operands) for x in values]


def _pays(turn: _Turn) -> bool:
    return (turn.swapped or any(map(is_turned, turn.orders))) and turn.moved <= turn.moved_before


def _held(x: jax.Array) -> jax.Array:
    """Constrain the array's memory layout to its axis order."""
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))
