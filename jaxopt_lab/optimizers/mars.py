"""MARS: AdamW, Lion or Muon from a gradient whose variance is reduced by its change since the step before."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import copied, method, needs_params, next_step, optimizer, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._layout import layouts_of
from jaxopt_lab.optimizers._matrices import beside_adam
from jaxopt_lab.optimizers._newton_schulz import JORDAN, orthogonalizer
from jaxopt_lab.optimizers._trust import norm
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.optimizers.muon import orthogonal_direction
from jaxopt_lab.optimizers.signum import signum
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule

FORMS = ("adamw", "lion", "shampoo")


class MARSState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    last: Params  # g of the step before; where `exact`, the parameters before it
    base: Any  # of AdamW, Lion or Muon


@method(
    learning_rate=Prior(1e-4, 1e-1, "log", "the authors' default 3e-3, and more than a decade either way"),
    b1=Prior(0.8, 0.99, "one_minus", "the authors' default 0.95, about a factor of 5 either way"),
    b2=Prior(0.9, 0.999, "one_minus", "the authors' default 0.99, a decade either way"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
    gamma=Prior(5e-3, 0.2, "log", "the authors' default 0.025, of which they try multiples; our choice"),
    adam_learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
)
def mars(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.95,
    b2: Scalar = 0.99,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    gamma: Scalar = 0.025,
    max_norm: Scalar | None = 1.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    adam_b1: Scalar = 0.9,
    adam_b2: Scalar = 0.95,
    adam_weight_decay: ScalarOrSchedule = 0.1,
    *,
    form: str = "adamw",
    exact: bool = False,
    matrices_alone: bool = True,
    ns_coeffs: Sequence[Any] | str = JORDAN,
    ns_steps: int = 5,
    ns_dtype: Any = None,
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """MARS (Yuan et al. 2024, Algorithms 2 to 4, https://arxiv.org/abs/2411.10438).

        c <- g + gamma b1 / (1 - b1) (g - last)
        c <- c / max(1, |c| / max_norm)                                   |c|: over all elements of a tensor
        m <- b1 m + (1 - b1) c
        v <- b2 v + (1 - b2) c^2
        a <- m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)                form "adamw"
        a <- sign(m)                                                      form "lion"
        a <- sqrt(max(1, outputs / inputs)) m, orthogonalised as in Muon  form "shampoo", of matrices (inputs, outputs)
        w <- w - learning_rate * (a + weight_decay * w)

    `last` is the gradient at the parameters before the last step, of the batch of this step (`exact`), for a second
    gradient each step, or else of the batch of that step (the authors' default); 0 in the first step. Parameters that
    are not matrices are trained by AdamW, without c. This is the authors' code.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of c, in [0, 1).
        b2: Decay of the mean of c^2, in [0, 1).
        eps: Added to the roots, >= 0, in units of g; in form "shampoo" also to the Frobenius norm of m / (1 - b1).
        weight_decay: Share of a matrix taken off each step, times the learning rate; >= 0; may be a schedule.
        gamma: Size of the correction, >= 0; at 0 there is none.
        max_norm: Largest norm of a tensor's c, > 0, in units of g; None: unlimited.
        adam_learning_rate: AdamW's step size; None: the same. May be a schedule.
        adam_b1: Decay of AdamW's mean of g, in [0, 1).
        adam_b2: Decay of AdamW's mean of g^2, in [0, 1).
        adam_weight_decay: As weight_decay, for the parameters that AdamW trains.
        form: "adamw", "lion" or "shampoo".
        exact: Whether the gradient before is that of this step's batch: `update` then needs `value_fn`.
        matrices_alone: Whether only matrices are trained from c. If not, all parameters are, with the arguments of the
            matrices; in form "shampoo", those that are not matrices as in form "adamw".
        ns_coeffs: Of form "shampoo": the Newton-Schulz polynomials, or their name, or "exact": see `muon`.
        ns_steps: Number of Newton-Schulz steps, where there is one triple of coefficients.
        ns_dtype: Dtype of the Newton-Schulz steps: "bfloat16" as in the authors' code. None: at least float32.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, `v` and `last`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `last` has the shapes of the parameters; where `exact`, `update` needs `value_fn`.

    Raises:
        ValueError: form is another; `update` was called without the parameters or, where `exact`, without `value_fn`;
            or `matrices` or `ns_coeffs` is wrong as `muon` says.

    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got form={form!r}.")
    adamw = adam_direction(b1, b2, eps, moment_dtype=moment_dtype)
    lion = signum(-1.0, b1, moment_dtype=moment_dtype)  # uphill: a rate of -1 reverses the step
    shampoo = orthogonal_direction(
        b1,
        orthogonalizer(ns_coeffs, ns_steps, (1 - b1) * eps, ns_dtype),
        nesterov=False,
        bias_correction=False,
        scaling="original",
        consistent_rms=None,
        adaptive=False,
        moment_dtype=moment_dtype,
    )
    of_matrices = {"adamw": adamw, "lion": lion, "shampoo": shampoo}[form]
    if matrices_alone:
        of_others = adam_direction(adam_b1, adam_b2, eps, moment_dtype=moment_dtype)
        others_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
        others_decay = adam_weight_decay
    else:
        of_others, others_rate, others_decay = lion if form == "lion" else adamw, learning_rate, weight_decay
    base = beside_adam(
        "mars",
        lambda mask: decoupled(of_matrices, "mars", learning_rate, weight_decay, mask),
        lambda mask: decoupled(of_others, "mars", others_rate, others_decay, mask),
        matrices,
        weight_decay_mask,
    )

    def init(params: Params) -> MARSState:
        needs_leaves(params, "mars")
        last = copied(params, moment_dtype) if exact else zeros_like(params, moment_dtype)
        return MARSState(jnp.zeros([], jnp.int32), last, base.init(params))

    def corrected(g, before, layout):
        if matrices_alone and layout is None:
            return g
        c = g + gamma * b1 / (1 - b1) * (g - before)
        return c if max_norm is None else c / jnp.maximum(norm(c) / max_norm, 1)

    def step(grads, before, last, state, params):
        needs_params(params, "mars", "decays")
        c = jax.tree.map(corrected, grads, before, layouts_of(matrices, params))
        updates, base_state = base.update(c, state.base, params)
        return updates, MARSState(next_step(state.t), last, base_state)

    def update(grads, state, params=None):
        return step(grads, state.last, grads, state, params)

    def exact_update(grads, state, params=None, *, value_fn):
        there = jax.grad(value_fn)(state.last)
        before = jax.tree.map(lambda g: jnp.where(state.t > 0, jnp.conj(g), 0), there)
        return step(grads, before, params, state, params)

    return optimizer(init, exact_update if exact else update, real_only="mars" if form == "lion" else None)
