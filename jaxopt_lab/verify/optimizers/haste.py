"""Programs that run for milliseconds and would compile for seconds: compiled in haste, and side by side."""

import functools
import threading
from typing import Any

import jax

from jaxopt_lab.engine.compile.options import accepted

TRACING = threading.Lock()
"""Held while a program is traced: some twins patch Optax while they are, and JAX's traces share a lock of Python's."""

HASTE = (
    {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_parallel_codegen_split_count": 1,
        "xla_cpu_use_fusion_emitters": False,
    },
    # Without its older emitters, as in JAX 0.12, XLA at level 0 takes some float64 as float32.
    {"xla_llvm_disable_expensive_passes": True, "xla_cpu_parallel_codegen_split_count": 1},
    {},
)
"""What XLA need not do for a program that runs once, by what it knows: the first makes 0.4 s of a compile of 2.5 s."""


@functools.cache
def _known() -> dict[str, Any]:
    return next(options for options in HASTE if accepted(options))


def compiled(lowered: jax.stages.Lowered) -> Any:
    """The lowered program, ready to be called."""
    return lowered.compile(_known())
