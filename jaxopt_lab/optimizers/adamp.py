"""AdamP: Adam whose steps do not lengthen scale-invariant weights."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, needs_params, one_minus_power, optimizer, value_at
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._projection import projected
from jaxopt_lab.optimizers.adam import AdamState, adam_means, adam_start
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
    delta=Prior(1e-2, 1.0, "log", "the authors' default 0.1, a decade either way"),
)
def adamp(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    delta: Scalar = 0.1,
    wd_ratio: Scalar = 0.1,
    *,
    nesterov: bool = False,
    output_axis: int = -1,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdamP (Heo et al. 2021, Algorithm 2, https://arxiv.org/abs/2006.08217).

        u <- m / (sqrt(v / (1 - b2^t)) + eps)                                        m, v: Adam's
        if cos(w, g) < delta / sqrt(n):  u <- u - w <w, u> / |w|^2,  r <- wd_ratio;  else r <- 1
        w <- w - learning_rate * (u / (1 - b1^t) + r * weight_decay * w)

    A weight whose length does not matter, as before a normalisation, has a gradient orthogonal to it; momentum alone
    lengthens it, and so shrinks its steps. As in the authors' code, w is first the n weights of one output, where every
    output must pass the test, then the whole tensor. Tensors of fewer than two axes are never projected.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g; and to lengths that are divided by, in their units.
        weight_decay: Share of w taken off each step, times the learning rate and r; >= 0; scalar, traced or a schedule.
        delta: Largest cosine, times sqrt(n), at which weights count as scale-invariant, >= 0; at 0 it is AdamW.
        wd_ratio: Factor on the decay of weights that are projected, >= 0.
        nesterov: Whether the mean of g looks one decay ahead: b1 m + (1 - b1) g in place of m.
        output_axis: Axis of a tensor's outputs: the last in JAX's libraries (the default), the first in PyTorch.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is Adam's.

    Raises:
        ValueError: `update` was called without the parameters, or the parameters are held flat.

    """

    def init(params: Params) -> AdamState:
        needs_leaves(params, "adamp")
        return adam_start(params, moment_dtype)

    def update(grads, state, params=None):
        needs_params(params, "adamp", "projects by")
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        state = adam_means(grads, state, b1, b2)
        m_scale, v_scale = 1 / one_minus_power(b1, state.t), 1 / one_minus_power(b2, state.t)  # both means start at 0

        def perturbation(m, v, g):
            return (b1 * m + (1 - b1) * g if nesterov else m) / (jnp.sqrt(v_scale * v) + eps)

        def project(u, g, w):
            return projected(u, g, w, delta, wd_ratio, eps, output_axis)

        pairs = jax.tree.map(project, jax.tree.map(perturbation, state.m, state.v, grads), grads, params)
        part = lambda i: jax.tree.map(lambda _, pair: pair[i], grads, pairs)
        shrunk = jax.tree.map(lambda ratio, w: ratio * w, part(1), params)
        ascent = decayed(jax.tree.map(lambda u: m_scale * u, part(0)), shrunk, decay, mask)
        return jax.tree.map(lambda a: -rate * a, ascent), state

    return optimizer(init, update)
