"""Kronecker products of triangular matrices and diagonals, fitted so that they whiten gradients (PSGD)."""

import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.optimizers._kronecker import along, products, scaled, solved_along
from jaxopt_lab.types import Scalar

Fitted = tuple[Array, ...]
"""Of each axis of a stack of tensors, upper triangular matrices (stack, n, n) or diagonals (stack, n)."""


def whitened(q: Fitted, x: Array) -> Array:
    """Multiply along every axis: in two dimensions Q1 x Q2'."""
    for axis, part in enumerate(q):
        x = along(part, x, axis) if part.ndim == 3 else scaled([part if i == axis else None for i in range(len(q))], x)
    return x


def transposed(q: Fitted) -> Fitted:
    """Transpose every factor; diagonals stay."""
    return tuple(jnp.swapaxes(part, -1, -2) if part.ndim == 3 else part for part in q)


def colored(q: Fitted, x: Array) -> Array:
    """Divide along every axis: in two dimensions Q1'^-1 x Q2^-1."""
    for axis, part in enumerate(q):
        if part.ndim == 3:
            x = solved_along(part, x, axis)
        else:
            x = scaled([1 / part if i == axis else None for i in range(len(q))], x)
    return x


def balanced(q: Fitted) -> Fitted:
    """Give all factors of a tensor the same largest element, without changing their product."""
    largest = [jnp.max(jnp.abs(part), range(1, part.ndim)) for part in q]
    mean = jnp.exp(sum(jnp.log(size) for size in largest) / len(q))
    return tuple(
        part * (mean / size).reshape(-1, *[1] * (part.ndim - 1)) for part, size in zip(q, largest, strict=True)
    )


def norm_bound(s: Array) -> Array:
    """Return a lower bound of the spectral norm of symmetric matrices, by one product from the largest column."""
    largest = jnp.max(jnp.abs(s), (-2, -1), keepdims=True)
    s = s / largest
    j = jnp.argmax(jnp.sum(s**2, -2, keepdims=True), -1, keepdims=True)
    z = jnp.swapaxes(jnp.take_along_axis(s, j, -1), -1, -2) @ s
    z = z / jnp.linalg.norm(z, axis=-1, keepdims=True)
    return largest * jnp.linalg.norm(s @ jnp.swapaxes(z, -1, -2), axis=-2, keepdims=True)


def fitted(q: Fitted, g: Array, v: Array, precond_lr: Scalar) -> Fitted:
    """Step all factors, from the old ones, towards a Q in which g is white, as the probe v is."""
    a, b, new = whitened(q, g), colored(q, v), []
    for axis, part in enumerate(q):
        if part.ndim == 3:
            x, y = products(a, axis), products(b, axis)
            new.append(part - precond_lr / norm_bound(x + y) * jnp.triu(x - y) @ part)
        else:
            others = tuple(i + 1 for i in range(len(q)) if i != axis)
            x, y = jnp.sum(a**2, others), jnp.sum(b**2, others)
            new.append(part - precond_lr * (x - y) / jnp.max(x + y, -1, keepdims=True) * part)
    return tuple(new)
