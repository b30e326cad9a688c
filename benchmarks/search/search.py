"""Does adaptive search pay? Run: python benchmarks/search/search.py

Best found at equal trial-steps: Adam in its prior (four hyperparameters) on six tasks, with one tuning seed. Random
search, Sobol points, TPE, CMA-ES (the two with Optuna, in rounds of an eighth of the largest budget) and successive
halving of random draws, as many as take the same trial-steps. Each is repeated with other keys. A budget is a number of
whole trials; what is compared is the score by which a search selects, at its best configuration. Medians over repeats
have 95 % intervals, and `better` is the chance that one search finds better than a random one of the same budget, with
its interval. `pool` is the median of random search by all repeats' draws together (`results.tuning_curves`' own
statistics), with its band.

Seconds to the same quality: `jl.search` with TPE, and Optuna's TPE driving the same step itself, jitted once, trial by
trial, as its documentation has it. The quality is the median of what `jl.search` found with all of its budget; a repeat
of either that has not reached it within the budget is counted as not reaching it. Warm: programs are compiled before.

Without Optuna, its rows are left out. `--quick` takes a minute, and says nothing but that the script runs.
"""

import argparse
import functools
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring import timing
from measuring.compare import ranged, spread

import jaxopt_lab as jl
from jaxopt_lab.statistics.aggregates import share_better
from jaxopt_lab.statistics.pairs import interval_of_median
from jaxopt_lab.statistics.tuning import tuning_curve

BUDGETS = (16, 32, 64)  # whole trials
ETA, RUNGS = 4, 2  # of halving: at a sixteenth and a quarter of the steps
WITH_OPTUNA = importlib.util.find_spec("optuna") is not None
SPACE = jl.prior(jl.adam)
TASKS: Mapping[str, tuple[Callable[[], jl.Task], int]] = {
    "breast_cancer": (functools.partial(jl.tasks.breast_cancer, holdout=True, batch_size=32), 300),
    "digits_mlp": (functools.partial(jl.tasks.digits_mlp, width=16), 300),
    "digits_autoencoder": (functools.partial(jl.tasks.digits_autoencoder), 300),
    "linear_regression": (functools.partial(jl.tasks.linear_regression), 300),
    "matrix_factorization": (functools.partial(jl.tasks.matrix_factorization), 500),
    "noisy_quadratic": (functools.partial(jl.tasks.noisy_quadratic), 500),
}
TIMED = ("breast_cancer", "digits_mlp")  # with arrays of training and validation data


def methods() -> dict[str, Any]:
    """Return the methods that need not learn of rungs, by name."""
    learning = {name: jl.optuna(name) for name in ("tpe", "cmaes")} if WITH_OPTUNA else {}
    return {"random": "random", "sobol": "sobol", **learning}


def scores_of(results: jl.Results) -> np.ndarray:
    """Return what each configuration is selected by, in the order in which they were suggested."""
    dataset = results.dataset
    ends = dataset[dataset.attrs["main_metric"]].values[:, 0, -1]
    ended = np.isin(dataset["status"].values[:, 0], ("diverged", "failed", "stopped"))
    return np.where(ended | ~np.isfinite(ends), np.inf, ends)


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


def quality(name: str, repeats: int, budgets: tuple[int, ...], most_steps: int) -> dict[str, Any]:
    """Return the best found at each budget, by method, on one task."""
    make, steps = TASKS[name]
    task, steps, most = make(), min(steps, most_steps), max(budgets)
    best: dict[str, dict[int, list[float]]] = {method: {budget: [] for budget in budgets} for method in methods()}
    best["halving"] = {budget: [] for budget in budgets}
    drawn = []
    for key in range(repeats):
        for method, made in methods().items():
            found = searched(task, steps, made, most, key, batch=max(1, most // 8))
            drawn += [found] if method == "random" else []
            for budget in budgets:
                best[method][budget].append(float(found[:budget].min()))
        for budget in budgets:
            best["halving"][budget].append(float(halved(task, steps, budget, key).min()))
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


def by_itself(task: jl.Task, steps: int, budget: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Let Optuna drive a jitted step of the task; return the seconds and losses of its trials."""
    import optuna  # pyright: ignore[reportMissingImports]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    train, evaluate, start = _jitted(task)

    def objective(trial):
        given = {}
        for name, known in SPACE.items():
            if known.spacing == "one_minus":
                given[name] = 1 - trial.suggest_float(name, 1 - known.high, 1 - known.low, log=True)
            else:
                given[name] = trial.suggest_float(name, known.low, known.high, log=True)
        params, state = start(given)
        for t in range(steps):
            params, state = train(params, state, given, t)
        loss = float(evaluate(params))
        seconds.append(time.perf_counter() - began)
        losses.append(loss if math.isfinite(loss) else math.inf)
        return losses[-1]

    seconds: list[float] = []
    losses: list[float] = []
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    began = time.perf_counter()
    study.optimize(objective, n_trials=budget)
    return np.array(seconds), np.array(losses)


@functools.cache
def _jitted(task: jl.Task) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return the step, the validation loss and the start of a trial, each jitted once for all hyperparameters."""
    x, y = (jnp.asarray(part) for part in task.train)
    held_out, size, key = (
        jax.tree.map(jnp.asarray, task.validation),
        task.batch_size or len(task.train[0]),
        jax.random.key(0),
    )

    @jax.jit
    def train(params, state, given, t):
        index = jax.random.randint(jax.random.fold_in(key, t), (size,), 0, len(x))
        grads = jax.grad(task.loss)(params, (x[index], y[index]))
        updates, state = optax.adam(**given).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def start(given):
        params = task.init(key)
        return params, optax.adam(**given).init(params)

    return train, jax.jit(lambda params: task.loss(params, held_out)), start


def seconds(name: str, repeats: int, budget: int, most_steps: int) -> dict[str, Any]:
    """Return the seconds until each way found what `jl.search` finds in the median."""
    make, steps = TASKS[name]
    task, steps = make(), min(steps, most_steps)
    runs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"jl.search": [], "optuna": []}
    for key in range(-1, repeats):  # the first compiles
        clock = Clock(jl.optuna("tpe", seed=max(0, key)))
        searched(task, steps, clock, budget, max(0, key), batch=max(1, budget // 8))
        found = np.array(clock.seconds), np.array(clock.losses)
        peer = by_itself(task, steps, budget if key >= 0 else 2, max(0, key))
        if key >= 0:
            runs["jl.search"].append(found)
            runs["optuna"].append(peer)
    target = float(np.median([losses.min() for _, losses in runs["jl.search"]]))
    reached = {way: [first(*run, target) for run in own] for way, own in runs.items()}
    took = {way: [s for s in own if math.isfinite(s)] for way, own in reached.items()}
    whole = {way: spread(seconds[-1] for seconds, _ in own) for way, own in runs.items()}
    ratio = [b / a for a, b in zip(reached["jl.search"], reached["optuna"], strict=True) if math.isfinite(max(a, b))]
    return {
        "steps": steps,
        "target": target,
        "reached": {way: f"{len(own)} of {repeats}" for way, own in took.items()},
        "seconds": {way: spread(own) for way, own in took.items() if own},
        "seconds_of_all": whole,
        **({"ratio": spread(ratio)} if ratio else {}),
        "ratio_of_all": spread(b[0][-1] / a[0][-1] for a, b in zip(runs["jl.search"], runs["optuna"], strict=True)),
    }


def first(seconds: np.ndarray, losses: np.ndarray, target: float) -> float:
    """Return when the losses first reached the target; infinity where they did not."""
    return float(min(seconds[losses <= target], default=math.inf))


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
    figures: dict[str, Any] = {"repeats": options.repeats, "quality": {}, "seconds": {}}
    for name in options.tasks:
        figures["quality"][name] = quality(name, options.repeats, budgets, options.most_steps)
        show(name, figures["quality"][name])
    for name in [name for name in options.tasks if name in TIMED and WITH_OPTUNA]:
        found = figures["seconds"][name] = seconds(name, options.repeats, max(budgets), options.most_steps)
        reached = found["reached"]
        print(f"\n{name}: Optuna by itself takes {ranged(found['ratio_of_all'], '.1f')} times as long for its budget,")
        print(
            f"  and reaches {found['target']:.4g} in {reached['optuna']} repeats; jl.search in {reached['jl.search']}"
        )
        if "ratio" in found:
            print(f"  after {ranged(found['ratio'], '.1f')} times as long, where both do")
    if not options.quick:
        print(timing.save("search", figures))


if __name__ == "__main__":
    main()
