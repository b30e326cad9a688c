"""Cautious weight decay: parameters decay only where a method's step moves them towards zero, too."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import needs_params, next_step, step_count, value_at
from jaxopt_lab.optimizers._base import optimizer as pair
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import Optimizer, Params, ScalarOrSchedule


class CautiousWeightDecayState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far, if there is a schedule
    inner: Any  # the optimizer's state


def cautious_weight_decay(
    optimizer: Optimizer, learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule, *, mask: Mask = None
) -> Optimizer:
    """Cautious weight decay beside any optimizer (Chen et al. 2025, https://arxiv.org/abs/2510.12402).

        u <- update(g, w)
        w <- w + u - learning_rate * weight_decay * w        where u w <= 0; elsewhere w <- w + u

    The sign of u decides, not that of g: an entry decays unless the step moves it away from zero. Use an optimizer
    without weight decay of its own:

        def method(learning_rate, weight_decay):
            return jl.cautious_weight_decay(jl.adam(learning_rate), learning_rate, weight_decay)

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them.
        learning_rate: Multiplies the decay, as in AdamW; it does not scale the optimizer's steps. Scalar, traced or a
            schedule `step -> value`.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.

    Returns:
        The (init, update) pair.

    Raises:
        TypeError: A parameter is complex.
        ValueError: `update` was called without the parameters, or they are held flat and there is a mask.

    """

    def init(params: Params) -> CautiousWeightDecayState:
        return CautiousWeightDecayState(step_count(learning_rate, weight_decay), optimizer.init(params))

    def update(grads, state, params=None, **extra):
        needs_params(params, "cautious_weight_decay", "decays")
        u, inner = optimizer.update(grads, state.inner, params, **accepted(optimizer.update, extra))
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        ascent = decayed(jax.tree.map(jnp.negative, u), params, decay, mask, rate, cautious=True)
        return jax.tree.map(jnp.negative, ascent), CautiousWeightDecayState(next_step(state.t), inner)

    return pair(init, update, real_only="cautious_weight_decay")
