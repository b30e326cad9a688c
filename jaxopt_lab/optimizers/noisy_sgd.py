"""Gradient descent with Gaussian noise of decreasing variance added to the gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt

from jaxopt_lab.optimizers._base import first_key, method, next_key, next_step, optimizer, value_at
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class NoisySGDState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    key: UInt[Array, " words"]  # for the next step without a key


@method(
    learning_rate=Prior(1e-4, 1e0, "log", "as gradient descent's"),
    eta=Prior(1e-2, 1e0, "log", "Neelakantan et al. 2015: 0.01, 0.3 and 1, https://arxiv.org/abs/1511.06807"),
)
def noisy_sgd(learning_rate: ScalarOrSchedule, eta: Scalar = 0.01, gamma: Scalar = 0.55, *, seed: int = 0) -> Optimizer:
    """Annealed gradient noise (Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807).

        w <- w - learning_rate * (g + sqrt(eta / (1 + t)^gamma) * n)      n: standard normal; t: steps taken before

    If the loop passes `key`, a fresh random key for every step, as a sweep does, the trajectory is a pure function of
    the loop's seed. Otherwise the method draws with a key in its state, and gets the same numbers as Optax's.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        eta: Variance of the noise at the first step, >= 0, in units of g^2.
        gamma: Power at which the variance decreases, >= 0.
        seed: Seed of the key in the state, which is used if `update` is not given a key.

    Returns:
        The (init, update) pair; `update` takes `key`, a random key of this step.

    """

    def init(params: Params) -> NoisySGDState:
        return NoisySGDState(jnp.zeros([], jnp.int32), first_key(seed))

    def update(grads, state, params=None, *, key=None):
        own = state.key
        if key is None:
            own, key = next_key(own)
        rate = value_at(learning_rate, state.t)
        deviation = jnp.sqrt(eta / (1 + state.t) ** gamma)
        leaves, tree = jax.tree.flatten(grads)
        keys = jax.tree.unflatten(tree, jax.random.split(key, len(leaves)))
        noisy = lambda g, key: g + deviation * jax.random.normal(key, g.shape, g.dtype)
        return jax.tree.map(lambda g, key: -rate * noisy(g, key), grads, keys), NoisySGDState(next_step(state.t), own)

    return optimizer(init, update)
