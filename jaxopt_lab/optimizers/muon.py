"""Muon: momentum whose matrices are replaced by their nearest orthogonal ones; Adam for all else."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    searched,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.optimizers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class MuonState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of g**2 where Adam steps; None at the matrices


@searched(
    learning_rate=Prior(1e-3, 1e-1, "log", "the author's default 0.02, about a decade either way"),
    beta=Prior(0.8, 0.99, "one_minus", "the author's default 0.95, about a factor of 5 either way"),
    weight_decay=Prior(1e-3, 1.0, "log", "Moonlight's default 0.1 (Liu et al. 2025), a decade and two"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def muon(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.999,
    adam_eps_root: Scalar = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    consistent_rms: Scalar | None = None,
    *,
    ns_coeffs: Sequence[Any] = (3.4445, -4.7750, 2.0315),
    ns_steps: int = 5,
    nesterov: bool = True,
    adam_nesterov: bool | None = None,
    bias_correction: bool = True,
    adaptive: bool = False,
    matrices: Mask = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

        m <- beta m + (1 - beta) g
        u <- beta m / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t)    nesterov; else m / (1 - beta^t)
        o <- X after ns_steps of X <- a X + (b A + c A A) X, A = X X',  from X = u / (|u| + eps)
        w <- w - learning_rate * (sqrt(max(1, outputs / inputs)) o + weight_decay * w)

    for matrices w of shape (inputs, outputs), |u| the Frobenius norm and (a, b, c) `ns_coeffs`: the singular values of
    o lie between about 0.7 and 1.2. AdamW steps elsewhere. Bias correction, and Adam's look-ahead with Muon's,
    are Optax's conventions; the author has neither, and nor has PyTorch. Those write matrices as (outputs, inputs).

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: Decay of the mean of g, in [0, 1).
        eps: Added to |u|, > 0, and to Adam's root, in units of g.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps_root: Added under Adam's root, >= 0, in units of g^2.
        adam_weight_decay: As weight_decay, where Adam steps.
        consistent_rms: Root mean square of an element of the step, whatever its shape: the factor before o is
            consistent_rms * sqrt(max(inputs, outputs)), with 0.2 as Adam's (Liu et al. 2025, Section 2.2,
            https://arxiv.org/abs/2502.16982). None: the factor above.
        ns_coeffs: (a, b, c), or one triple for each Newton-Schulz step, which then says how many.
        ns_steps: How many Newton-Schulz steps.
        nesterov: Whether u looks one decay ahead.
        adam_nesterov: The same of Adam; None: as `nesterov`.
        bias_correction: Whether means are divided by 1 - beta^t (of Adam they always are).
        adaptive: Whether o is multiplied by its inner product with u, so that the step shrinks with g
            (Bernstein & Newhouse 2024, https://arxiv.org/abs/2409.20325).
        matrices: Which parameters are orthogonalised: a tree of bools (or a prefix), or a function from the
            parameters to one; None: those with two axes. Of more axes, all but the last are taken as one.
        weight_decay_mask: Which parameters decay, likewise; None: all.
        moment_dtype: Of `m` and `v`, for example "float32" beside bfloat16 parameters; None keeps the parameters', but
            for float32 beside float16 ones.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, or one of `matrices` has fewer than two axes.

    """
    triples = ns_coeffs if isinstance(ns_coeffs[0], Sequence) else (ns_coeffs,) * ns_steps
    adam_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    adam_nesterov = nesterov if adam_nesterov is None else adam_nesterov

    def init(params: Params) -> MuonState:
        needs_leaves(params, "muon")
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        if not all(jax.tree.leaves(jax.tree.map(lambda w, yes: w.ndim > 1 or not yes, m, _which(matrices, params)))):
            raise ValueError("muon was told to orthogonalise a parameter of fewer than two axes: see `matrices`.")
        v = jax.tree.map(lambda v, is_matrix: None if is_matrix else v, v, _which(matrices, params))
        return MuonState(jnp.zeros([], jnp.int32), m, v)

    def update(grads, state, params=None):
        needs_params(params, "muon", "decays")
        t = next_step(state.t)
        is_matrix, decays = (
            _which(matrices, params),
            _which(True if weight_decay_mask is None else weight_decay_mask, params),
        )
        v_scale = 1 / one_minus_power(adam_b2, t)
        rate, adam_now = value_at(learning_rate, state.t), value_at(adam_rate, state.t)
        decay, adam_decay = value_at(weight_decay, state.t), value_at(adam_weight_decay, state.t)

        def mean(m, g, is_matrix):
            b = beta if is_matrix else adam_b1
            return b * m + (1 - b) * g

        def direction(m, g, is_matrix):
            b, ahead = (beta, nesterov) if is_matrix else (adam_b1, adam_nesterov)
            scale = lambda t: 1 / one_minus_power(b, t) if bias_correction or not is_matrix else 1
            return b * (scale(t + 1) * m) + (1 - b) * (scale(t) * g) if ahead else scale(t) * m

        def step(is_matrix, u, v, w, decays):
            if is_matrix:
                a = ascent(u)
                return -rate * (a + decay * w if decays else a)
            a = u / (jnp.sqrt(v_scale * v + adam_eps_root) + eps)
            return -adam_now * (a + adam_decay * w if decays else a)

        def ascent(u):
            if u.size == 0:
                return u  # nothing to orthogonalise
            flat = u.reshape(-1, u.shape[-1])
            inputs, outputs = flat.shape
            o = orthogonalized(flat, triples, eps)
            factor = max(1, outputs / inputs) ** 0.5
            if consistent_rms is not None:
                factor = consistent_rms * max(inputs, outputs) ** 0.5
            return (factor * (jnp.sum(jnp.real(jnp.conj(flat) * o)) * o if adaptive else o)).reshape(u.shape)

        m = jax.tree.map(mean, state.m, grads, is_matrix)
        second_moment = lambda g, v: None if v is None else adam_b2 * v + (1 - adam_b2) * squared(g)
        v = jax.tree.map(second_moment, grads, state.v)
        u = jax.tree.map(direction, m, grads, is_matrix)
        return jax.tree.map(step, is_matrix, u, v, params, decays), MuonState(t, m, v)

    return optimizer(init, update)


def orthogonalized(u: Array, triples: Sequence[Sequence[float]], eps: Scalar) -> Array:
    """The matrix u with its singular values brought near 1, by one odd quintic for each (a, b, c)."""
    x = adjoint(u) if u.shape[0] > u.shape[1] else u  # the smaller of X X' and X' X
    x = x / (jnp.sqrt(jnp.sum(squared(x))) + eps)
    for a, b, c in triples:
        square = x @ adjoint(x)
        x = a * x + (b * square + c * square @ square) @ x
    return adjoint(x) if u.shape[0] > u.shape[1] else x


def _which(mask: Mask, params: Params) -> Params:
    """A bool for every parameter."""
    chosen = mask(params) if callable(mask) else mask
    if chosen is None:
        return jax.tree.map(lambda w: w.ndim == 2, params)
    return jax.tree.broadcast(chosen, params)
