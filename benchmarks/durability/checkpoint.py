"""What does a run folder cost? Run: python benchmarks/durability/checkpoint.py

Adam on the digits network, 256 trials, with and without `out=`, in turns, warm; for sweeps of some seconds and of half
a minute, of small networks and of larger ones. A run folder costs a fixed time (making it, the final write) and, while
the sweep runs, a share of the time, which is bounded. On a noisy machine the difference of two clocks says little: the
processor's seconds are told as well, and those that went into saving and showing, as the folder itself counts them.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import ranged, spread
from measuring.handwritten import digits

import jaxopt_lab as jl
from jaxopt_lab.store.budget import Budget


def sweep(width: int, steps: int, out: str | None = None) -> jl.Results:
    rates = np.geomspace(1e-4, 1e-1, 256)
    return jl.sweep(jl.adam, digits(width), {"learning_rate": rates}, steps=steps, out=out)


@contextlib.contextmanager
def counted() -> Iterator[list[float]]:
    """Count the seconds of all work of run folders, while sweeps run and at their end."""
    spent: list[float] = []
    spending = Budget.spending

    @contextlib.contextmanager
    def counting(self: Budget) -> Iterator[None]:
        began = time.perf_counter()
        with spending(self):
            yield
        spent.append(time.perf_counter() - began)

    Budget.spending = counting
    try:
        yield spent
    finally:
        Budget.spending = spending


def measure(width: int, steps: int, repeats: int) -> dict:
    """Seconds of both, and what the folder adds, as a share."""
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    processor: dict[str, list[float]] = {"without": [], "with": []}
    saving = []

    def timed(name: str, out: str | None = None) -> None:
        began, worked = time.perf_counter(), time.process_time()
        sweep(width, steps, out)
        seconds[name].append(time.perf_counter() - began)
        processor[name].append(time.process_time() - worked)

    sweep(width, steps=min(steps, 200))
    for _ in range(repeats):
        timed("without")
        with tempfile.TemporaryDirectory(prefix="jaxopt_lab-") as folder, counted() as spent:
            timed("with", f"{folder}/run")
        saving.append(sum(spent) / seconds["with"][-1])
    pairs = list(zip(seconds["without"], seconds["with"], strict=True))
    return {
        "width": width,
        "steps": steps,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "processor_seconds": {name: spread(values) for name, values in processor.items()},
        "saving_share": spread(saving),
        "added_processor_share": spread(b / a - 1 for a, b in zip(*processor.values(), strict=True)),
        "added_seconds": spread(b - a for a, b in pairs),
        "added_share": spread(b / a - 1 for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for width, steps in ((32, 1000), (32, 10_000), (256, 1000)):
        rows.append(measure(width, steps, options.repeats))
        row = rows[-1]
        took, added = row["seconds"]["without"]["median"], ranged(row["added_share"], ".3f")
        saving, worked = ranged(row["saving_share"], ".4f"), ranged(row["added_processor_share"], ".3f")
        print(f"width {width}, {steps} steps: {took:.1f} s without; with a folder {added} of it more, {worked} of the")
        print(f"    processor's time; {saving} of the time went into saving and showing", flush=True)
        timing.save("checkpoint", rows)


if __name__ == "__main__":
    main()
