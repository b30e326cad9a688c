"""Master weights: train low-precision parameters through a high-precision copy."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import needs_params
from jaxopt_lab.optimizers._numerics import needs_numbers, state_dtype
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import ExtraArgsOptimizer, Optimizer, Params


class MasterWeightsState(NamedTuple):
    master: Params  # the parameters in full precision
    inner: Any  # the optimizer's state, made for them


def master_weights(optimizer: Optimizer, *, dtype: Any = "float32") -> Optimizer:
    """Mixed precision (Micikevicius et al. 2018, Section 3.1, https://arxiv.org/abs/1710.03740), around any optimizer.

        master <- master + update(g, master)       g: the gradient at w, in full precision
        w      <- master, rounded to the dtype of w

    A step smaller than half of w's last bit would be lost in w, but adds up in `master`. The optimizer sees parameters
    and gradients of `dtype`, so its moments have this precision too.

    Args:
        optimizer: The (init, update) pair to train `master` by.
        dtype: Dtype of `master`, wider than the parameters'; for complex ones, that of their real and imaginary parts.

    Returns:
        The (init, update) pair. Its updates are of `dtype`: `optax.apply_updates` adds them to w, which gives `master`,
            rounded. In a chain it must be the last.

    Raises:
        ValueError: `update` was called without the parameters.

    """
    widen = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, state_dtype(jnp.result_type(x), dtype)), tree)

    def init(params: Params) -> MasterWeightsState:
        needs_numbers(params)  # before they are others
        master = widen(params)
        return MasterWeightsState(master, optimizer.init(master))

    def update(grads, state, params=None, **extra):
        needs_params(params, "master_weights", "rounds to")
        extra = accepted(optimizer.update, extra)
        updates, inner = optimizer.update(widen(grads), state.inner, state.master, **extra)
        master = jax.tree.map(jnp.add, state.master, updates)
        return jax.tree.map(lambda m, w: m - w, master, widen(params)), MasterWeightsState(master, inner)

    return ExtraArgsOptimizer(init, cast(Any, update))
