"""AdaMuon: Muon from the signs of the mean, each element divided by the root of its mean square."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, reals_like, zeros_like
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._matrices import beside_adamw, frobenius
from jaxopt_lab.optimizers._newton_schulz import JORDAN, orthogonalizer
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdaMuonState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    v: Params  # running mean of o**2


@method(
    learning_rate=Prior(
        1e-4, 1e-1, "log", "as Adam's, whose steps have the same size; from above where it is too slow"
    ),
    beta=Prior(0.8, 0.99, "one_minus", "as Muon's"),
    weight_decay=Prior(1e-3, 1.0, "log", "as Muon's"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def adamuon(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    eps: Scalar = 1e-7,
    norm_eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.95,
    adam_eps: Scalar = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.01,
    consistent_rms: Scalar = 0.2,
    *,
    ns_coeffs: Sequence[Any] | str = JORDAN,
    ns_steps: int = 5,
    ns_dtype: Any = None,
    nesterov: bool = True,
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdaMuon (Si et al. 2025, Algorithm 1, https://arxiv.org/abs/2507.11005).

        m <- beta m + (1 - beta) g
        o <- Muon's orthogonalisation of sign(beta m + (1 - beta) g)        without nesterov: of sign(m)
        v <- beta v + (1 - beta) o^2
        a <- o / (sqrt(v) + norm_eps)
        w <- w - learning_rate * (consistent_rms * sqrt(inputs * outputs) a / (|a| + norm_eps) + weight_decay * w)

    for matrices w of shape (inputs, outputs), |.| the Frobenius norm. All other parameters are trained by AdamW. This
    is the authors' code, by default with `nesterov`, which the paper does not have. The step jumps where an element of
    the mean changes its sign.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: Decay of the means of g and of o^2, in [0, 1).
        eps: Added to the Frobenius norm before the orthogonalisation, > 0.
        norm_eps: Added to sqrt(v) and to |a|, > 0.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps: Added to Adam's root, >= 0, in units of g.
        adam_weight_decay: As weight_decay, for the parameters that Adam trains.
        consistent_rms: Root mean square of the elements of a matrix's step, > 0; 0.2 is about Adam's.
        ns_coeffs: The Newton-Schulz polynomials, or their name, or "exact": see `muon`.
        ns_steps: Number of Newton-Schulz steps, where there is one triple of coefficients.
        ns_dtype: Dtype of the Newton-Schulz steps of real matrices: "bfloat16" as in the authors' code. None: at least
            float32.
        nesterov: Whether the mean looks one decay ahead.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `v` have the shapes of the matrices.

    Raises:
        ValueError: `update` was called without the parameters, or `matrices` or `ns_coeffs` is wrong as `muon` says.

    """
    orthogonalized = orthogonalizer(ns_coeffs, ns_steps, eps, ns_dtype)

    def init(params: Params) -> AdaMuonState:
        m, v = zeros_like(params, moment_dtype), reals_like(params, moment_dtype)
        return AdaMuonState(jnp.zeros([], jnp.int32), m, v)

    def ascend(grads, state, params=None):
        mix = lambda m, g: beta * m + (1 - beta) * g
        m = jax.tree.map(mix, state.m, grads)
        u = jax.tree.map(mix, m, grads) if nesterov else m

        def adapted(u, v):
            o = orthogonalized(jnp.sign(u))
            v = mix(v, squared(o))
            a = o / (jnp.sqrt(v) + norm_eps)
            inputs, outputs = a.shape[-2:]
            return consistent_rms * (inputs * outputs) ** 0.5 * a / (frobenius(a) + norm_eps), v

        a, v = in_stacks(adapted, u, state.v, results=2)
        return a, AdaMuonState(next_step(state.t), m, v)

    ascent, adam = optimizer(init, ascend), adam_direction(adam_b1, adam_b2, adam_eps, moment_dtype=moment_dtype)
    rates, decays = (learning_rate, adam_learning_rate), (weight_decay, adam_weight_decay)
    return beside_adamw("adamuon", ascent, adam, rates, decays, matrices, weight_decay_mask)
