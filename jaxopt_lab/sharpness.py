"""The sharpness of a loss: the largest eigenvalue of its Hessian, by Lanczos's method; and norms of trees."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxopt_lab.types import Params, random_key

PRODUCTS = 20  # products with the Hessian in a measurement of the sharpness


def sharpness(
    gradient: Callable[[Params], Params], params: Params, preconditioner: Params | None = None, products: int = PRODUCTS
) -> Float[Array, ""]:
    """Return the largest eigenvalue of a Hessian, or of a preconditioned one, at `params`.

    It is the largest Ritz value of the Lanczos method after `products` products with the Hessian, from a fixed random
    vector: as power iteration, it needs no matrix, and it gets closer in as many products. It never exceeds the
    eigenvalue, but for rounding; with as many products as parameters it is exact.

    Gradient descent is stable where the sharpness is below 2 / eta, and with heavy-ball momentum b below (2 + 2 b) /
    eta (Cohen et al. 2021, https://arxiv.org/abs/2103.00065). For Adam the same holds of P^-1 H, where P is the
    diagonal that divides its step, below (2 + 2 b1) / ((1 - b1) eta): 38 / eta at b1 = 0.9 (Cohen et al. 2022,
    https://arxiv.org/abs/2207.14484). "preconditioned_sharpness" knows P for some methods; for
    another, a function of your own is a diagnostic: `sharpness(jax.grad(lambda w: loss(w, batch)), params, p)`.

    Args:
        gradient: The gradient of the loss, as a function of the parameters.
        params: Where; any tree of floating-point arrays.
        preconditioner: The diagonal P, positive, as a tree like `params`: the eigenvalue is then that of P^-1 H.
        products: The number of products with the Hessian.

    """
    _, times_hessian = jax.linearize(gradient, params)
    narrow = lambda v: jax.tree.map(lambda v, w: v.astype(w.dtype), v, params)  # the vectors themselves are wide
    root = None if preconditioner is None else jax.tree.map(lambda p: jnp.sqrt(_wide(p)), preconditioner)
    divided = lambda v: v if root is None else jax.tree.map(jnp.divide, v, root)
    # P^-1/2 H P^-1/2 has the eigenvalues of P^-1 H.
    times = lambda v: divided(jax.tree.map(_wide, times_hessian(narrow(divided(v)))))
    first = _random_like(params)
    zero = jnp.zeros_like(norm(first))
    eps = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(params))

    def turn(carry, _):
        before, v, beta, size, live = carry
        w = times(v)
        alpha = dot(v, w)
        w = jax.tree.map(lambda w, v, u: w - _like(alpha, w) * v - _like(beta, w) * u, w, v, before)
        beta = norm(w)
        size = jnp.maximum(size, jnp.abs(alpha) + beta)
        goes_on = live & (beta > eps * size)  # else the vectors so far span an invariant subspace
        following = jax.tree.map(lambda w: w / _like(jnp.where(goes_on, beta, 1), w), w)
        beta = jnp.where(goes_on, beta, 0)
        return (v, following, beta, size, goes_on), (alpha, beta, live)

    v = jax.tree.map(lambda x: x / _like(norm(first), x), first)
    carry = jax.tree.map(jnp.zeros_like, v), v, zero, zero, jnp.asarray(True)
    _, (alpha, beta, live) = jax.lax.scan(turn, carry, length=products)
    alpha = jnp.where(live, alpha, alpha[0])  # after the end, a value that is no larger than the largest
    found = largest_of_tridiagonal(alpha, beta[:-1])
    return jnp.where(jnp.isfinite(alpha).all() & jnp.isfinite(beta).all(), found, jnp.nan)


def largest_of_tridiagonal(diagonal: Float[Array, " n"], beside: Float[Array, " n-1"]) -> Float[Array, ""]:
    """Return the largest eigenvalue of a symmetric tridiagonal matrix: it is below x where all pivots are negative.

    LAPACK's function, called from a loop in several threads at once, may wait for ever on a CPU.
    """
    squares = beside**2
    radius = jnp.pad(jnp.abs(beside), (0, 1)) + jnp.pad(jnp.abs(beside), (1, 0))

    def halve(_, bounds):
        low, high = bounds
        x = low + (high - low) / 2
        pivot = diagonal[0] - x
        below = pivot < 0
        for n in range(1, len(diagonal)):
            pivot = diagonal[n] - x - squares[n - 1] / jnp.where(pivot == 0, -jnp.finfo(x.dtype).tiny, pivot)
            below &= pivot < 0
        return jnp.where(below, low, x), jnp.where(below, x, high)

    bounds = diagonal.max(), (diagonal + radius).max()
    return jax.lax.fori_loop(0, jnp.finfo(diagonal.dtype).nmant + 8, halve, bounds)[1]


def dot(a: Any, b: Any) -> Float[Array, ""]:
    """Return the inner product of two trees over the real numbers, in float32 or wider."""
    pairs = zip(map(_wide, jax.tree.leaves(a)), map(_wide, jax.tree.leaves(b)), strict=True)
    return sum((jnp.sum(jnp.real(x * jnp.conj(y))) for x, y in pairs), start=jnp.zeros([], jnp.float32))


def square(tree: Any) -> Float[Array, ""]:
    """Return the squared Euclidean norm of a tree, in float32 or wider."""
    return dot(tree, tree)


def norm(tree: Any) -> Float[Array, ""]:
    """Return the Euclidean norm of a tree, in float32 or wider."""
    return jnp.sqrt(square(tree))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _like(number: Array, x: Array) -> Array:
    """Return a number in the precision of an array, which it thus does not widen."""
    return number.astype(jnp.real(x).dtype)


def _random_like(params: Params) -> Params:
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(random_key(0), len(leaves))
    return tree.unflatten(
        jax.random.normal(key, x.shape, x.dtype) for key, x in zip(keys, map(_wide, leaves), strict=True)
    )
