"""Devices: which ones run programs, how many chunks at once, and how much memory is free."""

import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

FREE_SHARE = {"cpu": 0.5, "accelerator": 0.8}  # the default memory budget, as a share of free memory
GPUS = ("gpu", "cuda", "rocm")  # JAX's names for their platform
SMALL_BYTES = 2**20  # smaller arrays are not worth pinned memory
ASSUMED_FREE_BYTES = 2**32  # where the platform does not say


def devices() -> tuple[Any, ...]:
    """Return the devices that share a chunk's trials: all local ones, or the one that `jax.default_device` names."""
    named: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if named is None:
        return tuple(jax.local_devices())
    return (jax.local_devices(backend=named)[0] if isinstance(named, str) else named,)


def on_cores(used: tuple[Any, ...]) -> bool:
    """Return whether chunks run in parallel on the cores of one CPU device, so that small chunks, in cache, pay."""
    return len(used) == 1 and used[0].platform == "cpu"


def thread_count(used: tuple[Any, ...]) -> int:
    """Return how many chunks run at once: one per core; two on accelerators, which compute while the host reads."""
    if not on_cores(used):
        return 2
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_name(used: tuple[Any, ...]) -> str:
    """Return the devices' name in results and plans, for example "2 x gpu: NVIDIA H100 80GB HBM3", or "cpu"."""
    platform, kind = used[0].platform, used[0].device_kind
    name = platform if platform == kind else f"{platform}: {kind}"
    return name if len(used) == 1 else f"{len(used)} x {name}"


def on_devices(tree: Any) -> Any:
    """Copy arrays to every device."""
    used = devices()
    if len(used) == 1:
        return jax.device_put(tree)
    return jax.device_put(tree, NamedSharding(Mesh(np.asarray(used), ("trials",)), PartitionSpec()))


def on_host(tree: Any) -> Any:
    """Move arrays to where the host reads them: from an accelerator to pinned memory, which is many times faster."""
    if devices()[0].platform == "cpu":
        return tree
    pinned = lambda x: jax.device_put(x, x.sharding.with_memory_kind("pinned_host"))
    return jax.tree.map(lambda x: sent_to_host(x) if x.nbytes < SMALL_BYTES else pinned(x), tree)


def sent_to_host(tree: Any) -> Any:
    """Return the arrays, and have an accelerator copy them to the host as soon as they are computed."""
    if devices()[0].platform != "cpu":
        for x in jax.tree.leaves(tree):
            x.copy_to_host_async()
    return tree


def free_bytes(used: tuple[Any, ...]) -> int:
    """Return the free memory: of all accelerators together, or of the host within its control group's limit."""
    stats = [device.memory_stats() for device in used]
    if all(s and "bytes_limit" in s for s in stats):
        return sum(s["bytes_limit"] - s["bytes_in_use"] for s in stats)
    return host_free_bytes()


def default_budget(used: tuple[Any, ...]) -> int:
    """Return a sweep's default memory budget."""
    return int(free_bytes(used) * FREE_SHARE["cpu" if used[0].platform == "cpu" else "accelerator"])


def host_free_bytes() -> int:
    """Return the free memory of the host, within its control group's limit."""
    return int(min(_machine_free_bytes(), _control_group_free_bytes()))


def _machine_free_bytes() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # neither Linux nor POSIX
        return ASSUMED_FREE_BYTES


def _control_group_free_bytes() -> float:
    """Return the memory that a container may still take; tries version 2 of Linux's control groups, then version 1."""
    root = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return max(0, int((root / limit).read_text()) - int((root / used).read_text()))
        except (OSError, ValueError):  # no such group, or no limit ("max")
            continue
    return math.inf
