"""The problems on which the authors' code was recorded: small tanh networks, with no random number anywhere."""

import jax.numpy as jnp
import numpy as np


def grid(function, *shape):
    """Evaluate a function of the indices, as an array of this shape in JAX's default precision."""
    return jnp.asarray(np.fromfunction(function, shape), float)


def start():
    return {
        "W1": grid(lambda i, j: 0.5 * np.sin(1 + 3 * i + 7 * j), 6, 4),
        "b1": grid(lambda i: 0.1 * np.sin(2 + 5 * i), 6),
        "W2": grid(lambda i, j: 0.5 * np.sin(3 + 2 * i + 5 * j), 3, 6),
        "b2": grid(lambda i: 0.1 * np.cos(1 + 4 * i), 3),
    }


def loss(w, **_):
    x = grid(lambda n, k: np.cos(0.5 + 1.3 * n + 2.1 * k), 10, 4)
    y = grid(lambda n, m: 0.4 + 1.5 * np.cos(1 + 1.3 * n + 1.9 * m) + 0.3 * np.cos(2.6 * n + m), 10, 3)
    return jnp.mean((jnp.tanh(x @ w["W1"].T + w["b1"][None, :]) @ w["W2"].T + w["b2"][None, :] - y) ** 2)


def matrix_start():
    return {
        "W1": grid(lambda i, j: 0.5 * np.sin(1 + 3 * i + 7 * j + 2 * i * j), 6, 4),
        "b1": grid(lambda i: 0.1 * np.sin(2 + 5 * i), 6),
        "W2": grid(lambda i, j: 0.5 * np.sin(2 + 5 * i + 3 * j + 4 * i * j), 3, 6),
        "b2": grid(lambda i: 0.1 * np.cos(1 + 2 * i), 3),
    }


def matrix_loss(w, rows=slice(None), **_):
    x = grid(lambda n, j: np.cos(1 + 2 * n + 3 * j + 5 * n * j), 10, 4)[rows]
    y = grid(lambda n, k: 0.8 * np.cos(0.5 + n + 2 * k + 3 * n * k), 10, 3)[rows]
    return jnp.mean((jnp.tanh(x @ w["W1"].T + w["b1"][None, :]) @ w["W2"].T + w["b2"][None, :] - y) ** 2)


def half_batch_loss(w, t):
    """The same of one half of the examples after the other: the first five in the first step, after t = 0 steps."""
    return matrix_loss(w, 5 * (t % 2) + jnp.arange(5))


def square_start():
    return {
        "S": grid(lambda i, j: 0.5 * np.sin(0.6 + 2 * i + 3 * j + 5 * i * j), 4, 4),
        "c": grid(lambda j: 0.1 * np.cos(2 + 3 * j), 4),
    }


def square_loss(w, **_):
    x = grid(lambda n, j: np.cos(0.2 + 2 * n + 5 * j + 3 * n * j), 12, 4)
    y = grid(lambda n, j: np.sin(0.9 + n + 3 * j + 2 * n * j), 12, 4)
    return jnp.mean((jnp.tanh(x @ w["S"] + w["c"][None, :]) - y) ** 2)


PROBLEMS = {"": (start, loss), "A": (matrix_start, matrix_loss), "C": (square_start, square_loss)}
"""The start and the loss of each problem, by its name in `sources.json`."""

IN_HALVES = {"A": (matrix_start, half_batch_loss)}
"""The same for runs named `..._two_half_batches`. A loss takes, by name, the number `t` of steps taken before."""

ORDER = ("W1", "b1", "W2", "b2", "S", "c")


def flat(w):
    """Join all parameters into one vector, in the order of the records."""
    return jnp.concatenate([w[name].ravel() for name in ORDER if name in w])


def held(numbers):
    """Return where the parameters are in `flat` of which a record has this many numbers: some have no biases."""
    return {42: np.r_[0:24, 30:48], 16: np.r_[0:16]}.get(numbers, slice(None))
