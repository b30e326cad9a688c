"""Dion: an orthogonal step within the leading directions of the momentum, by one power iteration a step."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, static_count, zeros_like
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._decompositions import decomposed
from jaxopt_lab.optimizers._matrices import beside_adamw
from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.types import Key, Optimizer, Params, Prior, Scalar, ScalarOrSchedule, random_key


class DionState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # sum of g, of which a share of what was used is taken off
    q: Params  # nearly the leading right singular vectors of m, one a column


@method(
    learning_rate=Prior(1e-3, 1e-1, "log", "the authors' default 0.01, a decade either way"),
    beta=Prior(0.8, 0.99, "one_minus", "as Muon's"),
    weight_decay=Prior(1e-3, 1.0, "log", "as Muon's"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def dion(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.95,
    adam_eps: Scalar = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.01,
    *,
    rank: int | None = None,
    rank_fraction: float | None = None,
    power_iters: int = 1,
    taller_side: bool = True,
    start: Callable[[Key, tuple[int, ...]], Array] | None = None,
    seed: int = 0,
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Dion (Ahn et al. 2025, Algorithm 1, https://arxiv.org/abs/2504.05295).

        m <- m + g
        p <- orthonormal columns that span m q, by a QR decomposition;   r <- m' p;   q <- r       power_iters times
        m <- m - (1 - beta) p r'
        q <- r, each column divided by (its norm + eps)
        w <- w - learning_rate * (sqrt(outputs / inputs) p q' + weight_decay * w)

    for matrices w of shape (inputs, outputs), of which m is the transpose where it is not taller than wide. What the
    `rank` directions leave of g stays in m for later steps: error feedback. All other parameters are trained by AdamW.
    This is the authors' reference code; in their simple code m is always the transpose (`taller_side=False`).

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: What is kept in m of the part that was used, in [0, 1).
        eps: Added to the norms of the columns, > 0, in units of g.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps: Added to Adam's root, >= 0, in units of g.
        adam_weight_decay: As weight_decay, for the parameters that Adam trains.
        rank: Number of directions, at most the shorter side; None: as rank_fraction says.
        rank_fraction: The same as a share of the shorter side, in (0, 1], rounded up; None: all.
        power_iters: Number of power iterations a step.
        taller_side: Whether m is transposed only where it has at most as many rows as columns.
        start: (key, shape) -> the first q of a matrix; None: standard normal numbers. All matrices of one shape begin
            with the same.
        seed: Seed of that key.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `q`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; q has `rank` columns.

    Raises:
        ValueError: rank or power_iters < 1, rank_fraction is not in (0, 1], both are given, `update` was called without
            the parameters, or `matrices` is wrong as `muon` says.

    """
    power_iters = static_count("power_iters", power_iters)
    if rank is not None:
        rank = static_count("rank", rank)
    if rank_fraction is not None and (rank is not None or not 0 < rank_fraction <= 1):
        raise ValueError(f"rank_fraction must be in (0, 1], and without rank, got {rank_fraction=} and {rank=}.")

    def turned(x, inputs, outputs):
        return jnp.swapaxes(x, -1, -2) if inputs <= outputs or not taller_side else x

    def init(params: Params) -> DionState:
        m = zeros_like(params, moment_dtype)

        def first(m):
            *lead, inputs, outputs = m.shape
            shorter = min(inputs, outputs)
            count = min(rank or math.ceil((rank_fraction or 1) * shorter), shorter)
            q = (start or jax.random.normal)(random_key(seed), (turned(m, inputs, outputs).shape[-1], count))
            return jnp.broadcast_to(q, (*lead, *q.shape)).astype(m.dtype)

        return DionState(jnp.zeros([], jnp.int32), m, jax.tree.map(first, m))

    def stepped(m, q):
        inputs, outputs = m.shape[-2:]
        b, r = turned(m, inputs, outputs), q
        for _ in range(power_iters):
            p, _ = decomposed(jnp.linalg.qr, b @ r)
            r = adjoint(b) @ p
        b -= (1 - beta) * p @ adjoint(r)
        size = jnp.sqrt(jnp.sum(squared(r), -2, keepdims=True))
        directions = r / (size + eps)
        a = (outputs / inputs) ** 0.5 * p @ adjoint(directions)
        q = jnp.where(size > 0, directions, q)  # without any gradient, the next step starts from the old q
        return turned(a, inputs, outputs), turned(b, inputs, outputs), q

    def ascend(grads, state, params=None):
        a, m, q = in_stacks(stepped, jax.tree.map(jnp.add, state.m, grads), state.q, results=3)
        return a, DionState(next_step(state.t), m, q)

    ascent, adam = optimizer(init, ascend), adam_direction(adam_b1, adam_b2, adam_eps, moment_dtype=moment_dtype)
    rates, decays = (learning_rate, adam_learning_rate), (weight_decay, adam_weight_decay)
    return beside_adamw("dion", ascent, adam, rates, decays, matrices, weight_decay_mask)
