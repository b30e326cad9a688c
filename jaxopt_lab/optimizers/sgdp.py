"""SGDP: SGD with momentum whose steps do not lengthen scale-invariant weights."""

from typing import Any

import jax

from jaxopt_lab.optimizers._base import method, needs_params, next_step, optimizer, step_count, value_at, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._projection import projected
from jaxopt_lab.optimizers.momentum import MomentumState
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "as SGD's"),
    momentum=Prior(0.5, 0.999, "one_minus", "as SGD's"),
    weight_decay=Prior(1e-6, 1e-2, "log", "around 1e-4, usual with SGD"),
    delta=Prior(1e-2, 1.0, "log", "the authors' default 0.1, a decade either way"),
)
def sgdp(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar = 0.0,
    dampening: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    eps: Scalar = 1e-8,
    delta: Scalar = 0.1,
    wd_ratio: Scalar = 0.1,
    *,
    nesterov: bool = False,
    keep_projected: bool = True,
    output_axis: int = -1,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """SGDP (Heo et al. 2021, Algorithm 1, https://arxiv.org/abs/2006.08217).

        m <- momentum * m + (1 - dampening) g
        u <- g + momentum * m                                                         nesterov; else m
        if cos(w, g) < delta / sqrt(n):  u <- u - w <w, u> / |w|^2,  r <- wd_ratio;  else r <- 1
        m <- u                                                                        unless nesterov
        w <- w - learning_rate * (u + r * weight_decay / (1 - momentum) * w)

    As for `adamp`, w is first the n weights of one output, then the whole tensor; tensors of fewer than two axes are
    never projected. Without Nesterov's look-ahead, the authors' code projects m itself; the paper keeps m as it was:
    `keep_projected=False`.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        momentum: Decay of the sum of gradients, in [0, 1).
        dampening: Share of each gradient that does not enter the sum, in [0, 1), also of the first.
        weight_decay: Share of w taken off each step, times the learning rate, r and 1 / (1 - momentum); >= 0; scalar,
            traced or a schedule.
        eps: Added to lengths that are divided by, > 0, in their units.
        delta: Largest cosine, times sqrt(n), at which weights count as scale-invariant, >= 0; at 0 none do.
        wd_ratio: Factor on the decay of weights that are projected, >= 0.
        nesterov: Whether the step looks one decay ahead.
        keep_projected: Whether the projected u becomes m; without effect on a step with `nesterov`.
        output_axis: Axis of a tensor's outputs: the last in JAX's libraries (the default), the first in PyTorch.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is `momentum`'s.

    Raises:
        ValueError: `update` was called without the parameters, or the parameters are held flat.

    """

    def init(params: Params) -> MomentumState:
        needs_leaves(params, "sgdp")
        return MomentumState(step_count(learning_rate, weight_decay), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        needs_params(params, "sgdp", "projects by")
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        m = jax.tree.map(lambda g, m: (1 - dampening) * g + momentum * m, grads, state.m)
        u = jax.tree.map(lambda g, m: g + momentum * m, grads, m) if nesterov else m
        pairs = jax.tree.map(lambda u, g, w: projected(u, g, w, delta, wd_ratio, eps, output_axis), u, grads, params)
        part = lambda i: jax.tree.map(lambda _, pair: pair[i], grads, pairs)
        if keep_projected and not nesterov:
            m = part(0)
        shrunk = jax.tree.map(lambda ratio, w: ratio / (1 - momentum) * w, part(1), params)
        ascent = decayed(part(0), shrunk, decay, mask)
        return jax.tree.map(lambda a: -rate * a, ascent), MomentumState(next_step(state.t), m)

    return optimizer(init, update)
