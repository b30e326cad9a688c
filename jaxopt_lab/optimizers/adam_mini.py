"""Adam-mini: Adam with one second moment for each block of parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import (
    method,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    zeros_like,
)
from jaxopt_lab.optimizers._blocks import Blocks, block_mean, shared_axes
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.adam import AdamState
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def adam_mini(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    shared: Blocks = True,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Adam-mini (Zhang et al. 2024, Algorithm 1, https://arxiv.org/abs/2406.16793).

        v <- b2 v + (1 - b2) mean(g^2)                                     mean: over a block; v: one number for each
        w <- w - learning_rate * (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * w)        m: Adam's

    By default each tensor is one block, as the paper advises where nothing is known of the model. For a transformer its
    blocks are smaller: an output's weights in most layers, a token's in embeddings and in the last layer, a head in the
    projections of queries and keys. The authors' code finds them by the names of tensors, and gives biases a v for each
    element; `shared` says the same, for example

        def shared(params):
            by_name = lambda path, w: False if "bias" in jax.tree_util.keystr(path) else tuple(range(w.ndim - 1))
            return jax.tree_util.tree_map_with_path(by_name, params)

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        shared: The axes along which elements are of one block: a tree with the parameters' structure (or a prefix of
            it), or a function from the parameters to one. At a leaf True: all axes; False: none, which is AdamW; an
            axis or a tuple of axes: those. For kernels of shape (inputs, heads, features) a head's are (0, 2).
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all. The authors' code spares norms and biases.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters, `v` also, but for the shared axes of length 1.

    Raises:
        ValueError: `update` was called without the parameters, the parameters are held flat, or `shared` names an axis
            that a parameter does not have.

    """

    def block_means(squares):
        return jax.tree.map(block_mean, squares, shared_axes(shared, squares))

    def init(params: Params) -> AdamState:
        needs_leaves(params, "adam_mini")
        v = block_means(reals_like(params, moment_dtype))
        return AdamState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), v)

    def ascend(grads, state, params=None):
        t = next_step(state.t)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        square = block_means(jax.tree.map(squared, grads))
        v = jax.tree.map(lambda v, square: b2 * v + (1 - b2) * square, state.v, square)
        m_scale, v_scale = 1 / one_minus_power(b1, t), 1 / one_minus_power(b2, t)  # both means start at 0
        a = jax.tree.map(lambda m, v: m_scale * (m / (jnp.sqrt(v_scale * v) + eps)), m, v)
        return a, AdamState(t, m, v)

    return decoupled(optimizer(init, ascend), "adam_mini", learning_rate, weight_decay, mask)
