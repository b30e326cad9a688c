"""Decompositions of many matrices, on a CPU one after the other.

JAX's kernels for a CPU divide a stack of matrices among XLA's threads, and wait for them inside one of these threads.
Where as many kernels run at once as there are threads (chunks side by side, or two factors of one step), all threads
wait, and the program never ends: on two cores with jaxlib 0.10.2, sweeps of SOAP and of Shampoo did so each time. A
kernel that gets one matrix computes it where it is called. On two idle cores that takes .5 to 2 times as long as the
divided stack (QR of 48 and 96 matrices of 128 x 128 .8 to 1.1, of 192 of 32 x 32 1.4 to 2, eigenvectors .7 to 1.9), and
chunks that run side by side share the cores anyway.
"""

import math
from collections.abc import Callable
from typing import Any

import jax

from jaxopt_lab.rewrite.rule import Rule
from jaxopt_lab.rewrite.walk import rewritten_by

KERNELS = frozenset(
    ("cholesky", "eig", "eigh", "geqp3", "geqrf", "hessenberg", "householder_product", "lu", "ormqr", "qr", "schur")
) | {"svd", "triangular_solve", "tridiagonal"}
"""JAX's operations whose operands are matrices, or stacks of them along the same first axes."""

WORK = 6000
"""A stack is left as it is if its count times its largest side cubed is less: JAX's kernels do not divide so little."""


def of_stacks(jaxpr: Any) -> bool:
    """Return whether a traced program, or one inside it, decomposes stacks of matrices."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in KERNELS and _is_divided([x.aval.shape for x in equation.invars]):
            return True
        inner = (
            x for value in equation.params.values() for x in (value if isinstance(value, tuple | list) else [value])
        )
        if any(of_stacks(getattr(x, "jaxpr", x)) for x in inner if hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            return True
    return False


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Rewrite a function such that it decomposes matrices one after the other."""
    return rewritten_by(dict.fromkeys(KERNELS, Rule("decompositions one by one", _in_turn)), function, final=True)


def _in_turn(equation: Any, *operands: Any) -> Any:
    if not _is_divided([x.shape for x in operands]):
        return None
    stack = operands[0].shape[:-2]
    decompose = lambda matrices: equation.primitive.bind(*matrices, **equation.params)
    found = jax.lax.map(decompose, [x.reshape(-1, *x.shape[len(stack) :]) for x in operands])
    return jax.tree.map(lambda x: x.reshape(*stack, *x.shape[1:]), found)


def _is_divided(shapes: list[tuple[int, ...]]) -> bool:
    """Return whether XLA's threads may divide these operands: several matrices, unless they are few and small."""
    axes = len(shapes[0]) - 2
    count, side = math.prod(shapes[0][:axes]), max(max(shape[axes:], default=1) for shape in shapes)
    return count > 1 and count * side**3 >= WORK
