"""The committed figures, read for the table of them."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def figures(name: str) -> Any:
    return json.loads((HERE / "results" / f"{name}.json").read_text())["figures"]


def where(name: str) -> str:
    """The machine of a benchmark's figures, in a line."""
    files = [f"{name}-cpu"] if name != "gpu" else ["gpu-mlp-gpu"]
    machine = json.loads((HERE / "results" / f"{files[0]}.json").read_text())["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    device = machine["device"].removeprefix("gpu: ").replace("cpu: cpu", "CPU")
    return f"{device}, {machine['cores']} cores, Python {machine['python']}, {versions}; commit {machine['commit']}"


def across(values: Iterable[float]) -> str:
    """Median, least and most."""
    values = sorted(values)
    return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"
