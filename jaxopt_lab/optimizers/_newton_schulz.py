"""Newton-Schulz iterations: bring the singular values of a matrix near 1 by products of matrices alone."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.types import Scalar


def orthogonalized(u: Array, triples: Sequence[Sequence[float]], eps: Scalar) -> Array:
    """Replace the singular values of the matrix u, or of each of a stack, by values near 1.

    X <- u / (|u| + eps)                     |u|: the Frobenius norm
    X <- a X + (b A + c A A) X,  A = X X'    for each triple (a, b, c): an odd quintic of the singular values
    """
    x = adjoint(u) if u.shape[-2] > u.shape[-1] else u  # the smaller of X X' and X' X
    x = x / (jnp.sqrt(jnp.sum(squared(x), (-2, -1), keepdims=True)) + eps)
    for a, b, c in triples:
        square = x @ adjoint(x)
        x = a * x + (b * square + c * square @ square) @ x
    return adjoint(x) if u.shape[-2] > u.shape[-1] else x
