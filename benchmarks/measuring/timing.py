"""Timing for all benchmarks: warm, until the computation is done, in turns with peers; median and spread, as JSON."""

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("jax", "jaxlib", "optax", "numpy")


def once(function: Callable[[], Any]) -> float:
    """Measure the seconds of one call, until its result is computed."""
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began


def interleaved(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Time functions in turns, so that a slow minute of the machine slows all of them.

    Returns:
        By name: `first` (which compiles), and the `median`, `least` and `most` seconds of the warm calls.

    """
    first = {name: once(function) for name, function in functions.items()}
    warm: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            warm[name].append(once(function))
    return {
        name: {"first": first[name], "median": statistics.median(s), "least": min(s), "most": max(s)}
        for name, s in warm.items()
    }


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that figures are from."""
    device = jax.devices()[0]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": commit.strip(),
    }


def save(name: str, figures: Any) -> Path:
    """Write a benchmark's figures with the machine's description, by device: results/NAME-cpu.json, NAME-gpu.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{jax.default_backend()}.json"
    text = json.dumps({"machine": machine(), "figures": figures}, indent=1)
    numbers = r"[\[{](\s+(?:\"\w+\": )?[-\w.]+,?)+\s+[\]}]"  # a line each would bury what they belong to
    path.write_text(re.sub(numbers, lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n")
    return path
