"""What does a run folder cost? Run: python benchmarks/checkpoint.py

Adam on the digits network, 256 trials, with and without `out=`, in turns, warm; for sweeps of some seconds and of half
a minute, of small networks and of larger ones. A run folder costs a fixed time (making it, the final write) and, while
the sweep runs, a share of the time, which is bounded.
"""

import argparse
import tempfile
import time

import _timing
import numpy as np
from _compare import ranged, spread
from _handwritten import digits

import jaxopt_lab as jl


def sweep(width: int, steps: int, out: str | None = None) -> jl.Results:
    rates = np.geomspace(1e-4, 1e-1, 256)
    return jl.sweep(jl.adam, digits(width), {"learning_rate": rates}, steps=steps, out=out)


def measure(width: int, steps: int, repeats: int) -> dict:
    """Seconds of both, and what the folder adds, as a share."""
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    sweep(width, steps=min(steps, 200))
    for _ in range(repeats):
        seconds["without"].append(_timing.once(lambda: sweep(width, steps)))
        with tempfile.TemporaryDirectory(prefix="jaxopt_lab-") as folder:
            began = time.perf_counter()
            sweep(width, steps, f"{folder}/run")
            seconds["with"].append(time.perf_counter() - began)
    pairs = list(zip(seconds["without"], seconds["with"], strict=True))
    return {
        "width": width,
        "steps": steps,
        "seconds": {name: spread(values) for name, values in seconds.items()},
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
        print(f"width {width}, {steps} steps: {took:.1f} s without, {added} of it more with a folder", flush=True)
        _timing.save("checkpoint", rows)


if __name__ == "__main__":
    main()
