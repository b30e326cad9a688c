"""Three problems on which methods are compared: gradients by `jax.grad`, no random number anywhere.

Every one has the top level `{"weights": ..., "biases": ...}`, so that one prefix masks or partitions them all.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.optimizers.wrappers.flat import Flat, flat
from jaxopt_lab.types import random_key


class Problem(NamedTuple):
    start: Callable[[], Any]  # the first parameters, in JAX's present default precision
    loss: Callable[[Any], Any]

    def gradient(self, params):
        return jax.grad(self.loss)(params)

    def extras(self, value, t):
        """Return the extra arguments that the training loop passes to an optimizer at step t."""
        return {"value": value, "value_fn": self.loss, "key": jax.random.fold_in(random_key(5), t)}


def wave(*shape, phase=0.0, amplitude=1.0):
    """Return amplitude * sin(phase + 1, phase + 2, ...) in this shape, as a constant of the program."""
    return jnp.asarray(amplitude * np.sin(phase + np.arange(1, math.prod(shape) + 1)).reshape(shape), float)


def _quadratic_start():
    return {"weights": wave(7, phase=0.3) + 1.5, "biases": wave(3, phase=0.8) - 1.2}


def _quadratic_loss(params):
    """w' Q w / 2: curvatures from 4e-4 to 4 (condition number 1e4), turned by a Householder reflection."""
    w = jnp.concatenate([params["weights"], params["biases"]])
    normal, curvatures = wave(10, phase=0.1), jnp.asarray(4.0 * 10.0 ** -np.linspace(0.0, 4.0, 10), float)
    turned = w - 2 * normal * jnp.vdot(normal, w) / jnp.vdot(normal, normal)
    return jnp.sum(curvatures * turned**2) / 2


def _mlp_start():
    return {
        "weights": [wave(4, 6, phase=0.5, amplitude=0.5), wave(6, 3, phase=2.5, amplitude=0.5)],
        "biases": wave(6, phase=1.0, amplitude=0.1),
    }


def _mlp_loss(params):
    """Mean squared error of a 4-6-3 tanh network on 10 examples."""
    x, y = wave(10, 4, phase=0.2), wave(10, 3, phase=1.7)
    first, second = params["weights"]
    return jnp.mean((jnp.tanh(x @ first + params["biases"][None, :]) @ second - y) ** 2)


def _mixed_start():
    return {
        "weights": {"matrix": wave(3, 4, phase=0.4), "kernel": wave(2, 3, 2, 2, phase=1.4)},
        "biases": {"scalar": jnp.asarray(0.7, float), "vector": wave(5, phase=2.4), "nothing": {}},
    }


def _mixed_loss(params):
    """Log-cosh wells of several curvatures, coupled; the vector's last two elements have no gradient."""
    weights, biases = params["weights"], params["biases"]
    used = (weights["matrix"], weights["kernel"], biases["scalar"], biases["vector"][:3])
    wells = sum((i + 1) * jnp.mean(jnp.log(jnp.cosh(w - 0.3))) for i, w in enumerate(used))
    return wells + (sum(jnp.mean(w) for w in used) - 1) ** 2 / 4


def _together_start():
    starts = {"quadratic": _quadratic_start(), "mlp": _mlp_start(), "mixed": _mixed_start()}
    return {part: {name: start[part] for name, start in starts.items()} for part in ("weights", "biases")}


def _together_loss(params):
    """The sum of all three, on parameters of their own."""
    losses = {"quadratic": _quadratic_loss, "mlp": _mlp_loss, "mixed": _mixed_loss}
    return sum(loss({part: params[part][name] for part in params}) for name, loss in losses.items())


TOGETHER = Problem(_together_start, _together_loss)
"""All three at once: they show as much of a method as three walks, but only one is compiled."""

HELD_FLAT = Problem(
    lambda: {part: flat(tree) for part, tree in TOGETHER.start().items()},
    lambda params: TOGETHER.loss({part: held.tree for part, held in params.items()}),
)
"""The same with all weights in one vector, and all biases: for elementwise methods it compiles in half the time."""


def tensors(params):
    """Return all tensors in order, also those of parameters held flat."""
    is_flat = lambda x: isinstance(x, Flat)
    return jax.tree.leaves(jax.tree.map(lambda x: x.tree if is_flat(x) else x, params, is_leaf=is_flat))


PROBLEMS = {
    "quadratic": Problem(_quadratic_start, _quadratic_loss),
    "mlp": Problem(_mlp_start, _mlp_loss),
    "mixed": Problem(_mixed_start, _mixed_loss),
}
