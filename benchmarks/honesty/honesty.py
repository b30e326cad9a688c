"""How often is a verdict wrong? Run: python benchmarks/honesty/honesty.py

Everything that `jl.compare` states is held against what is known to be true:

- names: one optimizer under two names, and under three, 1,000 comparisons each. Real scores: 512 random configurations
  of Adam and 23 seeds on `digits_mlp`, of which each comparison draws studies, tuning seeds and fresh seeds of its own.
  By seeds alone, configurations that were selected are compared as if they were the optimizers.
- fixed: one configuration compared with itself, on other seeds.
- power: a planted difference of one standard deviation, at the number of seeds that is said to be needed.
- coverage: of each 95 % interval, in 2,000 samples, also of heavy tails, ties, infinities and skewed ones.
- tuning: likewise, of the chance to win and of the tuning curve, for studies drawn from the real scores.
- curse: of 30 equal configurations, the best by validation; its score where it was selected, and on fresh seeds.
- special: Adam against momentum, and NAdam against Adam, with ever more draws: a general method should not lose to its
  special case at a large budget (Choi et al. 2019, https://arxiv.org/abs/1910.05446).
- seconds: three optimizers on two tasks, budget 64, 20 seeds.

`--only NAME...` measures some of them; the others keep their committed figures.
"""

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import spread
from scipy import stats

import jaxopt_lab as jl
from jaxopt_lab.compare.decide import Tuned, decide
from jaxopt_lab.results.score import score
from jaxopt_lab.statistics.aggregates import interquartile_mean, mean_ranks, share_better
from jaxopt_lab.statistics.luck import chance_to_win
from jaxopt_lab.statistics.pairs import paired, seeds_needed, unpaired
from jaxopt_lab.statistics.tuning import median_best, tuning_curve

CONFIGURATIONS, SEEDS, TUNING_SEEDS, STEPS = 512, 23, 3, 300
REPEATS, SAMPLES = 1000, 2000
Table = tuple[np.ndarray, np.ndarray]  # validation and test scores of (configurations, seeds), greater being better


def scored(optimizers: Mapping[str, Any]) -> dict[str, Table]:
    """Train random configurations of each optimizer on the digits."""
    spaces = {name: jl.random(jl.prior(name), CONFIGURATIONS, key=i) for i, name in enumerate(optimizers)}
    results = jl.sweep(optimizers, "digits_mlp", spaces, steps=STEPS, seeds=SEEDS, record=STEPS, evaluate=STEPS)
    names = results.dataset["optimizer"].values
    by_split = [-score(results.dataset, f"{split}_loss").values for split in ("validation", "test")]
    return {name: (by_split[0][names == name], by_split[1][names == name]) for name in optimizers}


def study(rng: np.random.Generator, table: Table, budget: int, seeds: np.ndarray) -> Tuned:
    """Draw a study: configurations at random, the first seeds for tuning and the others to report."""
    rows = rng.choice(len(table[0]), budget, replace=False)
    validation, test = (scores[rows][:, seeds] for scores in table)
    selected_by = validation[:, :TUNING_SEEDS].mean(axis=1)
    return Tuned(selected_by, test[:, :TUNING_SEEDS].mean(axis=1), test[selected_by.argmax(), TUNING_SEEDS:])


def share(hits: int, n: int) -> dict[str, float]:
    """Return a share with its exact interval."""
    interval = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    return {"median": hits / n, "least": float(interval.low), "most": float(interval.high)}


def names(table: Table) -> dict[str, Any]:
    """Compare one optimizer with itself."""
    found = {}
    for budget in (16, 64):
        for count in (2, 3):
            rng, false = np.random.default_rng(0), {"verdict": 0, "verdict_of_these_configurations": 0}
            called = "abc"[:count]
            pairs = [(a, b) for i, a in enumerate(called) for b in called[i + 1 :]]
            for _ in range(REPEATS):
                seeds = rng.permutation(SEEDS)
                tuned = {name: study(rng, table, budget, seeds) for name in called}
                rows = decide({"digits": tuned}, pairs, {"digits": True})
                for column in false:
                    false[column] += bool((rows[column] != "undecided").any())
            found[f"{count} names, budget {budget}"] = {column: share(hits, REPEATS) for column, hits in false.items()}
    return found


def power() -> dict[str, Any]:
    """Plant a difference of one standard deviation of a seed, and look for it with the seeds said to be needed."""
    rng, found = np.random.default_rng(2), {}
    n, samples = int(seeds_needed(1.0, math.sqrt(2))), 10 * SAMPLES  # two scores of deviation 1 differ by sqrt(2)
    heavy = lambda size: rng.standard_t(4, size) / math.sqrt(2)
    for name, law in {"normal": lambda size: rng.normal(size=size), "t with 4 degrees": heavy}.items():
        pairs = (paired(law(n) + 1, law(n)) for _ in range(samples))
        hits = sum(pair.p <= 0.05 and pair.effect > 0 for pair in pairs)
        found[name] = {"seeds": n, "found": share(hits, samples)}
    return found


def fixed() -> dict[str, float]:
    """Compare one configuration with itself, on ten other seeds: how often are seeds alone wrong about it?"""
    results = jl.sweep(jl.adam, "digits_mlp", {"learning_rate": 1e-2}, steps=STEPS, seeds=400)
    scores, rng, false = results.dataset["test_loss"].values[0, :, -1], np.random.default_rng(1), 0
    for _ in range(REPEATS):
        drawn = rng.choice(scores, 20, replace=False)
        false += paired(drawn[:10], drawn[10:]).p <= 0.05
    return share(false, REPEATS)


class Law(NamedTuple):
    """What samples are drawn from, and what is true of it."""

    draw: Callable[[Any], np.ndarray]
    mean: float
    median: float
    middle: float  # the mean of its middle half


def laws(rng: np.random.Generator) -> dict[str, Law]:
    """Return distributions that differences over seeds may have."""
    draws: dict[str, Callable[[Any], np.ndarray]] = {
        "normal": lambda size: rng.normal(size=size),
        "t with 2 degrees": lambda size: rng.standard_t(2, size),
        "lognormal 1.5": lambda size: rng.lognormal(0, 1.5, size),
        "ties": lambda size: rng.integers(-2, 3, size).astype(float),
        "a tenth infinite": lambda size: np.where(rng.uniform(size=size) < 0.1, np.inf, rng.normal(size=size)),
    }
    means = {"lognormal 1.5": math.exp(1.5**2 / 2), "a tenth infinite": math.inf}
    found = {}
    for name, draw in draws.items():
        many = np.sort(draw(10**6))
        quarter = len(many) // 4
        middle = float(many[quarter:-quarter].mean())
        found[name] = Law(draw, means.get(name, 0.0), float(many[2 * quarter]), middle)
    return found


def of_mean(law: Law, n: int) -> tuple[float, float, float]:
    pair = paired(law.draw(n), np.zeros(n))
    return pair.low, law.mean, pair.high


def of_median(law: Law, n: int) -> tuple[float, float, float]:
    pair = paired(law.draw(n), np.zeros(n))
    return pair.median_low, law.median, pair.median_high


def of_middle(law: Law, n: int) -> tuple[float, float, float]:
    found = interquartile_mean(law.draw(n))
    return found.low, law.middle, found.high


def of_shift(law: Law, n: int) -> tuple[float, float, float]:
    pair = unpaired(law.draw(n) + 1, law.draw(n))
    return pair.median_low, 1.0, pair.median_high


def of_share(law: Law, n: int) -> tuple[float, float, float]:
    found = share_better(law.draw(n), law.draw(n))
    return found.low, 0.5, found.high


def of_rank(law: Law, n: int) -> tuple[float, float, float]:
    _, low, high, _ = mean_ranks(law.draw((3, n)))
    return float(low[0]), 2.0, float(high[0])


INTERVALS = {  # the interval, and the numbers of seeds (of tasks for ranks), from the least for which it is meant
    "mean difference, paired t": (of_mean, (8, 20)),
    "median difference": (of_median, (6, 20)),
    "interquartile mean": (of_middle, (8, 20)),
    "shift, where seeds are not shared": (of_shift, (8, 20)),
    "share of seeds that a wins": (of_share, (4, 20)),
    "mean rank over tasks": (of_rank, (10,)),
}


def coverage() -> dict[str, Any]:
    """Count how often each interval holds what is true."""
    found = {}
    for name, law in laws(np.random.default_rng(4)).items():
        for what, (interval, sizes) in INTERVALS.items():
            if what.startswith("mean difference") and math.isinf(law.mean):
                continue
            for n in sizes:
                ends = (interval(law, n) for _ in range(SAMPLES))
                hits = sum(low <= true <= high for low, true, high in ends)
                found[f"{what}; {name}; n = {n}"] = share(hits, SAMPLES)
    return found


def tuning(table: Table) -> dict[str, Any]:
    """Count how often the chance to win and the tuning curve's band hold those of all configurations."""
    found, rng = {}, np.random.default_rng(5)
    validation, test = (scores[:, :TUNING_SEEDS].mean(axis=1) for scores in table)
    slower = (validation - 0.02, test - 0.02)  # the same optimizer, a little worse
    for budget in (16, 64):
        true = whole(validation, test, *slower, budget // 8)
        hits = banded = 0
        for _ in range(REPEATS):
            first, second = (rng.choice(len(validation), budget) for _ in range(2))
            chance = chance_to_win(validation[first], test[first], slower[0][second], slower[1][second])
            hits += chance.low <= true <= chance.high
            draws = np.where(np.isfinite(validation[first]), -validation[first], np.inf)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                band = tuning_curve(draws)
            at = median_best(np.where(np.isfinite(validation), -validation, np.inf), band.budgets)
            banded += bool(((band.low <= at) & (at <= band.high)).all())
        found[f"chance to win; digits; n = {budget}"] = share(hits, REPEATS)
        found[f"tuning curve, all budgets at once; digits; n = {budget}"] = share(banded, REPEATS)
    return found


def whole(by_a: np.ndarray, a: np.ndarray, by_b: np.ndarray, b: np.ndarray, budget: int) -> float:
    """Return the chance that studies of `budget` draws with replacement from these configurations are won by `a`."""
    rng = np.random.default_rng(6)
    studies = 200_000
    won = 0.0
    for _ in range(10):
        first, second = (rng.integers(len(a), size=(studies // 10, budget)) for _ in range(2))
        of_a = a[np.take_along_axis(first, by_a[first].argmax(axis=1)[:, None], axis=1)[:, 0]]
        of_b = b[np.take_along_axis(second, by_b[second].argmax(axis=1)[:, None], axis=1)[:, 0]]
        won += float(np.mean((of_a > of_b) + 0.5 * (of_a == of_b))) / 10
    return won


def curse(table: Table) -> dict[str, Any]:
    """Select the best of 30 equal configurations by one seed each, and report it on fresh seeds, in seeds' deviations.

    Equal configurations are made of the seeds of a real one, in another order for each.
    """
    rng, biases = np.random.default_rng(7), {"where it was selected": [], "on fresh seeds": []}
    best = int(np.argmax(table[0].mean(axis=1)))
    validation, test = (scores[best] for scores in table)
    deviations = lambda value, of: float((value - of.mean()) / of.std())
    for _ in range(SAMPLES):
        orders = rng.permuted(np.repeat(np.arange(SEEDS)[None], 30, axis=0), axis=1)
        selected = int(np.argmax(validation[orders[:, 0]]))
        biases["where it was selected"].append(deviations(validation[orders[selected, 0]], validation))
        fresh = test[rng.choice(SEEDS, 20)]  # seeds that selected nothing
        biases["on fresh seeds"].append(deviations(fresh.mean(), test))
    found = {}
    for name, values in biases.items():
        mean, error = float(np.mean(values)), float(np.std(values) / math.sqrt(SAMPLES))
        found[name] = {"median": mean, "least": mean - 1.96 * error, "most": mean + 1.96 * error}
    return found


def special(tables: Mapping[str, Table]) -> dict[str, Any]:
    """Compare general methods with their special cases."""
    found = {}
    for general, case in (("adam", "momentum"), ("nadam", "adam")):
        for budget in (64, CONFIGURATIONS):
            rng = np.random.default_rng(8)
            seeds = rng.permutation(SEEDS)
            tuned = {name: study(rng, tables[name], budget, seeds) for name in (general, case)}
            (row,) = decide({"digits": tuned}, [(general, case)], {"digits": True}).to_dict("records")
            ends = ("effect", "low", "high", "p", "chance", "chance_low", "chance_high")
            keys = ("verdict", "verdict_of_these_configurations", *ends)
            found[f"{general} against {case}, {budget} configurations"] = {key: row[key] for key in keys}
    return found


def seconds(repeats: int) -> dict[str, Any]:
    """Time a comparison as a user would make it, with an empty cache of programs."""
    took = []
    for key in range(repeats):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            optimizers, tasks = ["adam", "momentum", "lion"], ["digits_mlp", "digits_cnn"]
            jl.compare(optimizers, tasks, budget=64, seeds=20, widen=False, key=key, cache=False)
        took.append(time.perf_counter() - began)
    return spread(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ("names", "fixed", "power", "coverage", "tuning", "curse", "special", "seconds")
    parser.add_argument("--only", nargs="*", choices=known, default=known)
    parser.add_argument("--repeats", type=int, default=1, help="of the timed comparison")
    options = parser.parse_args()
    path = timing.RESULTS / "honesty-cpu.json"
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    wanted = lambda name: name in options.only
    tables = {}
    if any(map(wanted, ("names", "tuning", "curse", "special"))):
        tables = scored({"adam": jl.adam, "momentum": jl.momentum, "nadam": jl.nadam})
    parts: dict[str, Callable[[], Any]] = {
        "names": lambda: names(tables["adam"]),
        "fixed": fixed,
        "power": power,
        "coverage": coverage,
        "tuning": lambda: tuning(tables["adam"]),
        "curse": lambda: curse(tables["adam"]),
        "special": lambda: special(tables),
        "seconds": lambda: seconds(options.repeats),
    }
    for name, measure in parts.items():
        if wanted(name):
            figures[name] = measure()
            print(name, json.dumps(figures[name], indent=1), flush=True)
            timing.save("honesty", figures)


if __name__ == "__main__":
    main()
