"""PSGD Kron: momentum whitened along every axis by a triangular matrix that is fitted as training goes."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt

from jaxopt_lab.optimizers._amortised import when
from jaxopt_lab.optimizers._base import (
    first_key,
    method,
    needs_params,
    next_key,
    next_step,
    one_minus_power,
    optimizer,
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._kronecker import by_shape, sizes, squarest
from jaxopt_lab.optimizers._numerics import state_dtype
from jaxopt_lab.optimizers._whitening import balanced, fitted, transposed, whitened
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Key, Optimizer, Params, Prior, Scalar, ScalarOrSchedule

NOISE = 1.1920929e-07**0.5
"""The authors' damping: the root of float32's spacing at 1, in every precision."""


class KronState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    q: Params  # of each axis of each tensor, the root of its part of the preconditioner
    owed: Float[Array, ""]  # updates of q owed: 1, and the shares of all steps, less the updates made
    key: UInt[Array, " words"]  # for the next probe without a key


def annealed(t: Array) -> Array:
    """Return the authors' share of steps that update q: 1 for 500 steps, then falling to 0.03 over 3,500 more."""
    return jnp.clip(jnp.exp(-0.001 * (jnp.asarray(t, float) - 500)), 0.03, 1)


def gaussian(key: Key, t: Array, like: Params) -> Params:
    """Draw a probe."""
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, max(len(leaves), 1))
    return structure.unflatten([jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=False)])


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "around the authors' default 3e-4, as Adam's"),
    b1=Prior(0.5, 0.99, "one_minus", "as Adam's, around the authors' 0.9"),
    precond_lr=Prior(1e-2, 1.0, "log", "the authors' default 0.1, a decade either way"),
    weight_decay=Prior(1e-5, 1.0, "log", "as AdamW's, up to above the authors' examples"),
)
def psgd_kron(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    precond_lr: ScalarOrSchedule = 0.1,
    precond_init_scale: Scalar = 1.0,
    update_probability: ScalarOrSchedule = annealed,
    max_rms: Scalar = 1.1,
    *,
    balance_interval: int = 100,
    max_size_triangular: int = 8192,
    min_ndim_triangular: int = 2,
    memory_save_mode: Literal["one_diag", "smart_one_diag", "all_diag"] | None = None,
    momentum_into_precond_update: bool = True,
    merge_dims: bool = True,
    probe: Callable[[Key, Array, Params], Params] | None = None,
    weight_decay_mask: Mask = None,
    seed: int = 0,
    moment_dtype: Any = None,
) -> Optimizer:
    """PSGD Kron (Li 2018, https://arxiv.org/abs/1512.04202; https://github.com/evanatyourservice/kron_torch).

        m <- b1 m + (1 - b1) g;  f = m / (1 - b1^t)
        f <- f + NOISE mean(|f|) v                                   v: a random probe
        A = Q1 f Q2',  B = Q1'^-1 v Q2^-1
        Q1 <- Q1 - precond_lr triu(A A' - B B') / |A A' + B B'| Q1   Q2 likewise, from A' A and B' B
        u = Q1' Q1 f Q2' Q2;  u <- u min(1, max_rms / rms(u))
        w <- w - learning_rate * (u + weight_decay * w)

    for matrices; the norm |.| is bounded from below by one product. Lines two to four are left out where Q is not
    updated. A tensor of more axes is taken as the squarest matrix; the Q of a vector or scalar is a diagonal, and it
    does not decay. As in the authors' code, the noise that damps Q stays in f. There, steps that update and balance Q
    are drawn at random; here they are evenly spaced, so that many trials that are mapped together update in the same
    steps.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        precond_lr: Step size of Q, in (0, 1]; may be a schedule.
        precond_init_scale: Scale of the first preconditioner root, > 0: each Q starts as its root for the axes.
        update_probability: Share of steps that update Q, in (0, 1]; may be a schedule. The default is 1 for 500 steps
            and then falls to 0.03. The cost of an update is paid in its steps only.
        max_rms: Largest root mean square of u, > 0.
        balance_interval: Every how many steps an update first gives Q1 and Q2 the same largest element.
        max_size_triangular: The Q of a longer axis is a diagonal.
        min_ndim_triangular: The Q of tensors of fewer axes are diagonals.
        memory_save_mode: Which other Q are diagonals: "one_diag", that of the longest axis; "smart_one_diag", likewise
            where it alone is the longest; "all_diag", all; None: none.
        momentum_into_precond_update: Whether Q is fitted to f; else to g, and f is without noise.
        merge_dims: Whether tensors of more than two axes are taken as matrices; else each axis has its own Q.
        probe: (key, step from 1, parameters' tree in the shapes used) -> v; None draws normal numbers.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None: those of two axes and more.
        seed: Seed of the key in the state, which is used if `update` is not given a key.
        moment_dtype: Dtype of the state, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; beside the mean, the state has a square matrix for each axis of a matrix. `update`
        takes `key`, a random key of this step.

    Raises:
        ValueError: An interval or size < 1, an unknown mode, or `update` was called without the parameters.

    """
    balance_interval = static_count("balance_interval", balance_interval)
    max_size_triangular = static_count("max_size_triangular", max_size_triangular)
    if memory_save_mode not in (None, "one_diag", "smart_one_diag", "all_diag"):
        raise ValueError(
            f'memory_save_mode must be "one_diag", "smart_one_diag", "all_diag" or None, got {memory_save_mode!r}.'
        )

    def fold(w):
        return w.reshape(squarest(w.shape) if merge_dims and w.ndim > 2 else w.shape or (1,))

    def is_diagonal(shape, axis):
        longest = len(shape) - 1 - shape[::-1].index(max(shape))
        small = {None: False, "all_diag": True}.get(memory_save_mode, axis == longest)
        alone = memory_save_mode != "smart_one_diag" or sorted(shape)[-2:].count(max(shape)) == 1
        outside = not 1 < shape[axis] <= max_size_triangular
        return outside or len(shape) < min_ndim_triangular or (small and alone)

    def init(params: Params) -> KronState:
        needs_leaves(params, "psgd_kron")

        def first(w):
            kind, scale = state_dtype(jnp.result_type(w), moment_dtype), precond_init_scale ** (1 / w.ndim)
            of = lambda axis, n: jnp.ones(n) if is_diagonal(w.shape, axis) else jnp.eye(n)
            return tuple((scale * of(axis, n)).astype(kind) for axis, n in enumerate(w.shape)) if w.size else ()

        like = jax.tree.map(fold, params)
        zero, one = jnp.zeros([], jnp.int32), jnp.ones([], float)
        return KronState(zero, zeros_like(like, moment_dtype), jax.tree.map(first, like), one, first_key(seed))

    def update(grads, state, params=None, *, key=None):
        needs_params(params, "psgd_kron", "decays")
        t, (own, used) = next_step(state.t), next_key(state.key) if key is None else (state.key, key)
        g = jax.tree.map(fold, grads)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, g)
        f = jax.tree.map(lambda m: m / one_minus_power(b1, t), m)
        due = state.owed > 1 - 1e-3  # shares such as 0.1 do not sum to 1 exactly
        owed = state.owed - due + value_at(update_probability, state.t)

        def renewed(t, key, q, f, g, precond_lr):
            def step(f, v, g, q):
                if len(q) > 1:
                    q = jax.tree.map(lambda a, b: jnp.where(t % balance_interval == 0, a, b), balanced(q), q)
                seen = f if momentum_into_precond_update else g
                seen = seen + NOISE * jnp.mean(jnp.abs(seen), range(1, g.ndim), keepdims=True) * v
                return seen if momentum_into_precond_update else f, fitted(q, seen, v, precond_lr)

            return by_shape(step, 2, f, (probe or gaussian)(key, t, f), g, q, in_turn=True)

        keep = lambda t, key, q, f, g, precond_lr: (f, q)
        f, q = when(due, renewed, keep, t, used, state.q, f, g, value_at(precond_lr, state.t))

        def direction(f, q):
            u = whitened(transposed(q), whitened(q, f))
            return (u * jnp.minimum(1, max_rms / (sizes(u) + 1e-12)),)

        (u,) = by_shape(direction, 1, f, q, in_turn=True)
        u = jax.tree.map(lambda u, w: u.reshape(w.shape), u, params)
        mask = weight_decay_mask if weight_decay_mask is not None else jax.tree.map(lambda w: w.ndim > 1, params)
        u = decayed(u, params, value_at(weight_decay, state.t), mask)
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda u: -rate * u, u), KronState(t, m, q, owed, own)

    return optimizer(init, update, real_only="psgd_kron")
