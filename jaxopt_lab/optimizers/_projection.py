"""Projection of a step onto the tangent space of the sphere on which scale-invariant weights live (Heo et al. 2021)."""

import math

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Scalar


def projected(
    u: jax.Array, g: jax.Array, w: jax.Array, delta: Scalar, wd_ratio: Scalar, eps: Scalar, output_axis: int
) -> tuple[jax.Array, jax.Array | float]:
    """Take off u its part along w if g is nearly orthogonal to w, and return the factor on decay: wd_ratio or 1.

    Nearly orthogonal: the cosine between g and w is below delta / sqrt(number of elements), of every output's weights,
    or else of the whole tensor. Tensors of fewer than two axes are left as they are.
    """
    if w.ndim < 2 or w.size == 0:
        return u, 1.0
    inputs = tuple(axis for axis in range(w.ndim) if axis != output_axis % w.ndim)
    by_output, of_output = _along(u, g, w, delta, eps, inputs)
    by_tensor, of_tensor = _along(u, g, w, delta, eps, tuple(range(w.ndim)))
    u = jnp.where(by_output, u - of_output, jnp.where(by_tensor, u - of_tensor, u))
    return u, jnp.where(by_output | by_tensor, wd_ratio, 1.0)


def _along(u, g, w, delta, eps, axes):
    """Return whether g is nearly orthogonal to w, both cut into vectors along these axes, and u's part along w."""
    product = lambda a, b: jnp.sum(jnp.real(jnp.conj(a) * b), axes, keepdims=True)
    square = lambda x: product(x, x)
    # `where` before the root, since the derivative of the root at 0 is infinite.
    norm = lambda x: jnp.where(square(x) > 0, jnp.sqrt(jnp.where(square(x) > 0, square(x), 1)), 0)
    cosine = jnp.abs(product(g, w)) / (jnp.maximum(norm(g), eps) * jnp.maximum(norm(w), eps))
    size = math.prod(w.shape[axis] for axis in axes)
    unit = w / (norm(w) + eps)
    return jnp.max(cosine) < delta / math.sqrt(size), unit * product(unit, u)
