"""GaLore: another optimizer's step, for every matrix in a subspace spanned by its gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    optimizer,
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._decompositions import decomposed
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, OptimizerFactory, Params, Prior, Scalar, ScalarOrSchedule


class GaLoreState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    p: Params  # orthonormal columns, one for each kept direction; None where not a matrix
    base: Any  # the other optimizer's state, of the projected parameters


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    scale=Prior(0.1, 1.0, "log", "around the authors' 0.25, up to the default"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def galore(
    learning_rate: ScalarOrSchedule,
    update_proj_gap: Scalar = 200,
    scale: Scalar = 1.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    rank: int = 128,
    base: OptimizerFactory | None = None,
    project_longer: bool = False,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """GaLore (Zhao et al. 2024, Algorithms 1 and 2, https://arxiv.org/abs/2403.03507).

        p <- the first `rank` left singular vectors of g         every update_proj_gap steps
        r <- p' g                                                the gradient that the base optimizer sees
        w <- w - learning_rate * (scale * p a + weight_decay * w)     a: the base optimizer's ascent from r

    for matrices with at most as many rows as columns. Other matrices use the right vectors and g p; r = g where w is
    not a matrix. Optax projects the longer side instead (`project_longer`): a square p loses nothing, but a tall one
    drops, at any rank, the part of g outside the span at the last renewal. The authors' scale is 0.25.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        update_proj_gap: Steps from one subspace to the next, >= 1, a whole number; the base optimizer's state stays.
            Under `vmap` singular vectors are computed in every step and mostly discarded.
        scale: Share of the projected step, > 0, of matrices alone.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        rank: How many directions are kept, at most the shorter side.
        base: The factory of the other optimizer, called with a learning rate alone; None: `adam`. It must not need the
            parameters or the loss as a function of them; it gets the other extra arguments that it accepts. Set its
            other hyperparameters with `functools.partial`.
        project_longer: Whether a matrix's longer side is projected instead of its shorter.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `p` and of what the base optimizer sees, for example "float32" for bfloat16 parameters.
            None keeps the parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair.

    Raises:
        ValueError: rank < 1, or `update` was called without the parameters.

    """
    rank = static_count("rank", rank)
    ascent = adam_direction() if base is None else base(-1.0)  # uphill: a rate of -1 reverses the step

    def is_left(g):
        rows, columns = g.shape
        return rows >= columns if project_longer else rows <= columns

    def projected(g, p):
        return g if p is None else p.T @ g if is_left(g) else g @ p

    def init(params: Params) -> GaLoreState:
        needs_leaves(params, "galore")

        def columns(w):
            if w.ndim != 2 or w.size == 0:
                return None
            return jnp.zeros((w.shape[0 if is_left(w) else 1], min(rank, *w.shape)), w.dtype)

        like = zeros_like(params, moment_dtype)
        p = jax.tree.map(columns, like)
        return GaLoreState(jnp.zeros([], jnp.int32), p, ascent.init(jax.tree.map(projected, like, p)))

    def update(grads, state, params=None, **extra):
        needs_params(params, "galore", "decays")

        def renewed(p):
            def columns(g, p):
                if p is None:
                    return None
                left, _, right = decomposed(functools.partial(jnp.linalg.svd, full_matrices=False), g)
                return (left if is_left(g) else right.T)[:, : p.shape[1]].astype(p.dtype)

            return jax.tree.map(columns, grads, p)

        def lifted(g, p, a):
            return a if p is None else scale * (p @ a if is_left(g) else a @ p.T)

        p = jax.lax.cond(state.t % update_proj_gap == 0, renewed, lambda p: p, state.p)
        below = jax.tree.map(projected, grads, p)
        extra = accepted(ascent.update, {n: x for n, x in extra.items() if n not in ("grad", "value_fn")})
        a, base_state = ascent.update(below, state.base, **extra)
        a = decayed(jax.tree.map(lifted, grads, p, a), params, value_at(weight_decay, state.t), mask)
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda a: -rate * a, a), GaLoreState(next_step(state.t), p, base_state)

    return optimizer(init, update, real_only="galore")
