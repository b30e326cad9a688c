"""Losses, metrics and layers that several tasks use, and minima found by Newton's method in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer


def mean_squared_error(predict: Callable[..., Any]) -> Callable[..., jax.Array]:
    """Make the loss `(params, (x, y)) -> mean of (predict(params, x) - y)^2`."""
    return lambda params, batch: jnp.mean((predict(params, batch[0]) - batch[1]) ** 2)


def r2(predict: Callable[..., Any]) -> Callable[..., jax.Array]:
    """Make the metric R^2: the share of the targets' variance that the prediction explains."""

    def r2(params, batch):
        x, y = batch
        return 1 - jnp.mean((predict(params, x) - y) ** 2) / jnp.var(y)

    return r2


def cross_entropy(logits: Callable[..., Any], penalty: Callable[..., Any] = lambda _: 0.0) -> Callable[..., jax.Array]:
    """Make the loss: mean cross-entropy of integer labels (softmax), plus a penalty on the parameters."""

    def loss(params, batch):
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean() + penalty(params)

    return loss


def accuracy(logits: Callable[..., Any]) -> Callable[..., jax.Array]:
    """Make the metric: the share of examples whose largest logit is their label's."""
    return lambda params, batch: jnp.mean(jnp.argmax(logits(params, batch[0]), axis=-1) == batch[1])


def squared_norm_penalty(l2: float) -> Callable[[jax.Array], jax.Array]:
    """Make the penalty `l2 / 2 * |w|^2`."""
    return lambda w: l2 / 2 * jnp.sum(w**2)


def least_squares_minimum(x: np.ndarray, y: np.ndarray) -> float:
    """Compute the smallest mean squared error of a linear map without intercept."""
    w = np.linalg.lstsq(x, y, rcond=None)[0]
    return float(np.mean((x @ w - y) ** 2))


def softmax_regression_minimum(x: np.ndarray, y: np.ndarray, classes: int, l2: float) -> float | None:
    """Compute the smallest mean cross-entropy + l2 / 2 |w|^2 of a linear softmax model without intercept.

    None where l2 is traced: within a program the minimum is not needed.

    Uses SciPy's trust-region Newton method in float64 NumPy, independent of the code under test. The objective is
    l2-strongly convex, so its value is within |gradient|^2 / (2 l2) of the minimum; this gap is checked to be at most
    1e-12.

    Raises:
        ValueError: l2 <= 0 (separable data then have no minimum), or no minimum was found.

    """
    if isinstance(l2, Tracer):
        return None
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    if not l2 > 0:
        raise ValueError(f"l2 must be > 0 (without it separable data have no minimum), got {l2!r}.")
    n, shape = len(x), (x.shape[1], classes)
    one_hot = np.eye(classes)[y]

    def value_and_gradient(w):
        w = w.reshape(shape)
        log_p = log_softmax(x @ w, axis=1)
        gradient = x.T @ (np.exp(log_p) - one_hot) / n + l2 * w
        return -np.sum(log_p * one_hot) / n + l2 / 2 * np.sum(w**2), gradient.ravel()

    def hessian_product(w, d):
        p, xd = np.exp(log_softmax(x @ w.reshape(shape), axis=1)), x @ d.reshape(shape)
        return (x.T @ (p * (xd - np.sum(p * xd, axis=1, keepdims=True))) / n).ravel() + l2 * d

    start = np.zeros(shape).ravel()
    found = minimize(value_and_gradient, start, jac=True, hessp=hessian_product, method="trust-ncg", tol=1e-10)
    value, gradient = value_and_gradient(found.x)
    gap = gradient @ gradient / (2 * l2)
    if not gap <= 1e-12:
        raise ValueError(f"No minimum was found with l2 = {l2!r}: {gap:.1e} may be left ({found.message}).")
    return float(value)
