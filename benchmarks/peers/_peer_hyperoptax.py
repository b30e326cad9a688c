"""hyperoptax: its grid search evaluates `n_parallel` learning rates at a time by `vmap`; Optax trains inside.

Its `optimize` loops in Python over a jitted objective, its `optimize_scan` in a program. An objective gets a key, by
which each trial has batches of its own; one that uses the same key for all lets them share a batch, as a sweep does.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from hyperoptax import DiscreteSpace, GridSearch  # pyright: ignore[reportMissingImports]
from measuring.handwritten import digits, one_trial

SOME = 64  # learning rates at a time, where not all


def searches(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], jax.Array]]:
    """All at a time or some, on batches of their own or shared, with the search's loop in Python or in the program."""
    train, shared_key = one_trial(digits(width), steps), jax.random.key(0)
    own = lambda key, config: train(config["learning_rate"], key)[-1]
    shared = lambda key, config: train(config["learning_rate"], shared_key)[-1]
    return {
        "all at once, own batches": functools.partial(_optimize, jax.jit(own), None),
        "all at once, shared batches": functools.partial(_optimize, jax.jit(shared), None),
        f"{SOME} at once, shared batches": functools.partial(_optimize, jax.jit(shared), SOME),
        f"{SOME} at once, shared batches, scanned": functools.partial(_scan, functools.cache(_scanned), shared, SOME),
    }


def _search(rates, at_once):
    """The search's state and the search; what is left over of the last batch would be left out."""
    n = min(at_once or len(rates), len(rates))
    state, search = GridSearch.init({"learning_rate": DiscreteSpace(tuple(rates))}, n_parallel=n)
    return state, search, len(rates) // n


def _optimize(objective, at_once, rates):
    state, search, iterations = _search(rates, at_once)
    _, (_, losses) = search.optimize(state, jax.random.key(1), objective, n_iterations=iterations)
    return jnp.concatenate(losses)


def _scan(scanned, objective, at_once, rates):
    state, search, iterations = _search(rates, at_once)
    return scanned(objective, search.n_parallel, iterations)(state, jax.random.key(1)).ravel()


def _scanned(objective, n_parallel, iterations):
    search = GridSearch(n_parallel=n_parallel)
    return jax.jit(lambda state, key: search.optimize_scan(state, key, objective, iterations)[1][1])
