"""Conditions inside a training loop whose arrays are in other axis orders: see `layout`.

A diagnostic is such a condition. Were its operands brought into their original orders before it, every step would pay
for that, also where the diagnostic is not due.
"""

from collections.abc import Sequence
from typing import Any

import jax


def chosen(turn: Any, equation: Any, operands: Sequence[Any]) -> list[Any] | None:
    """Return the results of a condition on operands in any axis orders; None where some result is not a scalar.

    Its branches put the arrays in order, and do not count for whether the orders pay, since few steps take them.

    Args:
        turn: The body of the loop: a `layout._Turn`.
        equation: The condition.
        operands: The number of the branch, then what the branches take: `layout.Laid`.

    """
    if any(v.aval.shape for v in equation.outvars):
        return None
    index, *given = operands
    counts = turn.swapped, turn.moved, turn.moved_before

    def branch(program):
        def run(*values):
            laid = [x._replace(value=value) for x, value in zip(given, values, strict=True)]
            return [x.value for x in turn._run(program.jaxpr, program.consts, laid)]

        return run

    branches = [branch(program) for program in equation.params["branches"]]
    values = jax.lax.switch(index.value, branches, *(x.value for x in given))
    turn.swapped, turn.moved, turn.moved_before = counts
    return values
