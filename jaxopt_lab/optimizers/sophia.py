"""Sophia: momentum divided by a running diagonal of the Hessian, clipped element by element."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt

from jaxopt_lab.optimizers._base import (
    first_key,
    method,
    needs_params,
    next_key,
    next_step,
    one_minus_power,
    optimizer,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.types import Key, Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class SophiaState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    h: Params  # running mean of the estimated diagonals
    key: UInt[Array, " words"]  # for the next estimate without a key


def hutchinson(value_fn: Callable[[Params], Array], params: Params, grads: Params, key: Key) -> Params:
    """Estimate the diagonal of the Hessian: r * (Hessian r), r of random signs (Hutchinson 1989)."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, max(len(leaves), 1))
    r = jax.tree.unflatten(
        tree, [jax.random.rademacher(key, w.shape, w.dtype) for key, w in zip(keys, leaves, strict=False)]
    )
    return jax.tree.map(jnp.multiply, r, jax.jvp(jax.grad(value_fn), (params,), (r,))[1])


@method(
    further_gradients_every="update_interval",
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.9, 0.999, "one_minus", "the default 0.99, a decade either way"),
    gamma=Prior(1e-3, 1e-1, "log", "around the paper's 0.01 to 0.05 (Section 3.1), https://arxiv.org/abs/2305.14342"),
    weight_decay=Prior(1e-5, 1.0, "log", "as AdamW's, up to above the paper's 0.2"),
)
def sophia(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.965,
    b2: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    gamma: Scalar = 0.01,
    clip_threshold: Scalar | None = 1.0,
    update_interval: Scalar = 10,
    *,
    bias_correction: bool = True,
    estimate_first: bool = False,
    hessian_diagonal_fn: Callable[..., Params] | None = None,
    weight_decay_mask: Mask = None,
    seed: int = 0,
    moment_dtype: Any = None,
) -> Optimizer:
    """Sophia (Liu et al. 2023, Algorithm 3, https://arxiv.org/abs/2305.14342).

        m <- b1 m + (1 - b1) g
        a <- clip(m / (1 - b1^t) / max(gamma h, eps), clip_threshold)
        w <- w - learning_rate * (a + weight_decay * w)
        h <- b2 h + (1 - b2) estimate                        every update_interval steps

    Conventions are Optax's. In the paper there is no bias correction, and the estimate comes before the step that uses
    it.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of estimates, in [0, 1).
        eps: Least divisor of m, > 0, in units of g: where the curvature is less, or negative, steps are of one size.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        gamma: Share of the curvature that divides, > 0: the larger, the fewer elements are clipped.
        clip_threshold: Largest element of a, > 0; None does not clip.
        update_interval: Steps from one estimate to the next, >= 1, a whole number. Hutchinson's estimate costs about
            two gradients. Under `vmap` the estimate is computed in every step and mostly discarded.
        bias_correction: Whether m is divided by 1 - b1^t.
        estimate_first: Whether h is renewed before the step instead of after it.
        hessian_diagonal_fn: The estimate: (value_fn, params, grads, key) -> a tree as the parameters; None:
            Hutchinson's. The paper's Gauss-Newton-Bartlett estimate needs labels drawn from the model: pass a function
            of your own.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or
            a function from the parameters to one; None decays all.
        seed: Seed of the key in the state, which is used if `update` is not given a key.
        moment_dtype: Dtype of `m` and `h`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `h` have the shapes of the parameters; `update` needs `value_fn` (Optax's
        `obj_fn`) and takes `key`, a random key of this step.

    Raises:
        ValueError: `update` was called without the parameters or `value_fn`.

    """

    def init(params: Params) -> SophiaState:
        m, h = zeros_like(params, moment_dtype), zeros_like(params, moment_dtype)
        return SophiaState(jnp.zeros([], jnp.int32), m, h, first_key(seed))

    def update(grads, state, params=None, *, value_fn, key=None):
        needs_params(params, "sophia", "takes curvature at")
        t = next_step(state.t)

        def renewed(h, own):
            own, used = next_key(own) if key is None else (own, key)
            estimate = (hessian_diagonal_fn or hutchinson)(value_fn, params, grads, used)
            return jax.tree.map(lambda h, new: (b2 * h + (1 - b2) * new).astype(h.dtype), h, estimate), own

        def ascent(m, h):
            a = m_scale * m / jnp.maximum(gamma * h, eps)
            return a if clip_threshold is None else jnp.clip(a, -clip_threshold, clip_threshold)

        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        m_scale = 1 / one_minus_power(b1, t) if bias_correction else 1
        due = state.t % update_interval == 0
        h, own = jax.lax.cond(due, renewed, lambda h, own: (h, own), state.h, state.key)
        a = decayed(
            jax.tree.map(ascent, m, h if estimate_first else state.h),
            params,
            value_at(weight_decay, state.t),
            weight_decay_mask,
        )
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda a: -rate * a, a), SophiaState(t, m, h, own)

    return optimizer(init, update, real_only="sophia")
