"""Options that XLA needs for a training step, or a loop of them, since it does not choose them itself."""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.engine.devices import GPUS


def compiler_options(platform: str | None = None) -> dict[str, Any]:
    """Return XLA's options for a training step, or a loop of them: sweeps are compiled with these.

        step = jax.jit(step, donate_argnums=(0, 1), compiler_options=jl.compiler_options())

    On a CPU: state that is read while its new value is computed (the means of Lion, ADOPT and Adan) is overwritten in
    place, where XLA would first copy it. With 3.2 10^7 parameters, a step of Lion or ADOPT then takes less than half
    the time.

    On a GPU: double buffering, which runs two iterations of a loop without a copy of the state between them (a tenth
    less time on an H100 for up to 256 small networks, where kernel launches dominate; no difference for many), and
    independent kernels in parallel (a quarter less time for 16 small networks, a twentieth for 256).

    Args:
        platform: The platform: "cpu", "gpu", ...; None is JAX's default backend.

    Returns:
        Names and values for `jax.jit(..., compiler_options=)` or `Lowered.compile`: those that this version of XLA
        supports; empty for a platform that needs none.

    """
    return dict(_known(jax.default_backend() if platform is None else platform))


@functools.cache
def _known(platform: str) -> dict[str, Any]:
    wanted = {"xla_cpu_copy_insertion_use_region_analysis": True} if platform == "cpu" else {}
    if platform in GPUS:
        wanted = {
            "xla_gpu_enable_while_loop_double_buffering": True,
            "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
        }
    return {name: value for name, value in wanted.items() if accepted({name: value})}


@functools.cache
def one_core_options() -> dict[str, Any]:
    """Return options that keep a program on one core, since the other cores run their own chunks.

    XLA's other library for products, YNN, stays on: without it, a convolution takes a quarter longer.
    """
    options = {"xla_cpu_multi_thread_eigen": False}
    return options if accepted(options) else {}


@functools.cache
def seldom_options(platform: str, once: bool = False) -> dict[str, Any]:
    """Return options for programs that run seldom: the start of trials, and the draws of a segment's batches.

    On a CPU, LLVM takes 1.1 s to optimise random numbers in an array of 64 x 10, and 14 s for those of a small
    convolutional network with 4 seeds. At its first level that is .6 s, the program is as fast, and every bit is equal.
    Without XLA's emitters of fused loops, compiling takes half of that, and the bits stay the same; but draws then
    run four times as long, so this is only for what runs once in a trial. Options that `XLA_FLAGS` names stay as set.

    Args:
        platform: The platform: "cpu", "gpu", ...
        once: Whether the program runs only once in a trial, at its start.

    """
    if platform != "cpu":
        return {}
    named = os.environ.get("XLA_FLAGS", "")
    wanted = {"xla_backend_optimization_level": 1} | ({"xla_cpu_use_fusion_emitters": False} if once else {})
    return {name: value for name, value in wanted.items() if name not in named and accepted({name: value})}


@functools.cache
def foreseeable_options() -> dict[str, Any]:
    """Return options that turn off YNN on a CPU, whose memory XLA's analysis does not count: for convolutions.

    Without it they take half the memory and, in a forward pass, no more time.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    return options if accepted(options) else {}


def accepted(options: dict[str, Any]) -> bool:
    """Return whether this version of XLA supports these options."""
    try:
        jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), jnp.float32)).compile(options)
    except jax.errors.JaxRuntimeError:
        return False
    return True
