"""Trust ratios: scale a tensor's step to the norm of the tensor (You, Gitman & Ginsburg 2017)."""

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._sums import product
from jaxopt_lab.types import Scalar


def norm(x: jax.Array) -> jax.Array:
    """Return the Euclidean norm of all elements. Its derivative is 0 where all are 0, as biases often are."""
    square = product(x, x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def trust_ratio(w_norm: jax.Array, a_norm: jax.Array, coefficient: Scalar = 1.0, eps: Scalar = 0.0) -> jax.Array:
    """Return coefficient * w_norm / (a_norm + eps), or 1 where either norm is 0, so that zeros can move."""
    defined = (w_norm > 0) & (a_norm > 0)
    return jnp.where(defined, coefficient * w_norm / jnp.where(defined, a_norm + eps, 1), 1)
