"""NorMuon: Muon whose steps are evened out over the neurons of a matrix."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, reals_like, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._matrices import beside_adam, frobenius, over, shape_factor, with_rms
from jaxopt_lab.optimizers._newton_schulz import JORDAN, orthogonalizer
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class NorMuonState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of o**2 over the inputs of a neuron: one number for each output


def evened(o: Array, v: Array, b2: Scalar, eps: Scalar, axis: int = -2) -> tuple[Array, Array]:
    """Divide every neuron of o by the root of its mean square v, which has 1 for `axis`; the norm of o is kept."""
    v = b2 * v + (1 - b2) * jnp.mean(squared(o), axis, keepdims=True)
    even = o / (jnp.sqrt(v) + eps)
    return over(frobenius(o), frobenius(even)) * even, v


@method(
    learning_rate=Prior(1e-3, 1e-1, "log", "as Muon's: the authors' default is its 0.02"),
    beta=Prior(0.8, 0.99, "one_minus", "as Muon's"),
    b2=Prior(0.8, 0.999, "one_minus", "the authors' default 0.95, about a factor of 5 and more either way"),
    weight_decay=Prior(1e-3, 1.0, "log", "as Muon's"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def normuon(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-7,
    norm_eps: Scalar = 1e-10,
    weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.95,
    adam_eps: Scalar = 1e-10,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    consistent_rms: Scalar | None = None,
    *,
    ns_coeffs: Sequence[Any] | str = JORDAN,
    ns_steps: int = 5,
    ns_dtype: Any = None,
    nesterov: bool = True,
    scaling: str | None = "original",
    keep_norm: bool = True,
    shorter_side: bool = False,
    cautious: bool = False,
    decay_by_shape: bool = False,
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """NorMuon (Li et al. 2025, Algorithm 1, https://arxiv.org/abs/2510.05491).

        m <- beta m + (1 - beta) g
        o <- Muon's orthogonalisation of (beta m + (1 - beta) g)        without nesterov: of m
        v <- b2 v + (1 - b2) mean(o^2)                                  over the inputs: one number for each output
        a <- o / (sqrt(v) + norm_eps)
        w <- w - learning_rate * (sqrt(max(1, outputs / inputs)) |o| / |a| a + weight_decay * w)

    for matrices w of shape (inputs, outputs), |.| the Frobenius norm; v is not corrected for its start at 0, since the
    norm of the step does not depend on it. All other parameters are trained by AdamW. This is the authors' code. In
    the paper there is no `nesterov`, and the step is consistent_rms * sqrt(inputs * outputs) / |a| * a with 0.2:
    `keep_norm=False`. modded-nanogpt has `ns_coeffs="polar_express"`, `shorter_side`, `cautious`, `decay_by_shape`, and
    a weight decay that it multiplies by the learning rate once more.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of o^2, in [0, 1).
        eps: Added to the Frobenius norm before the orthogonalisation, > 0, in units of g.
        norm_eps: Added to sqrt(v), >= 0.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps: Added to Adam's root, >= 0, in units of g.
        adam_weight_decay: As weight_decay, for the parameters that Adam trains.
        consistent_rms: As `muon`'s: the factor is consistent_rms * sqrt(max(inputs, outputs)). With `keep_norm=False`,
            the root mean square of the elements of the step; None: 0.2 there, and otherwise as `scaling` says.
        ns_coeffs: The Newton-Schulz polynomials, or their name, or "exact": see `muon`.
        ns_steps: Number of Newton-Schulz steps, where there is one triple of coefficients.
        ns_dtype: Dtype of the Newton-Schulz steps of real matrices: "bfloat16" as in the authors' code. None: at least
            float32.
        nesterov: Whether the orthogonalised mean looks one decay ahead.
        scaling: The factor of the step: "original", the one above; "spectral_norm", sqrt(outputs / inputs), as in
            microsoft/dion; None: 1.
        keep_norm: Whether the step has the norm of o; otherwise it has the norm that consistent_rms says.
        shorter_side: Whether the mean is taken over the shorter side of a matrix, instead of over its inputs.
        cautious: Whether only those elements decay that the step moves towards 0 or leaves (Chen et al. 2025,
            https://arxiv.org/abs/2510.12402), Adam's too.
        decay_by_shape: Whether the decay of a matrix is multiplied by the factor of its step as well.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; of a matrix, v has one number for each output.

    Raises:
        ValueError: `update` was called without the parameters, or `matrices`, `ns_coeffs` or `scaling` is wrong as
            `muon` says.

    """
    orthogonalized = orthogonalizer(ns_coeffs, ns_steps, eps, ns_dtype)
    mean_over = lambda x: -1 if shorter_side and x.shape[-1] < x.shape[-2] else -2
    by_shape = lambda x: shape_factor(x, scaling, consistent_rms) * x

    def init(params: Params) -> NorMuonState:
        neurons = jax.tree.map(lambda w: jax.lax.slice_in_dim(w, 0, 1, axis=mean_over(w)), params)
        return NorMuonState(
            jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), reals_like(neurons, moment_dtype)
        )

    def ascend(grads, state, params=None):
        mix = lambda m, g: beta * m + (1 - beta) * g
        m = jax.tree.map(mix, state.m, grads)
        u = jax.tree.map(mix, m, grads) if nesterov else m
        even = lambda u, v: evened(orthogonalized(u), v, b2, norm_eps, mean_over(u))
        a, v = in_stacks(even, u, state.v, results=2)
        a = jax.tree.map(by_shape if keep_norm else lambda a: with_rms(a, consistent_rms), a)
        return a, NorMuonState(next_step(state.t), m, v)

    def of_matrices(mask):
        steps = decoupled(optimizer(init, ascend), "normuon", learning_rate, weight_decay, mask, cautious=cautious)
        if not decay_by_shape:
            return steps
        return optimizer(steps.init, lambda g, state, w: steps.update(g, state, jax.tree.map(by_shape, w)))

    adam = adam_direction(adam_b1, adam_b2, adam_eps, moment_dtype=moment_dtype)
    adam_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    return beside_adam(
        "normuon",
        of_matrices,
        lambda mask: decoupled(adam, "normuon", adam_rate, adam_weight_decay, mask, cautious=cautious),
        matrices,
        weight_decay_mask,
    )
