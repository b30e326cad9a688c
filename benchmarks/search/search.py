"""Does adaptive search pay? Run: python benchmarks/search/search.py

Best found at equal trial-steps: Adam in its prior (four hyperparameters) on six tasks, with one tuning seed. Random
search, Sobol points, TPE, CMA-ES (the two with Optuna, in rounds of an eighth of the largest budget), successive
halving of random draws, as many as take the same trial-steps, and population-based training of random draws, which
finds a schedule. Each is repeated with other keys. A budget is a number of whole trials; what is compared is the score
by which a search selects, at its best configuration. Medians over repeats have 95 % intervals, and `better` is the
chance that one search finds better than a random one of the same budget, with its interval. `pool` is the median of
random search by all repeats' draws together (`results.tuning_curves`' own statistics), with its band.

It writes the figures and a picture of them, results/search-DEVICE.png. Without Optuna, its rows are left out. `--quick`
takes a minute, and says nothing but that the script runs.
"""

import argparse
import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from _tasks import SPACE, TASKS, scores_of
from measuring import timing

import jaxopt_lab as jl
from jaxopt_lab.statistics.aggregates import share_better
from jaxopt_lab.statistics.pairs import interval_of_median
from jaxopt_lab.statistics.tuning import tuning_curve

BUDGETS = (16, 32, 64)  # whole trials
ETA, RUNGS = 4, 2  # of halving: at a sixteenth and a quarter of the steps
WITH_OPTUNA = importlib.util.find_spec("optuna") is not None


def methods() -> dict[str, Any]:
    """Return the methods that need not learn of rungs, by name."""
    learning = {name: jl.optuna(name) for name in ("tpe", "cmaes")} if WITH_OPTUNA else {}
    return {"random": "random", "sobol": "sobol", **learning}


def searched(task: jl.Task, steps: int, method: Any, budget: int, key: int, **options: Any) -> np.ndarray:
    results = jl.search(jl.adam, task, SPACE, method=method, budget=budget, key=key, steps=steps, keep_top=0, **options)
    return scores_of(results)


def halved(task: jl.Task, steps: int, budget: int, key: int) -> np.ndarray:
    """Halve as many random draws as take the steps of `budget` whole trials."""
    first = max(1, math.ceil(steps / ETA**RUNGS))
    share = first / steps + sum((first * ETA**k - first * ETA ** (k - 1)) / steps / ETA**k for k in range(1, RUNGS + 1))
    draws = max(ETA**RUNGS, int(budget / share))
    rule = jl.halving(ETA, min_steps=first)
    return searched(task, steps, "random", draws, key, batch=draws, stop=rule)


def evolved(task: jl.Task, steps: int, budget: int, key: int) -> np.ndarray:
    """Train a population of `budget` random draws; at every tenth of the steps a quarter goes on from the best."""
    rule = jl.pbt(interval=max(1, steps // 10), perturb=[*SPACE], resample=SPACE, seed=key)
    draws = jl.random(SPACE, n=budget, key=key)
    return scores_of(jl.sweep(jl.adam, task, draws, steps=steps, stop=rule, keep_top=0))


def quality(name: str, repeats: int, budgets: tuple[int, ...], most_steps: int) -> dict[str, Any]:
    """Return the best found at each budget, by method, on one task."""
    make, steps = TASKS[name]
    task, steps, most = make(), min(steps, most_steps), max(budgets)
    best: dict[str, dict[int, list[float]]] = {method: {budget: [] for budget in budgets} for method in methods()}
    rules = {"halving": halved, "pbt": evolved}
    best |= {rule: {budget: [] for budget in budgets} for rule in rules}
    drawn = []
    for key in range(repeats):
        for method, made in methods().items():
            found = searched(task, steps, made, most, key, batch=max(1, most // 8))
            drawn += [found] if method == "random" else []
            for budget in budgets:
                best[method][budget].append(float(found[:budget].min()))
        for rule, run in rules.items():
            for budget in budgets:
                best[rule][budget].append(float(run(task, steps, budget, key).min()))
    pool = tuning_curve(np.concatenate(drawn), budgets)
    return {
        "steps": steps,
        "pool": {
            str(k): {"median": float(m), "low": float(low), "high": float(high)}
            for k, m, low, high in zip(budgets, pool.median, pool.low, pool.high, strict=True)
        },
        "best": {
            method: {str(budget): described(found, best["random"][budget]) for budget, found in by_budget.items()}
            for method, by_budget in best.items()
        },
    }


def described(found: list[float], random: list[float]) -> dict[str, float]:
    """Return the median of what the repeats found, its interval, and the chance to be better than random search."""
    values = np.array(found)
    low, high = interval_of_median(values, 0.95)
    better = share_better(-values, -np.array(random))
    return {
        "median": float(np.median(values)),
        "low": float(low),
        "high": float(high),
        "better": round(better.value, 3),
        "better_low": round(better.low, 3),
        "better_high": round(better.high, 3),
    }


def show(name: str, found: dict[str, Any]) -> None:
    """Print a task's table."""
    print(f"\n{name}, trials of {found['steps']} steps: the best found (95 %), and the chance to beat random search")
    for method, by_budget in found["best"].items():
        cells = [
            f"{x['median']:.4g} ({x['low']:.4g} to {x['high']:.4g}; {x['better']:.2f}, {x['better_low']:.2f} to "
            f"{x['better_high']:.2f})"
            for x in by_budget.values()
        ]
        print(f"  {method:8} {'  '.join(cells)}")


def draw(quality: dict[str, Any], path: Path) -> None:
    """Draw the chance to find better than random search does, by method, task and budget."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharex=True, sharey=True, layout="constrained")
    for axis, (name, found) in zip(axes.flat, quality.items(), strict=False):
        for k, (method, by_budget) in enumerate(found["best"].items()):
            if method == "random":
                continue
            budgets = np.array([float(budget) for budget in by_budget])
            middle, low, high = (
                np.array([x[part] for x in by_budget.values()]) for part in ("better", "better_low", "better_high")
            )
            # Side by side, so that intervals do not hide each other.
            axis.errorbar(
                budgets * 1.06 ** (k - 3), middle, [middle - low, high - middle], fmt="o-", ms=4, label=method
            )
        axis.axhline(0.5, color="0.6", lw=1)
        axis.set(title=f"{name}, {found['steps']} steps", xscale="log", ylim=(0, 1))
        axis.set_xticks(budgets, [f"{budget:.0f}" for budget in budgets], minor=False)
        axis.minorticks_off()
    figure.supxlabel("budget in whole trials")
    figure.supylabel("chance to find better than random search")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budgets", type=int, nargs="+", default=[*BUDGETS])
    parser.add_argument("--most-steps", type=int, default=10_000, help="of a trial, to make it smaller")
    parser.add_argument("--quick", action="store_true", help="two tasks, few repeats and steps; writes no figures")
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.repeats, options.budgets, options.most_steps = ["breast_cancer"], 2, [4, 8], 32
    budgets = tuple(sorted(options.budgets))
    figures: dict[str, Any] = {"repeats": options.repeats, "quality": {}}
    for name in options.tasks:
        figures["quality"][name] = quality(name, options.repeats, budgets, options.most_steps)
        show(name, figures["quality"][name])
        if not options.quick:  # after each, since all of them take long
            path = timing.save("search", figures)
            draw(figures["quality"], path.with_suffix(".png"))
            print(path)


if __name__ == "__main__":
    main()
