"""What does stopping early save? Run: python benchmarks/speed/halving.py

Adam on the digits network (width 32, batch 64), 256 learning rates, successive halving by 4. Warm: the
whole sweep with and without the rule in turns; the saving is compared with the ideal, in which time is proportional to
the steps that trials take. Cold: a fresh process each, nothing cached on disk, in turns.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import ranged, spread
from measuring.handwritten import digits

import jaxopt_lab as jl


def sweep(trials: int, steps: int, halve: bool, first_rung: int) -> jl.Results:
    """The sweep, with the rule or without."""
    rule = jl.halving(4, min_steps=first_rung) if halve else None
    return jl.sweep(jl.adam, digits(32), {"learning_rate": np.geomspace(1e-4, 1e-1, trials)}, steps=steps, stop=rule)


def warm(trials: int, steps: int, first_rung: int, repeats: int) -> dict:
    """Seconds with and without, and the saving as a share of the ideal one."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    share = 1.0
    for turn in range(repeats + 1):
        for halve in seconds:
            results = None

            def run(halve=halve):
                nonlocal results
                results = sweep(trials, steps, halve, first_rung)

            took = timing.once(run)
            if turn:  # the first compiles
                seconds[halve].append(took)
            if halve and results is not None:
                share = float(results.dataset.steps_taken.sum()) / (trials * steps)
    saved = [(full - halved) / (full * (1 - share)) for full, halved in zip(seconds[False], seconds[True], strict=True)]
    return {
        "trials": trials,
        "steps": steps,
        "share_of_steps": round(share, 4),
        "seconds": {"full": spread(seconds[False]), "halved": spread(seconds[True])},
        "saving_over_ideal": spread(saved),
    }


def cold(trials: int, steps: int, first_rung: int, repeats: int) -> dict:
    """Seconds of the sweep in a fresh process, compiling included, imports not."""
    seconds: dict[str, list[float]] = {"full": [], "halved": []}
    environment = os.environ | {"JAXOPT_LAB_CACHE": "off"}
    for _ in range(repeats):
        for name in seconds:
            command = [sys.executable, __file__, "--once", name, *map(str, (trials, steps, first_rung))]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            seconds[name].append(json.loads(done.stdout))
    return {
        "trials": trials,
        "steps": steps,
        "seconds": {name: spread(took) for name, took in seconds.items()},
        "full_over_halved": spread(a / b for a, b in zip(seconds["full"], seconds["halved"], strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--cold-steps", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        name, *numbers = options.once
        trials, steps, first_rung = map(int, numbers)
        print(json.dumps(timing.once(lambda: sweep(trials, steps, name == "halved", first_rung) and None)))
        return
    figures = {"warm": warm(options.trials, options.steps, options.steps // 64, options.repeats), "cold": []}
    print(f"warm, {options.steps} steps: {ranged(figures['warm']['saving_over_ideal'], '.3f')} of the ideal saving")
    for steps in options.cold_steps:
        figures["cold"].append(cold(options.trials, steps, max(1, steps // 64), options.repeats))
        print(f"cold, {steps} steps: {ranged(figures['cold'][-1]['full_over_halved'], '.2f')} times as fast as without")
    print(timing.save("halving", figures))


if __name__ == "__main__":
    main()
