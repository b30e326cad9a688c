"""L-BFGS: gradients divided by a curvature estimated from the last few steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, static_count, value_at, zeros_like
from jaxopt_lab.optimizers._linesearch import backtracking, wolfe
from jaxopt_lab.optimizers._sums import inner
from jaxopt_lab.types import Optimizer, Params, Prior, ScalarOrSchedule

SEARCHES = {"backtracking": backtracking, "wolfe": wolfe}


class LBFGSState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    w: Params  # the parameters of the last step
    g: Params  # its gradient
    s: Params  # differences of parameters, one row a step, the row of step i at i modulo memory_size
    y: Params  # differences of gradients, likewise
    rho: Array  # 1 / s'y of each pair; 0 where the place is empty


@method(learning_rate=Prior(1e-3, 1.0, "log", "the method's own 1, and less where gradients are noisy"))
def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    *,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: str | None = "wolfe",
    moment_dtype: Any = None,
) -> Optimizer:
    """L-BFGS (Liu & Nocedal 1989, https://doi.org/10.1007/BF01589116; Nocedal & Wright 2006, Algorithm 7.4).

        s_i, y_i: last changes of w and of g;  rho_i = 1 / s_i'y_i
        q <- g;               newest to oldest:  a_i = rho_i s_i'q;    q <- q - a_i y_i
        q <- q s'y / y'y      s, y: the newest
        oldest to newest:     q <- q + s_i (a_i - rho_i y_i'q)
        w <- w - length * learning_rate * q

    A pair with s'y <= 0 could turn q into an ascent direction, so it is skipped (its place in the memory stays empty);
    Optax uses it. The first q, and one after such a pair, is scaled to min(1, 1 / |g|).

    Args:
        learning_rate: Step size, > 0, 1 being Newton's own; with a line search, its first try; scalar, traced or a
            schedule `step -> value`. None: 1.
        memory_size: How many pairs are kept, >= 1.
        scale_init_precond: Whether q is scaled between the two loops.
        linesearch: How the length is found: "backtracking" (sufficient decrease), "wolfe" (also a flatter slope at the
            end, so that s'y > 0), or None: it is 1.
        moment_dtype: Dtype of the differences, their products, and the last `w` and `g`, for example "float32" for
            bfloat16 parameters. None keeps the parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `s` and `y` are memory_size times the parameters each. With a line search `update`
        needs `value_fn`, and under `vmap` all searches take as long as the longest.

    Raises:
        ValueError: memory_size < 1, an unknown line search, or `update` was called without what it needs.

    """
    memory_size = static_count("memory_size", memory_size)
    if linesearch is not None and linesearch not in SEARCHES:
        raise ValueError(f"Unknown linesearch {linesearch!r}: give one of {sorted(SEARCHES)} or None.")

    def init(params: Params) -> LBFGSState:
        w, g = zeros_like(params, moment_dtype), zeros_like(params, moment_dtype)
        s, y = (jax.tree.map(lambda w: jnp.zeros((memory_size, *w.shape), w.dtype), w) for _ in range(2))
        rho = jnp.zeros(memory_size, jnp.result_type(inner(w, g)))
        return LBFGSState(jnp.zeros([], jnp.int32), w, g, s, y, rho)

    def update(grads, state, params=None):
        needs_params(params, "lbfgs", "remembers")
        rate = 1.0 if learning_rate is None else value_at(learning_rate, state.t)
        newest = (state.t - 1) % memory_size
        change = lambda new, old: jax.tree.map(lambda new, old: jnp.where(state.t > 0, new - old, 0), new, old)
        s_new, y_new = change(params, state.w), change(grads, state.g)
        rho_new = _inverse(inner(s_new, y_new))
        remember = lambda rows, new: jax.tree.map(lambda rows, new: rows.at[newest].set(new), rows, new)
        s, y, rho = remember(state.s, s_new), remember(state.y, y_new), remember(state.rho, rho_new)
        row = lambda rows, i: jax.tree.map(lambda rows: rows[i], rows)

        def older(q, i):
            a = rho[i] * inner(row(s, i), q)
            return _add(q, -a, row(y, i)), a

        def newer(q, i_and_a):
            i, a = i_and_a
            return _add(q, a - rho[i] * inner(row(y, i), q), row(s, i)), None

        oldest_first = (state.t + jnp.arange(memory_size)) % memory_size
        q, a = jax.lax.scan(older, grads, oldest_first, reverse=True)
        if scale_init_precond:
            cautious = jnp.minimum(1, _inverse(jnp.sqrt(inner(grads, grads))))
            scale = jnp.where(rho_new > 0, _inverse(rho_new * inner(y_new, y_new)), cautious)
            q = jax.tree.map(lambda q: scale * q, q)
        q, _ = jax.lax.scan(newer, q, (oldest_first, a))
        return jax.tree.map(lambda q: -rate * q, q), LBFGSState(next_step(state.t), params, grads, s, y, rho)

    if linesearch is None:
        return optimizer(init, update)
    search = SEARCHES[linesearch]

    def update_with_search(grads, state, params=None, *, value_fn):
        direction, state = update(grads, state, params)
        along = lambda a: value_fn(_add(params, a, direction))
        # Evaluated again: the loss passed in may have a narrower dtype than those that it is compared with.
        length = search(along, value_fn(params), inner(grads, direction))
        return jax.tree.map(lambda d: length * d, direction), state

    return optimizer(init, update_with_search)


def _add(a: Params, scale: Array, b: Params) -> Params:
    return jax.tree.map(lambda x, y: (x + scale * y).astype(x.dtype), a, b)


def _inverse(x: Array) -> Array:
    """Return 1 / x where x > 0, else 0."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)
