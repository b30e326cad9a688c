"""Decoupled weight decay, the same for every method (Loshchilov & Hutter 2019)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import needs_params, optimizer, value_at
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, ScalarOrSchedule

Mask = Any | Callable[[Params], Any] | None
"""Which parameters decay: a tree of bools with their structure (or a prefix), or a function to one; None: all."""


def is_off(decay: Any) -> bool:
    """Tell whether decay is the number 0, as opposed to an array or schedule that may be 0."""
    return isinstance(decay, int | float) and decay == 0


def decayed(
    ascent: Params, params: Params, decay: Any, mask: Mask = None, rate: Any = 1, *, cautious: bool = False
) -> Params:
    """Return ascent + rate * decay * w for the parameters that `mask` selects.

    With `cautious`, only elements decay that the step does not move away from 0, those with a * w >= 0 (Chen et al.
    2025, https://arxiv.org/abs/2510.12402).
    """
    if is_off(decay):
        return ascent  # XLA may not drop 0 * w (w may be infinite), which would cost a pass over w
    if mask is not None:
        needs_leaves(params, "A mask of weight decay")
    chosen = True if mask is None else mask(params) if callable(mask) else mask
    share = rate * decay
    inward = lambda a, w: jnp.where(jnp.real(jnp.conj(a) * w) >= 0, w, 0) if cautious else w
    add = lambda a, w, chosen: a + share * inward(a, w) if chosen else a
    return jax.tree.map(add, ascent, params, jax.tree.broadcast(chosen, params))


def decoupled(
    ascent: Optimizer,
    name: str,
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule,
    mask: Mask,
    *,
    cautious: bool = False,
) -> Optimizer:
    """Step by w <- w - learning_rate * (a + weight_decay * w), where `ascent` gives a; its state has the count `t`.

    With `cautious`, only some elements decay: see `decayed`.
    """

    def update(grads, state, params=None):
        needs_params(params, name, "decays")
        a, new_state = ascent.update(grads, state, params)
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        return jax.tree.map(lambda a: -rate * a, decayed(a, params, decay, mask, cautious=cautious)), new_state

    return optimizer(ascent.init, update)
