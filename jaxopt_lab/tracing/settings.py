"""JAX's settings that results depend on: one list for caches, threads, other processes and run folders."""

import enum
from typing import Any

import jax

# Programs, traced steps and measurements are cached by these. Most of them are thread-local in JAX.
SETTINGS = (
    "jax_enable_x64",
    "jax_explicit_x64_dtypes",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_custom_prng",
    "jax_legacy_prng_key",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_allow_f16_reductions",
    "jax_softmax_custom_jvp",
    "jax_use_direct_linearize",
    "jax_optimization_level",
)
# Part of a run's identity: those that change results without changing the traced program, or that change all of it.
FIGURES = (
    "jax_default_matmul_precision",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_softmax_custom_jvp",
)


def settings() -> tuple[Any, ...]:
    """Return the values of `SETTINGS` in this thread, as a cache key; None for one that this JAX does not have."""
    return tuple(getattr(jax.config, name, None) for name in SETTINGS)


def by_name() -> dict[str, Any]:
    """Return the values of `SETTINGS` in this thread by name, for `jax.config.update` in another process."""
    return {name: getattr(jax.config, name) for name in SETTINGS if hasattr(jax.config, name)}


def described() -> dict[str, Any]:
    """Return the values of `FIGURES` in this thread, as plain values."""
    values = ((name, getattr(jax.config, name, None)) for name in FIGURES)
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values}


def of_this_thread() -> dict[str, Any]:
    """Return this thread's thread-local settings by name, which a new thread does not inherit."""
    names = (name.removeprefix("jax_") for name in (*SETTINGS, "jax_default_device"))
    return {name: getattr(jax.config, f"jax_{name}") for name in names if hasattr(jax, name)}


def enter(values: dict[str, Any]) -> None:
    """Apply settings that `of_this_thread` returned in another thread to this one, for as long as it lives."""
    for name, value in values.items():
        getattr(jax, name)(value).__enter__()
