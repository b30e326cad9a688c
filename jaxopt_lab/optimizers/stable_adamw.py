"""StableAdamW: AdamW with Adafactor's clipping of each tensor's step."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, needs_params, next_step, one_minus_power, optimizer, value_at
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.adam import AdamState, adam_start
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1.0, "log", "as AdamW's, up to above the authors' 0.2"),
    clipping_threshold=Prior(0.5, 2.0, "log", "as Adafactor's"),
)
def stable_adamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    weight_decay: ScalarOrSchedule = 0.2,
    clipping_threshold: Scalar = 1.0,
    *,
    clip_decay: bool = False,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """StableAdamW (Wortsman et al. 2023, Algorithm 2, https://arxiv.org/abs/2304.13013).

        m <- m + (g - m) (1 - b1) / (1 - b1^t)                   a mean that needs no correction, as Adafactor's
        v <- v + (g^2 - v) (1 - b2) / (1 - b2^t)
        rms <- sqrt(mean(g^2 / max(v, eps^2)))                   mean: over the tensor
        clipped <- learning_rate / max(1, rms / clipping_threshold)
        w <- w - clipped * m / (sqrt(v) + eps) - learning_rate * weight_decay * w

    In the paper, decay is multiplied by the clipped rate as well (`clip_decay=True`); in the first author's code, it is
    not.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, > 0, in units of g.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        clipping_threshold: Largest root mean square of g / sqrt(v) at which the step keeps its size, > 0.
        clip_decay: Whether the clipping also shortens the decay.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is Adam's, with means that need no correction.

    Raises:
        ValueError: `update` was called without the parameters, or the parameters are held flat.

    """

    def init(params: Params) -> AdamState:
        needs_leaves(params, "stable_adamw")
        return adam_start(params, moment_dtype)

    def update(grads, state, params=None):
        needs_params(params, "stable_adamw", "decays")
        rate, decay, t = value_at(learning_rate, state.t), value_at(weight_decay, state.t), next_step(state.t)
        newest1, newest2 = (1 - b1) / one_minus_power(b1, t), (1 - b2) / one_minus_power(b2, t)
        m = jax.tree.map(lambda m, g: (1 - newest1) * m + newest1 * g, state.m, grads)
        v = jax.tree.map(lambda v, g: (1 - newest2) * v + newest2 * squared(g), state.v, grads)

        def shortening(g, v):
            rms = jnp.sqrt(jnp.mean(squared(g) / jnp.maximum(v, eps**2)))
            return 1 / jnp.maximum(1, rms / clipping_threshold)

        factors = jax.tree.map(shortening, grads, v)
        a = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), m, v)
        shorten = lambda tree: jax.tree.map(jnp.multiply, factors, tree)
        a = shorten(decayed(a, params, decay, mask)) if clip_decay else decayed(shorten(a), params, decay, mask)
        return jax.tree.map(lambda a: -rate * a, a), AdamState(t, m, v)

    return optimizer(init, update)
