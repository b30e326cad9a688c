"""The types that every room shares."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import optax

Params: TypeAlias = Any
"""Any pytree of floating-point arrays."""

Batch: TypeAlias = Any
"""Any pytree of arrays with a leading example axis, or None for a deterministic objective."""

Scalar: TypeAlias = float | jax.Array
"""A Python number or a 0-d array, concrete or traced."""

Schedule: TypeAlias = Callable[[Any], Any]
"""steps taken so far (from 0) -> value; every Optax schedule is one."""

ScalarOrSchedule: TypeAlias = Scalar | Schedule

Key: TypeAlias = jax.Array
"""A JAX random key, as `jax.random.key` makes it."""

Optimizer: TypeAlias = optax.GradientTransformation
"""`init(params) -> state` and `update(grads, state, params) -> (updates, state)`; updates are added to params."""

OptimizerFactory: TypeAlias = Callable[..., optax.GradientTransformation]
"""Hyperparameters -> `Optimizer`."""
