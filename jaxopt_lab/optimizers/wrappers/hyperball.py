"""Hyperball: each matrix stays on a sphere, on which every step goes equally far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import needs_params, next_step, step_count, value_at
from jaxopt_lab.optimizers._base import optimizer as pair
from jaxopt_lab.optimizers._decay import Mask
from jaxopt_lab.optimizers._numerics import squared, widened
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, ScalarOrSchedule

LEAST = 1e-10  # the smallest norm that is divided by


class HyperballState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far, if the learning rate is a schedule
    radius: Params | None  # of each tensor, if it is fixed
    inner: Any  # the optimizer's state


def hyperball(
    optimizer: Optimizer, learning_rate: ScalarOrSchedule, *, mask: Mask = None, fixed_radius: bool = False
) -> Optimizer:
    """Hyperball around any optimizer (Wen et al. 2026, https://arxiv.org/abs/2606.16899).

        u <- update(g, w)
        r <- |w|                                            |w|: the Frobenius norm of the whole tensor
        n <- w + learning_rate r u / |u|
        w <- r n / |n|

    for the parameters on a sphere: by default those with two axes or more. All others take the optimizer's own steps.
    The length of u, and with it the optimizer's learning rate, has no effect on a sphere; the angle of every step is
    about `learning_rate`. It replaces weight decay, so the optimizer has none for these parameters:

        def method(learning_rate, adam_learning_rate):
            return jl.hyperball(jl.adam(adam_learning_rate), learning_rate)

    A tensor that starts at 0 stays there: leave it out by `mask`. The paper fixes r as the norm at the start. The
    authors' code measures it in every step, which is the same except for rounding.

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. In a chain, `hyperball`
            is around the whole of it, since it makes the final updates, but within `master_weights`.
        learning_rate: Length of a step on a sphere, as a share of its radius, > 0; scalar, traced or a schedule
            `step -> value`.
        mask: Which parameters are on a sphere: a tree of bools with the parameters' structure (or a prefix of it), or
            a function from the parameters to one; None takes those with two axes or more.
        fixed_radius: Whether the radius is the norm of the initial parameters, kept in the state, instead of the norm
            before the step; it then cannot drift by the rounding of low-precision parameters.

    Returns:
        The (init, update) pair.

    Raises:
        ValueError: `update` was called without the parameters, or they are held flat.

    """

    def on_spheres(params):
        chosen = jax.tree.map(lambda w: jnp.ndim(w) > 1, params) if mask is None else mask
        return jax.tree.broadcast(chosen(params) if callable(chosen) else chosen, params)

    def init(params: Params) -> HyperballState:
        needs_leaves(params, "hyperball")
        radius = jax.tree.map(lambda w: _norm(widened(w)), params) if fixed_radius else None
        return HyperballState(step_count(learning_rate), radius, optimizer.init(params))

    def update(grads, state, params=None, **extra):
        needs_params(params, "hyperball", "moves")
        updates, inner = optimizer.update(grads, state.inner, params, **accepted(optimizer.update, extra))
        rate = value_at(learning_rate, state.t)

        def moved(chosen, w, u, radius=None):
            if not chosen:
                return u
            r = _norm(w) if radius is None else radius
            n = w + rate * r * (u / jnp.maximum(_norm(u), LEAST))
            return r * (n / jnp.maximum(_norm(n), LEAST)) - w

        radii = () if state.radius is None else (state.radius,)
        updates = jax.tree.map(moved, on_spheres(params), params, updates, *radii)
        return updates, HyperballState(next_step(state.t), state.radius, inner)

    return pair(init, update)


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(squared(x)))
