"""Compile programs quickly, with few optimisations, since they run only for milliseconds."""

import functools
import threading
from typing import Any

import jax

from jaxopt_lab.engine.compile.options import accepted

TRACING = threading.Lock()
"""Held while a program is traced: some twins patch Optax meanwhile, and Python's own lock serialises tracing anyway."""

HASTE = (
    {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_parallel_codegen_split_count": 1,
        "xla_cpu_use_fusion_emitters": False,
    },
    # Without its older emitters, as in JAX 0.12, XLA at level 0 treats some float64 as float32.
    {"xla_llvm_disable_expensive_passes": True, "xla_cpu_parallel_codegen_split_count": 1},
    {},
)
"""What XLA may skip for a program that runs once: the first set that it knows cuts a compile from 2.5 s to 0.4 s."""


@functools.cache
def _known() -> dict[str, Any]:
    return next(options for options in HASTE if accepted(options))


def compiled(lowered: jax.stages.Lowered) -> Any:
    """Compile the lowered program."""
    return lowered.compile(_known())
