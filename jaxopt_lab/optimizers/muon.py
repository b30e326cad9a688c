"""Muon: momentum with each matrix replaced by a nearly orthogonal one; Adam for all other parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    static_count,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._layout import Layout, as_matrices, as_tensor, layouts_of
from jaxopt_lab.optimizers._newton_schulz import orthogonalized
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.optimizers.nadam import nadam_direction
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import MaskedNode, Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class OrthogonalState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g


class MuonState(NamedTuple):
    matrices: Any  # `OrthogonalState` of the parameters that are matrices
    adam: Any  # Adam's or NAdam's state of the other parameters


def orthogonal_direction(
    layouts: Params,
    beta: Scalar,
    eps: Scalar,
    triples: Sequence[Any],
    *,
    nesterov: bool,
    bias_correction: bool,
    consistent_rms: Scalar | None,
    adaptive: bool,
    moment_dtype: Any,
) -> Optimizer:
    """Give the direction of Muon's step, uphill, for a tree of parameters that are all matrices by their layouts."""

    def init(params: Params) -> OrthogonalState:
        return OrthogonalState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        t = next_step(state.t)
        m = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.m, grads)
        scale = lambda t: 1 / one_minus_power(beta, t) if bias_correction else 1

        def ahead(m, g):
            return beta * (scale(t + 1) * m) + (1 - beta) * (scale(t) * g) if nesterov else scale(t) * m

        def direction(m, g, layout: Layout):
            u = ahead(m, g)
            if u.size == 0:
                return u  # nothing to orthogonalise
            x = as_matrices(u, layout)
            o = orthogonalized(x, triples, eps)
            inputs, outputs = x.shape[-2:]
            factor = max(1, outputs / inputs) ** 0.5
            if consistent_rms is not None:
                factor = consistent_rms * max(inputs, outputs) ** 0.5
            if adaptive:
                o = jnp.sum(jnp.real(jnp.conj(x) * o), (-2, -1), keepdims=True) * o
            return as_tensor(factor * o, u.shape, layout)

        return jax.tree.map(direction, m, grads, layouts), OrthogonalState(t, m)

    return optimizer(init, update)


@method(
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
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

        m <- beta m + (1 - beta) g
        u <- beta m / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t)    nesterov; else m / (1 - beta^t)
        o <- X after ns_steps of X <- a X + (b A + c A A) X, A = X X',  from X = u / (|u| + eps)
        w <- w - learning_rate * (sqrt(max(1, outputs / inputs)) o + weight_decay * w)

    for matrices w of shape (inputs, outputs), |u| the Frobenius norm and (a, b, c) `ns_coeffs`: the singular values of
    o lie between about 0.7 and 1.2. All other parameters are trained by AdamW. Bias correction, and Adam's look-ahead
    with Muon's, are Optax's conventions; the author and PyTorch have neither, and write matrices as (outputs, inputs).

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: Decay of the mean of g, in [0, 1).
        eps: Added to |u|, > 0, and to Adam's root, in units of g.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps_root: Added under Adam's root, >= 0, in units of g^2.
        adam_weight_decay: As weight_decay, for the parameters that Adam trains.
        consistent_rms: Root mean square of the elements of the step, independent of its shape: the factor before o is
            consistent_rms * sqrt(max(inputs, outputs)); 0.2 matches Adam (Liu et al. 2025, Section 2.2,
            https://arxiv.org/abs/2502.16982). None: the factor above.
        ns_coeffs: (a, b, c), or one triple for each Newton-Schulz step, in place of `ns_steps`.
        ns_steps: Number of Newton-Schulz steps.
        nesterov: Whether u looks one decay ahead.
        adam_nesterov: The same for Adam; None: as `nesterov`.
        bias_correction: Whether the mean is divided by 1 - beta^t (Adam's always are).
        adaptive: Whether o is multiplied by its inner product with u, so that the step shrinks with g (Bernstein &
            Newhouse 2024, https://arxiv.org/abs/2409.20325). Each matrix of a stack has its own; Optax takes one for
            the whole stack.
        matrices: Which parameters are orthogonalised, and how they are matrices: a tree (or a prefix), or a function
            from the parameters to one. At a leaf, False or None leaves it to Adam; True takes the last axis as outputs
            and all others as inputs; `optax.contrib.MuonDimensionNumbers(reduction_axis, output_axis)` says which axes
            are inputs and outputs, and over the remaining ones it is a stack of matrices, each orthogonalised by
            itself: (1, 2) for the (layers, inputs, outputs) of a scanned network. None: True where there are two axes.
        weight_decay_mask: Which parameters decay, likewise; None: all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the means of g and g^2 have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, or one of `matrices` has fewer than two axes, or does
            not have the axes that were named.

    """
    ns_steps = static_count("ns_steps", ns_steps)
    triples = ns_coeffs if isinstance(ns_coeffs[0], Sequence) else (ns_coeffs,) * ns_steps
    adam_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    if nesterov if adam_nesterov is None else adam_nesterov:
        adam = nadam_direction(adam_b1, adam_b2, eps, adam_eps_root, None, moment_dtype=moment_dtype)
    else:
        adam = adam_direction(adam_b1, adam_b2, eps, adam_eps_root, moment_dtype=moment_dtype)

    def parts(params):
        """Which parameters are matrices, the method that trains them, and the one that trains the others."""
        layouts = layouts_of(matrices, params)
        mask = weight_decay_mask(params) if callable(weight_decay_mask) else weight_decay_mask
        orthogonal = orthogonal_direction(
            jax.tree.map(lambda _, layout: layout or MaskedNode(), params, layouts),
            beta,
            eps,
            triples,
            nesterov=nesterov,
            bias_correction=bias_correction,
            consistent_rms=consistent_rms,
            adaptive=adaptive,
            moment_dtype=moment_dtype,
        )
        of_matrices = decoupled(orthogonal, "muon", learning_rate, weight_decay, mask)
        return layouts, of_matrices, decoupled(adam, "muon", adam_rate, adam_weight_decay, mask)

    def init(params: Params) -> MuonState:
        needs_leaves(params, "muon")
        layouts, of_matrices, of_others = parts(params)
        inside, outside = _split(params, layouts)
        return MuonState(of_matrices.init(inside), of_others.init(outside))

    def update(grads, state, params=None):
        needs_params(params, "muon", "decays")
        layouts, of_matrices, of_others = parts(params)
        (g, other_g), (w, other_w) = _split(grads, layouts), _split(params, layouts)
        steps, matrices_state = of_matrices.update(g, state.matrices, w)
        other_steps, adam_state = of_others.update(other_g, state.adam, other_w)
        join = lambda _, layout, step, other: step if layout else other
        return jax.tree.map(join, grads, layouts, steps, other_steps), MuonState(matrices_state, adam_state)

    return optimizer(init, update)


def _split(tree: Params, layouts: Params) -> tuple[Params, Params]:
    """Split a tree into its matrices and its other leaves, each with holes in place of what the other has."""
    hole = MaskedNode()
    matrices = jax.tree.map(lambda x, layout: x if layout else hole, tree, layouts)
    return matrices, jax.tree.map(lambda x, layout: hole if layout else x, tree, layouts)
