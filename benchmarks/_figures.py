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
    """The script of a benchmark and the machine of its figures, in a line."""
    (script,) = (path.relative_to(HERE).as_posix() for path in HERE.glob(f"*/{name}.py"))
    files = [f"{name}-cpu"] if name != "gpu" else ["gpu-mlp-gpu"]
    machine = json.loads((HERE / "results" / f"{files[0]}.json").read_text())["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    device = machine["device"].removeprefix("gpu: ").replace("cpu: cpu", "CPU")
    python, commit = machine["python"], machine["commit"]
    return f"[{script}]({script}); {device}, {machine['cores']} cores, Python {python}, {versions}; commit {commit}"


def across(values: Iterable[float]) -> str:
    """Median, least and most."""
    values = sorted(values)
    return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"
