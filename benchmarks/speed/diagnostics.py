"""What do diagnostics cost? Run: python benchmarks/speed/diagnostics.py

Adam on the digits network, batch 64, float32, 64 trials of 10,000 steps. `jl.sweep` is timed whole, without diagnostics
and with each of them at its default stride, in turns: `ratio` is the factor in time. Aim: at most 1.1, except for the
sharpness, whose cost is that of its products with the Hessian. Checks before the run, which trace each diagnostic, take
some hundredths of a second each: a sweep of half a second (`--steps 2000`) takes 1.36 times as long with all of them.

"all but sharpness, never due" has strides longer than the run: what it costs to ask. A measurement's cost, in steps, is
the added time over the number of measurements and a step's time.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import OURS, Way, compare, ranged, show
from measuring.handwritten import digits

import jaxopt_lab as jl
from jaxopt_lab.diagnostics import NAMES, PRECONDITIONED
from jaxopt_lab.sweep.planning import plan_sweep

SHARP = ("sharpness", PRECONDITIONED)
CHEAP = tuple(name for name in NAMES if name not in SHARP)


def measure(trials: int, width: int, steps: int, seeds: int, repeats: int) -> dict[str, Any]:
    """Rates of sweeps with and without diagnostics, and what a measurement costs in steps."""
    task = digits(width)
    space = {"learning_rate": np.geomspace(1e-4, 1e-1, trials // seeds).astype("float32")}
    what = {"steps": steps, "seeds": seeds, "strategy": "scan"}
    asked: dict[str, Any] = {OURS: None, **{name: [name] for name in (*CHEAP, *SHARP)}}
    asked |= {"all but sharpness": CHEAP}
    asked |= {"all but sharpness, never due": {n: None if n == "learning_rate" else 2**30 for n in CHEAP}}
    sweep = lambda which: jl.sweep(jl.adam, task, space, diagnostics=which, **what) and None
    runs = {name: Way(lambda which=which: sweep(which), trials * steps) for name, which in asked.items()}
    row: dict[str, Any] = {"trials": trials, "width": width, "steps": steps, "seeds": seeds} | compare(runs, repeats)
    row["stride"] = {x.name: x.stride for x in plan_sweep(jl.adam, task, space, diagnostics=NAMES, **what).diagnostics}
    factor = {name: way["ratio"]["median"] for name, way in row["ways"].items()}
    row["steps_per_measurement"] = {
        name: round((factor[name] - 1) * steps / math.ceil(steps / stride), 2) for name, stride in row["stride"].items()
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    row = measure(**vars(options))
    show(f"{row['trials']} trials x {row['steps']} steps", row)
    for name, way in row["ways"].items():
        print(f"{name}: {ranged(way['ratio'], '.3f')} times the time of a sweep without")
    print("strides:", row["stride"])
    print("a measurement, in steps:", row["steps_per_measurement"])
    print(timing.save("diagnostics", row))


if __name__ == "__main__":
    main()
