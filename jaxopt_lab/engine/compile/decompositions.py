"""Decompositions of many matrices, on a CPU one after the other.

JAX's kernels for a CPU divide a stack of matrices among XLA's threads, and wait for them inside one of these threads.
Where as many kernels run at once as there are threads (chunks side by side, or two factors of one step), all threads
wait, and the program never ends (jaxlib 0.10 to 0.11; seen with SOAP and Shampoo on two cores). A kernel that gets one
matrix computes it where it is called. It takes as long: stacks of 96 matrices of 128 x 128 one after the other .8 to
.9 times, of 192 of 32 x 32 1.4 to 2 times the time of the divided ones on two cores, and chunks share the cores anyway.
"""

import math
from collections.abc import Callable
from typing import Any

import jax

from jaxopt_lab.rewrite.rule import Rule
from jaxopt_lab.rewrite.walk import rewritten_by

MATRICES = {
    **dict.fromkeys(("cholesky", "eig", "eigh", "geqrf", "hessenberg", "lu", "qr", "schur", "svd", "tridiagonal"), 2),
    **dict.fromkeys(("geqp3", "householder_product", "triangular_solve"), 2),
}
"""The axes of the first operand of one decomposition, by the name of JAX's operation; those before are of a stack."""

WORK = 6000
"""Stacks whose count times largest side cubed is less are not divided: their 2 10^5 operations are too few."""


def of_stacks(jaxpr: Any) -> bool:
    """Return whether a traced program, or one inside it, decomposes stacks of matrices."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in MATRICES and _count(equation.invars[0].aval.shape):
            return True
        inner = (
            x for value in equation.params.values() for x in (value if isinstance(value, tuple | list) else [value])
        )
        if any(of_stacks(getattr(x, "jaxpr", x)) for x in inner if hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            return True
    return False


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Rewrite a function such that it decomposes matrices one after the other."""
    rules = dict.fromkeys(MATRICES, Rule("decompositions one by one", _in_turn))
    return rewritten_by(rules, function, final=True)


def _in_turn(equation: Any, *operands: Any) -> Any:
    lead = operands[0].ndim - MATRICES[equation.primitive.name]
    if not _count(operands[0].shape):
        return None
    stack = operands[0].shape[:lead]
    decompose = lambda matrices: equation.primitive.bind(*matrices, **equation.params)
    found = jax.lax.map(decompose, [x.reshape(-1, *x.shape[lead:]) for x in operands])
    return jax.tree.map(lambda x: x.reshape(*stack, *x.shape[1:]), found)


def _count(shape: tuple[int, ...]) -> int:
    """Return the number of matrices that would be divided among threads; 0 for one, and for few that are small."""
    *stack, rows, columns = shape
    count = math.prod(stack)
    return count if count > 1 and count * max(rows, columns) ** 3 >= WORK else 0
