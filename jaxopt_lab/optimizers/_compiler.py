"""Forms of a computation that are chosen for the compiler's sake alone, each with the gain that was measured.

Measured with JAX 0.10.2 on two cores of a CPU, float32: medians over interleaved repeats.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.types import Params

SMALL = 10_000  # elements; larger leaves are summed one by one
TOGETHER = 16  # leaves in a kernel; one of hundreds would take long to compile
BATCHED = 64  # rows or columns up to which products of a stack of matrices are batched on a CPU too


def total(rows: Params) -> Any:
    """Sum all elements of a tree of vectors.

    Small leaves of one length are added to each other before they are summed, since the number of kernels decides the
    time. Of 1,000 leaves of 64 elements this takes 0.84 ms instead of 2.0 ms, and 0.8 s to compile instead of 8.6 s.
    """
    alike: dict[Any, list[Any]] = {}
    for row in jax.tree.leaves(rows):
        alike.setdefault((row.size, row.dtype), []).append(row)
    result: Any = 0.0
    for (size, _), leaves in alike.items():
        together = TOGETHER if size <= SMALL else 1
        for i in range(0, len(leaves), together):
            result += jnp.sum(functools.reduce(operator.add, leaves[i : i + together]))
    return result


def plus(kept: Array, added: Array) -> Array:
    """Add two arrays, as the last operation that makes a new state.

    XLA on a CPU then makes the state once. Where a number is added last, it makes a copy of the array first, and the
    state twice from it. AdaBelief's update of 8 million parameters takes 19.8 ms in this form and 23.4 ms with eps_root
    added last, and the copy takes as much memory as the parameters.
    """
    return kept + added


def cube_root(v: Array) -> Array:
    """Take the cube root of numbers >= 0, accurate to the last bit or two.

    On a CPU `jnp.cbrt` calls a library function for each element. MADGRAD's update of 8 million parameters takes 19 ms
    with this function and 126 ms with `jnp.cbrt`.

    The bits of a floating-point number, read as an integer, are nearly its logarithm: a constant less a third of them
    is the inverse of the root to within 8 %. Two or three Newton steps make it exact, and one Newton step of the root
    itself removes their rounding. 0, infinity, nan and numbers below the least normal one are returned unchanged.
    """
    wide = v.astype(jnp.promote_types(v.dtype, jnp.float32))
    kind, integer = jnp.finfo(wide.dtype), jnp.int64 if wide.dtype == jnp.float64 else jnp.int32
    x = jnp.clip(wide, kind.tiny, kind.max)
    third = jax.lax.bitcast_convert_type(x, integer).astype(x.dtype) / 3
    of_1 = round((4 / 3 * (1 - kind.minexp) - 0.08) * 2**kind.nmant)
    inverse = jax.lax.bitcast_convert_type(of_1 - third.astype(integer), x.dtype)
    for _ in range(3 if integer == jnp.int64 else 2):
        inverse *= 4 / 3 - x * inverse * inverse * inverse / 3
    root = x * inverse**2
    return jnp.where(x == wide, root - (root - x / root / root) / 3, wide).astype(v.dtype)


def one_by_one(function: Callable[..., Any], *stacks: Any, alone: Callable[..., Any] | None = None) -> Any:
    """Apply a function of stacks of tensors, on a CPU to one tensor after the other where they are large.

    XLA's products of large matrices are slower on a CPU where they are batched. Of 48 matrices of 256 x 256, five
    Newton-Schulz steps take 255 ms so, 296 ms batched, and 212 ms as 48 separate arrays, which take longer to compile
    (4.6 s instead of 2.9 s); of 200 of 16 x 16, 4.3 ms so, 3.4 ms batched, and 14.8 ms as separate arrays. A step of
    PSGD on 48 matrices of 128 x 128 takes 64 ms so, and 105 ms batched; but one of Shampoo, whose larger state the loop
    copies, takes 34 ms so, and 20 ms batched. Other platforms take the whole stack at once.

    Args:
        function: Treats each tensor by itself, and returns a stack, or a tree of them.
        *stacks: Stacks, or trees of them. The first one tells whether tensors are large, or whether there is only one,
            without the axis of a stack.
        alone: The same function, of tensors without that axis; None: `function` takes both.

    """
    first, alone = jax.tree.leaves(stacks)[0], alone or function
    if first.ndim < 3 or min(first.shape[-2:]) <= BATCHED:
        return function(*stacks)
    in_turn = lambda *stacks: jax.lax.map(lambda tensors: alone(*tensors), stacks)
    return jax.lax.platform_dependent(*stacks, cpu=in_turn, default=function)
