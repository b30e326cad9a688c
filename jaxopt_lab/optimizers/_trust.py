"""Trust ratios: a tensor's step in proportion to the tensor itself (You, Gitman & Ginsburg 2017)."""

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._sums import product
from jaxopt_lab.types import Scalar


def norm(x: jax.Array) -> jax.Array:
    """Euclidean norm of all elements, with derivative 0 where all are 0: biases often start there."""
    square = product(x, x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def trust_ratio(w_norm: jax.Array, a_norm: jax.Array, coefficient: Scalar = 1.0, eps: Scalar = 0.0) -> jax.Array:
    """Coefficient * w_norm / (a_norm + eps); 1 where either norm is 0, so that zeros leave zero."""
    defined = (w_norm > 0) & (a_norm > 0)
    return jnp.where(defined, coefficient * w_norm / jnp.where(defined, a_norm + eps, 1), 1)
