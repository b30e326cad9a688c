"""Products of matrices in the forms that XLA's CPU compiler computes fast, and so do their gradients.

A batch of sequences times a matrix, `h @ w` with axes (batch, time, features), is one product of (batch x time) rows.
XLA calls its libraries for products with one free axis a side and one contracted axis; others it computes by loops of
its own, also in gradients. So adjacent free axes are merged, as are adjacent contracted ones: the same numbers are
multiplied and summed in the same order.

Of such a product, the gradient with respect to a matrix of more rows than columns is slow, because it has few columns:
(128, 512) times (512, 32) takes 2.6 times as long as (32, 512) times (512, 128). So such a matrix is multiplied as its
transposed copy, whose gradient has many columns. A barrier keeps XLA from undoing that.
"""

import functools
from typing import Any

import jax

from jaxopt_lab.rewrite.rule import Rule

Axes = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]


def merged(equation: Any, a: Any, b: Any) -> Any:
    """Merge the free axes of each side, and the contracted axes, of a product; turn a tall matrix."""
    (contract_a, contract_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    free_a, free_b = _free(a, contract_a, batch_a), _free(b, contract_b, batch_b)
    merge_a, merge_b = _adjacent(free_a), _adjacent(free_b)
    merge_contracted = _adjacent(contract_a) and _adjacent(contract_b)
    if not (merge_a or merge_b or merge_contracted):
        return None
    a, at_a = _merge(a, [free_a] * merge_a + [contract_a] * merge_contracted)
    b, at_b = _merge(b, [free_b] * merge_b + [contract_b] * merge_contracted)
    places = lambda axes, at: tuple(dict.fromkeys(at[axis] for axis in axes))
    contract_a, contract_b = places(contract_a, at_a), places(contract_b, at_b)
    numbers = (contract_a, contract_b), (places(batch_a, at_a), places(batch_b, at_b))
    if merge_a and contract_b == (0,) and b.ndim == 2 and a.shape[0] > b.shape[0] > b.shape[1]:
        b = jax.lax.optimization_barrier(b.T)
        numbers = (contract_a, (1,)), ((), ())
    value = equation.primitive.bind(a, b, **(equation.params | {"dimension_numbers": numbers}))
    return jax.lax.reshape(value, equation.outvars[0].aval.shape)


def _free(x: Any, contracted: Any, batch: Any) -> list[int]:
    return [axis for axis in range(x.ndim) if axis not in (*contracted, *batch)]


def _adjacent(axes: Any) -> bool:
    """Return whether these are several axes, each the one after the last."""
    return len(axes) > 1 and list(axes) == list(range(axes[0], axes[0] + len(axes)))


def _merge(x: Any, groups: list[Any]) -> tuple[Any, dict[int, int]]:
    """Merge each group of adjacent axes; return the array, and the new place of each axis."""
    inside = {axis for group in groups for axis in group[1:]}
    places, sizes = {}, []
    for axis, size in enumerate(x.shape):
        if axis in inside:
            sizes[-1] *= size
        else:
            sizes.append(size)
        places[axis] = len(sizes) - 1
    return jax.lax.reshape(x, sizes), places


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def transposed_times(w: Any, p: Any, precision: Any = None, kind: Any = None) -> Any:
    """Return `w^T p` for small matrices w (..., k, few) and wide ones p (..., k, many).

    It multiplies by a transposed copy of w, since products with a matrix that is read by columns take up to twice as
    long. The gradient with respect to p then reads w itself.
    """
    return _times(jax.lax.optimization_barrier(w.mT), p, -1, precision, kind)


@transposed_times.defjvp
def _(precision: Any, kind: Any, primals: Any, tangents: Any) -> Any:
    (w, p), (dw, dp) = primals, tangents
    tangent = _times(dw, p, -2, precision, kind) + _times(w, dp, -2, precision, kind)
    return transposed_times(w, p, precision, kind), tangent


def _times(w: Any, p: Any, contracted: int, precision: Any, kind: Any) -> Any:
    batch = tuple(range(w.ndim - 2))
    numbers = ((w.ndim + contracted,), (p.ndim - 2,)), (batch, batch)
    return jax.lax.dot_general(w, p, numbers, precision=precision, preferred_element_type=kind)


MERGED = Rule("merged products", merged)
