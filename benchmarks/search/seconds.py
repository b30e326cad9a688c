"""How much sooner does a search find as good a configuration? Run: python benchmarks/search/seconds.py

`jl.search` with Optuna's TPE in rounds of an eighth of the budget, against two peers that train trial by trial, in a
Python loop over a jitted step of the same task, as their documentation has it. A configuration is tried with three
seeds, each trained for the steps that are usual for the task.

- optuna: a study with the same sampler;
- ray: Ray Tune with its Optuna search, one trial a core, actors reused. Its clock begins when its first trial has
  ended, which leaves out that its actors start and compile.

The quality is the median of what `jl.search` found with all of its budget; a repeat that has not reached it within the
budget is counted as not reaching it. Warm: programs are compiled before. `ratio_of_all`: the peer's seconds for its
budget over ours; `ratio`: its seconds to the quality over ours, where both reached it; 20 is the aim. It needs the
extra `optuna`, and for Ray's rows `ray[tune]`.
"""

import argparse
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from _peers import SEEDS, Run, optuna, ray, task
from _tasks import SPACE
from measuring import timing
from measuring.compare import ranged, spread

import jaxopt_lab as jl

TIMED = {"breast_cancer": 500, "digits_mlp": 1000}  # with arrays of data; the steps that are usual for each


class Clock(jl.SearchMethod):
    """Another method, with the seconds since it began when each loss was told."""

    def __init__(self, method: jl.SearchMethod):
        self.method, self.seconds, self.losses = method, [], []

    def __deepcopy__(self, memo: Any) -> "Clock":
        return self  # the search's own, which is read afterwards

    def start(self, space: jl.SearchSpace, seed: int) -> None:
        self.began = time.perf_counter()
        self.method.start(space, seed)

    def ask(self, n: int) -> Any:
        return self.method.ask(n)

    def tell(self, configurations: Any, losses: np.ndarray, statuses: Any) -> None:
        self.method.tell(configurations, losses, statuses)
        self.seconds += [time.perf_counter() - self.began] * len(losses)
        self.losses += losses.tolist()


def ours(name: str, steps: int, budget: int, seed: int) -> Run:
    """Search with TPE in rounds."""
    clock, batch = Clock(jl.optuna("tpe", seed=seed)), max(1, budget // 8)
    options: dict[str, Any] = {"steps": steps, "evaluate": steps, "seeds": SEEDS, "key": seed, "keep_top": 0}
    jl.search(jl.adam, task(name), SPACE, method=clock, budget=budget, batch=batch, **options)
    return np.array(clock.seconds), np.array(clock.losses)


def compared(name: str, ways: Mapping[str, Callable[..., Run]], repeats: int, budget: int) -> dict[str, Any]:
    """Return the seconds until each way found what `jl.search` finds in the median."""
    steps = TIMED[name]
    for way, run in ways.items():  # compiles
        run(name, steps, budget if way == "ours" else 2, 0)
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    for seed in range(repeats):
        for way, run in ways.items():
            runs[way].append(run(name, steps, budget, seed))
    target = float(np.median([losses.min() for _, losses in runs["ours"]]))
    reached = {way: [first(*run, target) for run in own] for way, own in runs.items()}
    found: dict[str, Any] = {"steps": steps, "budget": budget, "target": target, "ways": {}}
    for way, own in runs.items():
        took = [seconds for seconds in reached[way] if math.isfinite(seconds)]
        both = [b / a for a, b in zip(reached["ours"], reached[way], strict=True) if math.isfinite(max(a, b))]
        found["ways"][way] = {
            "reached": len(took),
            "seconds_of_all": spread(seconds[-1] for seconds, _ in own),
            "ratio_of_all": spread(b[0][-1] / a[0][-1] for a, b in zip(runs["ours"], own, strict=True)),
            **({"seconds": spread(took)} if took else {}),
            **({"ratio": spread(both)} if both else {}),
        }
    return found


def first(seconds: np.ndarray, losses: np.ndarray, target: float) -> float:
    """Return when the losses first reached the target; infinity where they did not."""
    return float(min(seconds[losses <= target], default=math.inf))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TIMED, default=[*TIMED])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="few repeats and a small budget; writes no figures")
    options = parser.parse_args()
    repeats, budget = (2, 8) if options.quick else (options.repeats, options.budget)
    with_ray = importlib.util.find_spec("ray") is not None
    ways: dict[str, Callable[..., Run]] = {"ours": ours, "optuna": optuna} | ({"ray": ray} if with_ray else {})
    figures: dict[str, Any] = {"repeats": repeats, "tasks": {}}
    for name in options.tasks:
        found = figures["tasks"][name] = compared(name, ways, repeats, budget)
        print(f"{name}, to {found['target']:.4g}, {budget} configurations of {found['steps']} steps:", flush=True)
        for way, row in found["ways"].items():
            sooner = f"; {ranged(row['ratio'], '.1f')} times ours to the same quality" if "ratio" in row else ""
            print(
                f"  {way}: {ranged(row['seconds_of_all'], '.2f')} s for the budget, "
                f"{ranged(row['ratio_of_all'], '.1f')} times ours{sooner}; reached by {row['reached']} of {repeats}"
            )
    if not options.quick:
        print(timing.save("seconds", figures))


if __name__ == "__main__":
    main()
