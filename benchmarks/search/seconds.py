"""How much sooner does a search find as good a configuration? Run: python benchmarks/search/seconds.py

`jl.search` with Optuna's TPE in rounds of a quarter of the budget, against two peers that train trial by trial, in a
Python loop over a jitted step of the same task, as their documentation has it. A configuration is tried with three
seeds, each trained for the steps that are usual for the task. All have the same sampler with the same seed, and so the
same first ten configurations, which it draws at random.

- optuna: a study with Optuna's TPE;
- ray: Ray Tune with its Optuna search, one trial a core, actors reused. Its clock begins with its first trial, when all
  of its actors have started and compiled.

Qualities are what `jl.search` has found after each of its rounds, in the median over repeats. Not every repeat reaches
each, so the time to a quality is the expected running time (Hansen et al. 2009,
https://inria.hal.science/inria-00362649): what all repeats took until they reached it or had spent their budget, over
the number of those that did. Warm: programs are compiled before. `ratio_of_all`: the peer's seconds for its budget over
ours. `ratios`: its expected time to each quality over ours; `ratio`: their geometric mean, of which 20 is the aim, with
a 95 % interval by the bootstrap over repeats (null: no bound, since in some resamples no repeat reaches a quality).
Repeats differ much in how soon they are lucky, so a few of them say little. Curves of the best so far are kept in the
file. It needs the extra `optuna`, and for Ray's rows `ray[tune]`.
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
from _peers import SEEDS, Run, optuna, ray, sampler, task
from _tasks import SPACE
from measuring import timing
from measuring.compare import ranged, spread

import jaxopt_lab as jl

RESAMPLES = 2000
DRAWN = 10  # configurations that Optuna's TPE draws at random first
AGREEMENT = 1e-3  # of the same configuration's losses, relative: float32, summed in other orders
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
    clock, batch = Clock(jl.optuna(sampler(seed))), rounds_of(budget)
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
            check_same(way, runs["ours"][-1], runs[way][-1])
    best = {way: [np.minimum.accumulate(losses) for _, losses in own] for way, own in runs.items()}
    ends = np.arange(rounds_of(budget), budget + 1, rounds_of(budget)) - 1  # the last configuration of each round
    targets = np.median([curve[ends] for curve in best["ours"]], axis=0)
    expected = {way: expected_seconds(own, targets) for way, own in runs.items()}
    draws = np.random.default_rng(0).integers(repeats, size=(RESAMPLES, repeats))  # of repeats, which ran in turn
    found: dict[str, Any] = {"steps": steps, "budget": budget, "targets": targets.tolist(), "ways": {}}
    for way, own in runs.items():
        found["ways"][way] = {
            "reached": int(sum(curve[-1] <= targets[-1] for curve in best[way])),
            "seconds_of_all": spread(seconds[-1] for seconds, _ in own),
            "ratio_of_all": spread(b[0][-1] / a[0][-1] for a, b in zip(runs["ours"], own, strict=True)),
            "expected_seconds": rounded(expected[way]),
            "ratios": rounded(expected[way] / expected["ours"]),
            "ratio": how_much_sooner(runs["ours"], own, targets, draws),
            "curves": [improvements(seconds, curve) for (seconds, _), curve in zip(own, best[way], strict=True)],
        }
    return found


def check_same(way: str, ours: Run, theirs: Run) -> None:
    """Check that the configurations that all ways draw first have the same losses in this one, in whatever order."""
    off = [min(abs(theirs[1] / loss - 1)) for loss in ours[1][:DRAWN] if math.isfinite(loss)]
    if not np.median(off) <= AGREEMENT:  # one alone may be chaotic
        raise AssertionError(f"{way} has other losses for the same configurations, relative differences: {off}")


def how_much_sooner(ours: list[Run], theirs: list[Run], targets: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Return the geometric mean over targets of their expected time over ours, and its interval."""

    def mean(picked: np.ndarray) -> float:
        a, b = (expected_seconds([runs[i] for i in picked], targets) for runs in (ours, theirs))
        known = np.isfinite(a) | np.isfinite(b)  # where neither has reached a target, the ratio is not
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.exp(np.log(b[known] / a[known]).mean())) if known.any() else math.nan

    resampled = np.array([mean(picked) for picked in draws])
    low, high = np.quantile(resampled[~np.isnan(resampled)], [0.025, 0.975], method="inverted_cdf")
    median, low, high = rounded(np.array([mean(np.arange(len(ours))), low, high]))
    return {"median": median, "low": low, "high": high}


def rounds_of(budget: int) -> int:
    """Return how many configurations a round has: a quarter of the budget."""
    return max(1, budget // 4)


def expected_seconds(runs: list[Run], targets: np.ndarray) -> np.ndarray:
    """Return the expected running time to each target; infinity where no run has reached it."""
    found = []
    for target in targets:
        at = [min(seconds[losses <= target], default=math.inf) for seconds, losses in runs]
        spent = sum(min(x, seconds[-1]) for x, (seconds, _) in zip(at, runs, strict=True))
        reached = sum(map(math.isfinite, at))
        found.append(spent / reached if reached else math.inf)
    return np.array(found)


def rounded(values: np.ndarray) -> list[float | None]:
    """Return values in five digits; None for infinity."""
    return [float(f"{x:.5g}") if math.isfinite(x) else None for x in values.tolist()]


def improvements(seconds: np.ndarray, best: np.ndarray) -> list[list[float]]:
    """Return the seconds and the loss wherever the best so far has improved."""
    new = np.flatnonzero(np.diff(best, prepend=np.inf) < 0)
    return [[float(f"{x:.5g}") for x in (seconds[i], best[i])] for i in new]


def shown(*values: float | None) -> str:
    return ", ".join("inf" if x is None else f"{x:.3g}" for x in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TIMED, default=[*TIMED])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="few repeats and a small budget; writes no figures")
    options = parser.parse_args()
    repeats, budget = (2, 8) if options.quick else (options.repeats, options.budget)
    with_ray = importlib.util.find_spec("ray") is not None
    ways: dict[str, Callable[..., Run]] = {"ours": ours, "optuna": optuna} | ({"ray": ray} if with_ray else {})
    figures: dict[str, Any] = {"repeats": repeats, "tasks": {}}
    for name in options.tasks:
        found = figures["tasks"][name] = compared(name, ways, repeats, budget)
        qualities = ", ".join(f"{target:.4g}" for target in found["targets"])
        print(f"{name}, {budget} configurations of {found['steps']} steps; qualities {qualities}:")
        for way, row in found["ways"].items():
            expected, ratios = (shown(*row[key]) for key in ("expected_seconds", "ratios"))
            mean, low, high = map(shown, row["ratio"].values())
            print(
                f"  {way}: {ranged(row['seconds_of_all'], '.2f')} s for the budget, "
                f"{ranged(row['ratio_of_all'], '.1f')} times ours; to the qualities {expected} s, "
                f"{ratios} times ours, in the mean {mean} ({low} to {high}, 95 %); "
                f"the last reached by {row['reached']} of {repeats}",
                flush=True,
            )
    if not options.quick:
        print(timing.save("seconds", figures))


if __name__ == "__main__":
    main()
