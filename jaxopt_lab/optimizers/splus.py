"""SPlus: the sign of momentum in the eigenbasis of Shampoo's factors, with the average of the parameters as answer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._amortised import when
from jaxopt_lab.optimizers._base import (
    copied,
    method,
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._kronecker import (
    adjoints,
    along_all,
    by_axis,
    by_shape,
    eigenvectors,
    identities,
    products,
    sides,
)
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import MaskedNode, Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class SPlusState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    factors: Params  # of each side of each matrix, the running mean of g g'
    q: Params  # their eigenvectors as columns; the identity before the first step
    average: Params  # mean of the parameters visited, corrected for its start

    def evaluation_params(self, params: Params) -> Params:
        """Return the average, which is the answer; `params` where `optax.masked` has left parameters out."""
        is_hole = lambda x: isinstance(x, MaskedNode)
        chosen = lambda average, w: w if is_hole(average) else average.astype(jnp.result_type(w))
        return jax.tree.map(chosen, self.average, params, is_leaf=is_hole)


@method(
    learning_rate=Prior(1e-2, 1.0, "log", "the author's 0.1 to 0.3, about a decade either way; our choice"),
    b1=Prior(0.5, 0.99, "one_minus", "as Adam's, around the author's 0.9"),
    b2=Prior(0.9, 0.9999, "one_minus", "the author's 0.999, a decade either way and more"),
    ema_rate=Prior(0.9, 0.9999, "one_minus", "the author's 0.999, down to what suits short trials; our choice"),
    weight_decay=Prior(1e-4, 1e-1, "log", "the author's 1e-2, a decade either way and more"),
)
def splus(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    ema_rate: Scalar = 0.999,
    weight_decay: ScalarOrSchedule = 1e-2,
    nonstandard_constant: Scalar = 1e-3,
    *,
    update_interval: int = 100,
    max_dim: int = 10000,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """SPlus (Frans, Levine & Abbeel 2025, https://arxiv.org/abs/2506.07254).

        m <- b1 m + (1 - b1) g
        w <- w - rate * Q_L sign(Q_L' m Q_R) Q_R'        rate: learning_rate * 2 / (rows + columns)
        average <- ema_rate average + (1 - ema_rate) w   corrected for its start: the answer
        w <- w - rate * weight_decay * w
        L <- b2 L + (1 - b2) g g';  R <- b2 R + (1 - b2) g' g
        Q_L, Q_R <- the eigenvectors of L and R          after the first step and every update_interval steps

    for matrices with no side longer than `max_dim`. Other parameters step by sign(m), and the rate of all but these is
    learning_rate * nonstandard_constant. Where decay and average stand follows the author's PyTorch code; in the JAX
    code beside it, decay is a part of the step, and the average takes the point before it. The authors' eps, added to L
    and R, does not change their eigenvectors and is left out.

    Args:
        learning_rate: Spectral size of a step, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the means of g g' and g' g, in [0, 1).
        ema_rate: Decay of the mean of the parameters, in [0, 1).
        weight_decay: Share of w taken off after each step, times the rate; >= 0; scalar, traced or a schedule.
        nonstandard_constant: Factor of the learning rate for all but matrices with short sides, > 0.
        update_interval: Steps from one renewal of the bases to the next. Its cost (eigenvectors) is paid in these steps
            only, also where many trials are mapped together.
        max_dim: A side as long as this, or longer, is not rotated.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None decays all.
        moment_dtype: Dtype of the state, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair. Beside the two means, the state has two square matrices for each side of a matrix.
        Evaluate at `state.evaluation_params(params)`, as the training loop does.

    Raises:
        ValueError: An interval or size < 1, or `update` was called without the parameters.

    """
    update_interval, max_dim = static_count("update_interval", update_interval), static_count("max_dim", max_dim)
    is_standard = lambda w: w.ndim == 2 and w.size > 0 and max(w.shape) <= max_dim
    of_shape = lambda w: 2 / sum(w.shape) if is_standard(w) else nonstandard_constant
    turn = lambda factors: by_axis(lambda _, factor: eigenvectors(factor), factors)

    def init(params: Params) -> SPlusState:
        needs_leaves(params, "splus")
        chosen = lambda w: sides(w, max_dim - 1) if w.ndim == 2 else (False,) * w.ndim
        q = jax.tree.map(lambda w: identities(w, chosen(w), moment_dtype), params)
        factors = jax.tree.map(lambda w: jax.tree.map(jnp.zeros_like, identities(w, chosen(w), moment_dtype)), params)
        m, average = zeros_like(params, moment_dtype), copied(params, moment_dtype)
        return SPlusState(jnp.zeros([], jnp.int32), m, factors, q, average)

    def update(grads, state, params=None):
        needs_params(params, "splus", "decays")
        t = next_step(state.t)
        due = (t == 1) | (t % update_interval == 0)

        def step(g, m, factors, q):
            m = b1 * m + (1 - b1) * g
            u = along_all(q, jnp.sign(along_all(adjoints(q), m)))
            factors = by_axis(lambda axis, f: b2 * f + (1 - b2) * products(g, axis), factors)
            return u, m, factors, when(due, lambda factors, q: turn(factors), lambda factors, q: q, factors, q)

        u, m, factors, q = by_shape(step, 4, grads, state.m, state.factors, state.q)
        rate = value_at(learning_rate, state.t)
        steps = jax.tree.map(lambda u, w: rate * of_shape(w) * u, u, params)
        left = jax.tree.map(jnp.subtract, params, steps)
        share = (1 - ema_rate) / one_minus_power(ema_rate, t)
        average = jax.tree.map(lambda average, w: average + share * (w - average), state.average, left)
        left = jax.tree.map(lambda w: of_shape(w) * w, left)
        steps = decayed(steps, left, value_at(weight_decay, state.t), weight_decay_mask, rate)
        return jax.tree.map(jnp.negative, steps), SPlusState(t, m, factors, q, average)

    return optimizer(init, update, real_only="splus")
