"""JAX's settings that figures depend on: one list for caches, threads, other processes and run folders."""

import enum
from typing import Any

import jax

# Programs, traced steps and measurements are remembered by these. JAX keeps most of them by thread.
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
# Those that change figures though the traced program stays the same, or that change all of it: a run is of them.
FIGURES = (
    "jax_default_matmul_precision",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_softmax_custom_jvp",
)


def settings() -> tuple[Any, ...]:
    """The values of `SETTINGS` in this thread, as a key for caches; None for one that this JAX does not have."""
    return tuple(getattr(jax.config, name, None) for name in SETTINGS)


def by_name() -> dict[str, Any]:
    """The values of `SETTINGS` in this thread, by name, for `jax.config.update` in another process."""
    return {name: getattr(jax.config, name) for name in SETTINGS if hasattr(jax.config, name)}


def described() -> dict[str, Any]:
    """The values of `FIGURES` in this thread, as plain values."""
    values = ((name, getattr(jax.config, name, None)) for name in FIGURES)
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values}


def of_this_thread() -> dict[str, Any]:
    """What a new thread does not have of this one's settings: those that JAX keeps by thread, by name."""
    names = (name.removeprefix("jax_") for name in (*SETTINGS, "jax_default_device"))
    return {name: getattr(jax.config, f"jax_{name}") for name in names if hasattr(jax, name)}


def enter(values: dict[str, Any]) -> None:
    """Give the settings of `of_this_thread`, called in another, to this thread for as long as it lives."""
    for name, value in values.items():
        getattr(jax, name)(value).__enter__()
