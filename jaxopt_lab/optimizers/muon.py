"""Muon: momentum with each matrix replaced by a nearly orthogonal one; Adam for all other parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, one_minus_power, optimizer, zeros_like
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._matrices import beside_adamw, shape_factor
from jaxopt_lab.optimizers._newton_schulz import JORDAN, Orthogonalizer, orthogonalizer
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.optimizers.nadam import nadam_direction
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class OrthogonalState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g


def orthogonal_direction(
    beta: Scalar,
    orthogonalized: Orthogonalizer,
    *,
    nesterov: bool,
    bias_correction: bool,
    scaling: str | None,
    consistent_rms: Scalar | None,
    adaptive: bool,
    moment_dtype: Any,
) -> Optimizer:
    """Give the direction of Muon's step, uphill, for a tree of matrices."""

    def init(params: Params) -> OrthogonalState:
        return OrthogonalState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        t = next_step(state.t)
        m = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.m, grads)
        scale = lambda t: 1 / one_minus_power(beta, t) if bias_correction else 1

        def ahead(m, g):
            return beta * (scale(t + 1) * m) + (1 - beta) * (scale(t) * g) if nesterov else scale(t) * m

        def scaled(u, o):
            if adaptive:
                o = jnp.sum(jnp.real(jnp.conj(u) * o), (-2, -1), keepdims=True) * o
            return shape_factor(o, scaling, consistent_rms) * o

        u = jax.tree.map(ahead, m, grads)
        return jax.tree.map(scaled, u, in_stacks(orthogonalized, u)), OrthogonalState(t, m)

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
    ns_coeffs: Sequence[Any] | str = JORDAN,
    ns_steps: int = 5,
    ns_dtype: Any = None,
    scaling: str | None = "original",
    cautious: bool = False,
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
    microsoft/dion and Moonlight sum gradients instead of averaging them: the same steps with eps / (1 - beta).

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
            https://arxiv.org/abs/2502.16982). None: as `scaling` says.
        ns_coeffs: (a, b, c), or one triple for each Newton-Schulz step, in place of `ns_steps`; or their name:
            "standard", the default; "dion", five triples of microsoft/dion; "polar_express", five that lift small
            singular values more, from X = u / (1.02 |u| + eps) (Amsel et al. 2025,
            https://arxiv.org/abs/2505.16932). "exact": all singular values become 1, by a singular value
            decomposition, which takes many times as long.
        ns_steps: Number of Newton-Schulz steps.
        ns_dtype: Dtype of the Newton-Schulz steps of real matrices: "bfloat16" as in most authors' code, which is
            faster on accelerators. None: at least float32.
        scaling: The factor before o: "original", the one above; "spectral_norm", sqrt(outputs / inputs), as in
            microsoft/dion; None: 1.
        cautious: Whether only those elements decay that the step moves towards 0 or leaves (Chen et al. 2025,
            https://arxiv.org/abs/2510.12402), Adam's too.
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
        The (init, update) pair; the means of g and g^2 have the shapes of the parameters, where `matrices` does not say
        otherwise.

    Raises:
        ValueError: `update` was called without the parameters, or one of `matrices` has fewer than two axes, or does
            not have the axes that were named; or `ns_coeffs` or `scaling` is no name listed above.

    """
    orthogonal = orthogonal_direction(
        beta,
        orthogonalizer(ns_coeffs, ns_steps, eps, ns_dtype),
        nesterov=nesterov,
        bias_correction=bias_correction,
        scaling=scaling,
        consistent_rms=consistent_rms,
        adaptive=adaptive,
        moment_dtype=moment_dtype,
    )
    if nesterov if adam_nesterov is None else adam_nesterov:
        adam = nadam_direction(adam_b1, adam_b2, eps, adam_eps_root, None, moment_dtype=moment_dtype)
    else:
        adam = adam_direction(adam_b1, adam_b2, eps, adam_eps_root, moment_dtype=moment_dtype)
    rates, decays = (learning_rate, adam_learning_rate), (weight_decay, adam_weight_decay)
    return beside_adamw("muon", orthogonal, adam, rates, decays, matrices, weight_decay_mask, cautious)
