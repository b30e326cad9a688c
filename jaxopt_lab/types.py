"""The types that every room shares."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import optax

Params: TypeAlias = Any
"""Any pytree of floating-point arrays."""

Batch: TypeAlias = Any
"""Any pytree of arrays with a leading example axis, or None for a deterministic objective."""

Scalar: TypeAlias = float | jax.Array
"""A Python number or a 0-d array, concrete or traced."""

Schedule: TypeAlias = Callable[[Any], Any]
"""Steps taken so far (from 0) -> value; every Optax schedule is one."""

ScalarOrSchedule: TypeAlias = Scalar | Schedule

Key: TypeAlias = jax.Array
"""A JAX random key, as `random_key` makes it."""

PRNG = "threefry2x32"
"""JAX's name for the generator of all random numbers in this package."""

Optimizer: TypeAlias = optax.GradientTransformation
"""`init(params) -> state` and `update(grads, state, params) -> (updates, state)`; updates are added to params."""

ExtraArgsOptimizer: TypeAlias = optax.GradientTransformationExtraArgs
"""An `Optimizer` whose `update` takes further keyword arguments, and ignores those that it does not need."""

MaskedNode: TypeAlias = optax.MaskedNode
"""What `optax.masked` puts in place of parameters that a method does not train."""

OptimizerFactory: TypeAlias = Callable[..., optax.GradientTransformation]
"""Hyperparameters -> `Optimizer`."""


class Prior(NamedTuple):
    """The range in which a hyperparameter is worth searching.

    Attributes:
        low, high: The range, both ends included.
        spacing: "log", "linear" or "one_minus" (1 - value is log-uniform, which suits decay rates near 1).
        source: The reference that searched this range, or the reason for it.

    """

    low: float
    high: float
    spacing: str
    source: str


def random_key(seed: Any) -> Key:
    """Make a random key.

    The key names its generator. With JAX's default generator, which a user may change, numbers might depend on how
    trials are batched (as those of "rbg" do), and a seed could mean different numbers in different processes.

    Args:
        seed: An integer, or a traced one.

    """
    return jax.random.key(seed, impl=PRNG)
