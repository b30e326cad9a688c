"""NorDion2, or Dion3: Dion2 whose steps are evened out over the neurons, as NorMuon's are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, reals_like, zeros_like
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._matrices import beside_adamw, shape_factor
from jaxopt_lab.optimizers._newton_schulz import orthogonalizer
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.optimizers.dion2 import checked_fraction, largest, with_rows
from jaxopt_lab.optimizers.normuon import evened
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class NorDion2State(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # sum of g, of which a share is taken off where it was used
    v: Params  # running mean of o**2 over the inputs of a neuron: one number for each output


@method(
    learning_rate=Prior(1e-3, 1e-1, "log", "the authors' default 0.01, a decade either way"),
    beta=Prior(0.8, 0.99, "one_minus", "as Muon's"),
    b2=Prior(0.8, 0.999, "one_minus", "as NorMuon's"),
    weight_decay=Prior(1e-3, 1.0, "log", "as Muon's"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def nordion2(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-8,
    norm_eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.95,
    adam_eps: Scalar = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.01,
    consistent_rms: Scalar | None = None,
    *,
    fraction: float | None = None,
    ns_coeffs: Sequence[Any] | str = "polar_express",
    ns_steps: int = 5,
    ns_dtype: Any = None,
    scaling: str | None = "spectral_norm",
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """NorDion2 (microsoft/dion, https://github.com/microsoft/dion; named Dion3 there too).

        m <- m + g
        s <- the columns of m, one for each output, with the largest sums of absolute values: a `fraction` of them
        m <- beta m                                                         in these columns alone
        o <- s, orthogonalised
        v <- b2 v + (1 - b2) mean(o^2)                                      in these, over the inputs
        a <- o / (sqrt(v) + norm_eps)
        w <- w - learning_rate * weight_decay * w                           everywhere
        w <- w - learning_rate * sqrt(outputs / inputs) |o| / |a| a         in these

    for matrices w of shape (inputs, outputs), |.| the Frobenius norm. All other parameters are trained by AdamW. There
    is no paper of the combination; its halves are Dion2 (https://arxiv.org/abs/2512.16928), which selects on the
    shorter side, and NorMuon (https://arxiv.org/abs/2510.05491).

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        beta: What is kept of m where it was used, in [0, 1).
        b2: Decay of the mean of o^2, in [0, 1). What is not used keeps its v.
        eps: Added to the Frobenius norm before the orthogonalisation, > 0, in units of g.
        norm_eps: Added to sqrt(v), >= 0.
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        adam_learning_rate: Adam's step size; None: the same. May be a schedule.
        adam_b1: Decay of Adam's mean of g, in [0, 1).
        adam_b2: Decay of Adam's mean of g^2, in [0, 1).
        adam_eps: Added to Adam's root, >= 0, in units of g.
        adam_weight_decay: As weight_decay, for the parameters that Adam trains.
        consistent_rms: In place of the factor before o, consistent_rms * sqrt(max(inputs, outputs)); 0.2 matches Adam.
            None: as `scaling` says.
        fraction: Share of the outputs whose columns are orthogonalised, in (0, 1], rounded up; None: a quarter.
        ns_coeffs: The Newton-Schulz polynomials, or their name, or "exact": see `muon`.
        ns_steps: Number of Newton-Schulz steps, where there is one triple of coefficients.
        ns_dtype: Dtype of the Newton-Schulz steps of real matrices: "bfloat16" as in the authors' code. None: at least
            float32.
        scaling: The factor before o: "spectral_norm", the one above; "original", sqrt(max(1, outputs / inputs)); None:
            1.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; of a matrix, v has one number for each output.

    Raises:
        ValueError: fraction is not in (0, 1], `update` was called without the parameters, or `matrices`, `ns_coeffs` or
            `scaling` is wrong as `muon` says.

    """
    fraction = checked_fraction(fraction)
    orthogonalized = orthogonalizer(ns_coeffs, ns_steps, eps, ns_dtype)

    def init(params: Params) -> NorDion2State:
        neurons = jax.tree.map(lambda w: w[..., :1, :], params)
        return NorDion2State(
            jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), reals_like(neurons, moment_dtype)
        )

    def stepped(m, v):
        factor = shape_factor(m, scaling, consistent_rms)
        turned = lambda x: jnp.swapaxes(x, -1, -2)  # an output is a row
        m, v = turned(m), turned(v)
        chosen = largest(m, fraction)
        s, v_chosen = (jnp.take_along_axis(x, chosen, -2) for x in (m, v))
        even, v_chosen = evened(orthogonalized(s), v_chosen, b2, norm_eps, axis=-1)
        put = lambda x, rows: turned(with_rows(x, chosen, rows))
        return put(jnp.zeros_like(m), factor * even), put(m, beta * s), put(v, v_chosen)

    def ascend(grads, state, params=None):
        a, m, v = in_stacks(stepped, jax.tree.map(jnp.add, state.m, grads), state.v, results=3)
        return a, NorDion2State(next_step(state.t), m, v)

    ascent, adam = optimizer(init, ascend), adam_direction(adam_b1, adam_b2, adam_eps, moment_dtype=moment_dtype)
    rates, decays = (learning_rate, adam_learning_rate), (weight_decay, adam_weight_decay)
    return beside_adamw("nordion2", ascent, adam, rates, decays, matrices, weight_decay_mask)
