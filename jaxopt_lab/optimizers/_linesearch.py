"""Two line searches along a direction, from the loss and its slope at the start."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

C1 = 1e-4  # share of the decrease predicted by the slope that a step must achieve (Nocedal & Wright 2006, Section 3.1)
C2 = 0.9  # largest slope at the end of the step, as a share of the slope at its start
TRIES = 30


def backtracking(along: Callable[[Array], Array], value: Float[Array, ""], slope: Array) -> Array:
    """Return the first of 1, 1/2, 1/4, ... with sufficient decrease (Armijo 1966), or 0 if none of the tries has it."""
    enough = lambda a: along(a) <= value + C1 * a * slope  # False for NaN
    more = lambda carry: ~carry[1] & (carry[2] < TRIES)

    def turn(carry):
        a, _, tries = carry
        return a / 2, enough(a / 2), tries + 1

    one = jnp.ones([], value.dtype)
    a, done, _ = jax.lax.while_loop(more, turn, (one, enough(one), 1))
    return jnp.where(done, a, 0)


def wolfe(along: Callable[[Array], Array], value: Float[Array, ""], slope: Array) -> Array:
    """Find a step that meets the weak Wolfe conditions, by doubling and bisection.

    Lewis & Overton 2013, Algorithm 2.6, https://doi.org/10.1007/s10107-012-0514-2. If no try meets both, return the
    longest one with sufficient decrease, or 0.
    """

    def turn(carry):
        a, low, high, _, tries = carry
        end, end_slope = jax.jvp(along, (a,), (jnp.ones_like(a),))
        too_far = ~(end <= value + C1 * a * slope)  # True for NaN
        too_near = ~too_far & (end_slope < C2 * slope)
        low, high = jnp.where(too_far, low, a), jnp.where(too_far, a, high)
        following = jnp.where(high < jnp.inf, (low + high) / 2, 2 * a)
        return following, low, high, ~(too_far | too_near), tries + 1

    zero = jnp.zeros([], value.dtype)
    start = (zero + 1, zero, zero + jnp.inf, jnp.asarray(False), 0)
    return jax.lax.while_loop(lambda carry: ~carry[3] & (carry[4] < TRIES), turn, start)[1]
