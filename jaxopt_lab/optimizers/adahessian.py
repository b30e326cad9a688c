"""AdaHessian: Adam with a random diagonal of the Hessian in place of the gradient's square."""

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
    reals_like,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._blocks import Blocks, block_mean, shared_axes
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers.sophia import hutchinson
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdaHessianState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    h: Params  # running mean of the squared diagonals
    key: UInt[Array, " words"]  # for the next estimate without a key


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "the authors' default 0.15 and decades below"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-8, 1e-1, "log", "around the authors' default 1e-4, up to where it dominates"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
    hessian_power=Prior(
        0.25, 1.0, "linear", "below 1, the authors' option: Yao et al. 2021, https://arxiv.org/abs/2006.00719"
    ),
)
def adahessian(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-4,
    weight_decay: ScalarOrSchedule = 0.0,
    hessian_power: Scalar = 1.0,
    *,
    shared: Blocks | None = None,
    absolute: bool = True,
    hessian_diagonal_fn: Callable[..., Params] | None = None,
    mask: Mask = None,
    seed: int = 0,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdaHessian (Yao et al. 2021, Algorithm 1, https://arxiv.org/abs/2006.00719).

        D <- r * (Hessian r)                                r: random signs, new in every step
        D <- mean of |D| over the `shared` axes             for a convolution, the positions of its kernel
        m <- b1 m + (1 - b1) g
        h <- b2 h + (1 - b2) D^2
        a <- m / (1 - b1^t) / (sqrt(h / (1 - b2^t))^hessian_power + eps)
        w <- w - learning_rate * (a + weight_decay * w)

    A step costs three gradients. In the paper the mean is that of D itself, whose signs cancel (`absolute=False`); in
    the authors' code it is that of |D|.

    Args:
        learning_rate: Step size, > 0, in units of w (at hessian_power = 1: a share of Newton's step); scalar, traced or
            a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of D^2, in [0, 1).
        eps: Added to the power, > 0, in its units.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        hessian_power: Exponent of the curvature, in [0, 1]: 1 is Newton's, 0 divides by nothing.
        shared: Axes along which D is averaged: a tree with the parameters' structure (or a prefix of it), or a function
            from the parameters to one; at a leaf True: all axes; False: none; an axis or a tuple of axes. None: all
            axes of a tensor but the last two, the inputs and outputs of a convolution in JAX's libraries.
        absolute: Whether the mean over these axes is that of |D| instead of D.
        hessian_diagonal_fn: The estimate: (value_fn, params, grads, key) -> a tree as the parameters; None:
            Hutchinson's.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        seed: Seed of the key in the state, which is used if `update` is not given a key.
        moment_dtype: Dtype of `m` and `h`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters, `h` also, but for the shared axes of length 1;
        `update` needs `value_fn` (Optax's `obj_fn`) and takes `key`, a random key of this step.

    Raises:
        ValueError: `update` was called without the parameters or `value_fn`, the parameters are held flat, or `shared`
            names an axis that a parameter does not have.

    """

    def block_means(tree):
        said = jax.tree.map(lambda w: tuple(range(w.ndim - 2)), tree) if shared is None else shared
        return jax.tree.map(block_mean, tree, shared_axes(said, tree))

    def init(params: Params) -> AdaHessianState:
        if shared is not False:
            needs_leaves(params, "adahessian")
        m, h = zeros_like(params, moment_dtype), block_means(reals_like(params, moment_dtype))
        return AdaHessianState(jnp.zeros([], jnp.int32), m, h, first_key(seed))

    def update(grads, state, params=None, *, value_fn, key=None):
        needs_params(params, "adahessian", "takes curvature at")
        t = next_step(state.t)
        own, used = next_key(state.key) if key is None else (state.key, key)
        diagonal = (hessian_diagonal_fn or hutchinson)(value_fn, params, grads, used)
        diagonal = block_means(jax.tree.map(jnp.abs, diagonal) if absolute else diagonal)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        h = jax.tree.map(lambda h, d: b2 * h + (1 - b2) * d**2, state.h, diagonal)
        m_scale, h_scale = 1 / one_minus_power(b1, t), 1 / one_minus_power(b2, t)  # both means start at 0
        a = jax.tree.map(lambda m, h: m_scale * (m / (jnp.sqrt(h_scale * h) ** hessian_power + eps)), m, h)
        a, rate = decayed(a, params, value_at(weight_decay, state.t), mask), value_at(learning_rate, state.t)
        return jax.tree.map(lambda a: -rate * a, a), AdaHessianState(t, m, h, own)

    return optimizer(init, update, real_only="adahessian")
