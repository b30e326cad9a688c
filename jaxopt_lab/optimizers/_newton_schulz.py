"""Orthogonalisation: bring the singular values of matrices near 1, by products of matrices alone or exactly."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.optimizers._base import static_count
from jaxopt_lab.optimizers._compiler import one_by_one
from jaxopt_lab.optimizers._decompositions import decomposed
from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.types import Scalar

Triples = Sequence[Sequence[Any]]

JORDAN = (3.4445, -4.7750, 2.0315)
"""Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/: the steepest at 0, so it never converges."""

DION: Triples = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Those of https://github.com/microsoft/dion, and of Optax's "dion"."""

POLAR_EXPRESS: Triples = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""The best of each round for what the rounds before it leave (Amsel et al. 2025, https://arxiv.org/abs/2505.16932)."""

MARGIN = 1.02
"""What Polar Express multiplies |u| by, for the rounding of bfloat16."""

NAMED: dict[str, tuple[Scalar, Triples]] = {"dion": (1.0, DION), "polar_express": (MARGIN, POLAR_EXPRESS)}
NAMES = ("standard", "dion", "polar_express", "exact")

Orthogonalizer = Callable[[Array], Array]
"""From a stack of matrices (count, rows, columns) to one of nearly orthogonal matrices."""


def orthogonalizer(ns_coeffs: Any, ns_steps: int, eps: Scalar, ns_dtype: Any = None) -> Orthogonalizer:
    """Return the function that orthogonalises a stack of matrices, as a method's arguments of these names ask.

    Args:
        ns_coeffs: (a, b, c), one such triple for each step, or one of `NAMES`.
        ns_steps: Number of steps where there is a single triple.
        eps: Added to the Frobenius norm that a matrix is first divided by.
        ns_dtype: Dtype of the products; None: the matrices' own. Complex matrices always keep theirs.

    """
    ns_steps = static_count("ns_steps", ns_steps)
    if isinstance(ns_coeffs, str) and ns_coeffs not in NAMES:
        raise ValueError(f"ns_coeffs must be a triple (a, b, c), several, or one of {NAMES}, got {ns_coeffs!r}.")
    if ns_coeffs == "exact":
        return polar_factor
    if ns_coeffs == "standard":
        ns_coeffs = JORDAN
    margin, triples = NAMED[ns_coeffs] if isinstance(ns_coeffs, str) else (1.0, ns_coeffs)
    if not isinstance(triples[0], Sequence):
        triples = (triples,) * ns_steps

    def orthogonalized(u: Array) -> Array:
        kind = u.dtype if ns_dtype is None or jnp.iscomplexobj(u) else ns_dtype
        return one_by_one(lambda x: newton_schulz(x, triples, eps, margin), u.astype(kind)).astype(u.dtype)

    return orthogonalized


def newton_schulz(u: Array, triples: Triples, eps: Scalar, margin: Scalar = 1.0) -> Array:
    """Replace the singular values of the matrix u, or of each of a stack, by values near 1.

    X <- u / (margin |u| + eps)              |u|: the Frobenius norm
    X <- a X + (b A + c A A) X,  A = X X'    for each triple (a, b, c): an odd quintic of the singular values
    """
    x = adjoint(u) if u.shape[-2] > u.shape[-1] else u  # the smaller of X X' and X' X
    x = x / (margin * jnp.sqrt(jnp.sum(squared(x), (-2, -1), keepdims=True)) + eps).astype(x.dtype)
    for triple in triples:
        a, b, c = (jnp.asarray(number, x.dtype) for number in triple)
        square = x @ adjoint(x)
        x = a * x + (b * square + c * square @ square) @ x
    return adjoint(x) if u.shape[-2] > u.shape[-1] else x


def polar_factor(u: Array) -> Array:
    """Replace the singular values of the matrix u, or of each of a stack, by 1, and those that are only rounding by 0.

    Rounding: less than the largest times the number of rows or columns times the dtype's precision.
    """
    left, values, right = decomposed(functools.partial(jnp.linalg.svd, full_matrices=False), u)
    least = max(u.shape[-2:]) * jnp.finfo(values.dtype).eps * values[..., :1]
    return (left * (values > least)[..., None, :].astype(u.dtype)) @ right
