"""Results that are written down instead of trained: the same on every machine."""

import json

import numpy as np
import pandas as pd
import xarray as xr

import jaxopt_lab as jl
from jaxopt_lab.statistics.tuning import TuningCurve

STEPS = np.arange(0, 61, 2)
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def results(optimizers, hyperparameters, curve, *, seeds=5, status=None, taken=None, task="made_up", name="train_loss"):
    """Make results from a function of (optimizer's number, hyperparameters, seed, steps) to a curve.

    Args:
        optimizers: Names, one for each configuration.
        hyperparameters: A list of values by name, one for each configuration.
        curve: The function.
        seeds: How many.
        status: Of each trial, (configs, seeds); by default diverged where a curve is not finite, else completed.
        taken: Steps of each trial, (configs, seeds).
        task: The name of the task.
        name: Of the curve.

    """
    kinds = list(dict.fromkeys(optimizers))
    values = np.stack(
        [
            [curve(kinds.index(o), {n: v[i] for n, v in hyperparameters.items()}, s, STEPS) for s in range(seeds)]
            for i, o in enumerate(optimizers)
        ]
    ).astype(np.float32)
    lost = ~np.isfinite(values)
    bad = lost.any(axis=-1)
    status = np.where(bad, "diverged", "completed") if status is None else status
    first = np.where(status == "diverged", STEPS[lost.argmax(axis=-1)], -1)
    taken = np.where(status == "diverged", first, STEPS[-1]) if taken is None else taken
    trials = ("config", "seed")
    dataset = xr.Dataset(
        {
            name: ((*trials, "step"), values),
            "status": (trials, status),
            "first_bad_step": (trials, first),
            "steps_taken": (trials, taken),
        },
        {
            "config": np.arange(len(optimizers)),
            "seed": np.arange(seeds),
            "step": STEPS,
            "optimizer": ("config", list(optimizers)),
            **{n: ("config", v) for n, v in hyperparameters.items()},
        },
        {"task": task, "steps": int(STEPS[-1]), "directions": json.dumps({name: "min"}), "main_metric": name},
    )
    return jl.Results(dataset, None, [])


def falling(kind, values, seed, steps):
    """A loss that falls to a level, faster at a rate near that of its kind, and diverges at much larger ones."""
    rate, best = values["learning_rate"], (0.3, 0.1, 1.0)[kind % 3]
    away = np.log10(rate / best)
    level = 10 ** (-2.5 + 0.4 * kind + 1.1 * away**2)
    noise = 1 + 0.25 * np.sin(3.7 * seed + 1.3 * kind + 0.2 * steps)
    loss = (1.5 * np.exp(-steps * rate / best / 8) + level) * noise
    return np.where((away > 0.9) & (steps > 10 + 4 * seed), np.inf, loss)


def swept():
    """Three optimizers at six learning rates; one diverges at the largest."""
    names = [name for name in ("adam", "sgd", "momentum") for _ in RATES]
    return results(names, {"learning_rate": [*RATES] * 3}, falling)


def many():
    """Nine optimizers, whose names do not all fit beside the axes of a narrow figure."""
    names = ["adam", "adamw", "nadam", "schedule_free_adamw", "sgd", "momentum", "lion", "muon", "my_own_optimizer"]
    curve = lambda kind, values, seed, steps: (1 + 0.05 * seed) * np.exp(-steps / (8 + 3 * kind))
    return results(names, {"learning_rate": [0.1] * len(names)}, curve)


def grid():
    """One optimizer on a grid, of which one corner diverges, and one cell with one of its seeds."""
    pairs = [(rate, momentum) for rate in RATES for momentum in (0.0, 0.5, 0.9, 0.95)]

    def curve(kind, values, seed, steps):
        rate, momentum = values["learning_rate"], values["momentum"]
        away = np.log10(rate / (0.8 * (1.2 - momentum)))
        loss = (0.1 + 0.3 * away**2) * (1 + 0.2 * np.sin(seed)) + np.exp(-steps / 5)
        lost = rate * momentum > 2 or (seed == 0 and (rate, momentum) == (3.0, 0.5))
        return np.where(lost & (steps > 10), np.inf, loss)

    rates, momenta = zip(*pairs, strict=True)
    return results(["momentum"] * len(pairs), {"learning_rate": list(rates), "momentum": list(momenta)}, curve)


def halved():
    """Two optimizers of sixteen configurations, halved at steps 10, 20 and 40; the last one of each diverges."""
    n, rungs = 16, (10, 20, 40)
    place = np.tile(np.arange(n), 2)  # in the order of their scores
    end = np.select([place >= n // 2, place >= n // 4, place >= n // 8], rungs, 60)
    end = np.where(place == n - 1, 6, end)
    curve = lambda kind, values, seed, steps: (1 + 0.1 * seed) * np.exp(-steps / (9 + 2 * kind + 8 * values["a"]))
    names = [name for name in ("adam", "sgd") for _ in range(n)]
    made = results(names, {"a": (place / 8).tolist()}, curve, seeds=3)
    dataset, shape = made.dataset.copy(deep=True), (2 * n, 3)
    taken = np.broadcast_to(end[:, None], shape)
    status = np.select([taken == 6, taken < 60], ["diverged", "stopped"], "completed")
    values = dataset["train_loss"].values
    values[STEPS[None, None] >= np.where(taken < 60, taken, 99)[..., None]] = np.nan
    values[(status == "diverged")[..., None] & (STEPS >= 6)] = np.inf
    for name, column in (("steps_taken", taken), ("status", status)):
        dataset[name] = (("config", "seed"), column)
    return jl.Results(dataset, None, [])


def population():
    """Ten learning rates that approach .01 at three rungs, each from its neighbour on that side; one ends early."""
    rates = np.geomspace(1e-4, 1.0, 10)
    curve = lambda kind, values, seed, steps: 2.0 ** (-steps / 20) + abs(np.log10(values["learning_rate"]) + 2)
    dataset = results(["adam"] * 10, {"learning_rate": rates.tolist()}, curve, seeds=2).dataset.copy(deep=True)
    own = np.arange(10)
    source = np.clip(own + np.sign(4.5 - own).astype(int), 0, 9)
    after = np.stack([rates[source], rates[source[source]], rates[source[source[source]]]], axis=1)
    both = lambda x: np.stack([x, x], axis=1)
    made_from = np.tile(source[:, None], 3)
    made_from[9, 1:], after[9, 1:] = -1, np.nan
    dims = ("config", "seed", "rung_step")
    dataset["continued_from"] = (dims, both(made_from))
    dataset["learning_rate_after_rung"] = (dims, both(after))
    return jl.Results(dataset.assign_coords(rung_step=[10, 20, 40]), None, [])


def batches():
    """Two optimizers at six batch sizes; steps to a loss fall in proportion, then no further."""
    sizes = [8, 16, 32, 64, 128, 256]

    def curve(kind, values, seed, steps):
        size = values["task.batch_size"]
        needed = (2.0 + 300 / size * (1 + 0.1 * seed)) if kind else (6.0 + 200 / size * (1 + 0.1 * seed))
        return np.exp(-steps / needed)

    names = [name for name in ("adam", "sgd") for _ in sizes]
    return results(names, {"learning_rate": [0.1] * 12, "task.batch_size": sizes * 2}, curve)


def sharp():
    """A sharpness that rises to twice the inverse of the learning rate, for two learning rates."""

    def curve(kind, values, seed, steps):
        limit = 2 / values["learning_rate"]
        return limit * (1 + 0.05 * np.sin(steps + seed) - np.exp(-steps / 15))

    made = results(["gradient_descent"] * 2, {"learning_rate": [0.05, 0.1]}, curve, name="sharpness")
    dataset = made.dataset.assign(train_loss=made.dataset["sharpness"] * 0 + 1.0)
    return jl.Results(dataset.assign_attrs(directions="{}", main_metric="train_loss"), None, [])


def line():
    """Two optimizers' fits of a line."""
    task = jl.tasks.linear_regression()
    curve = lambda kind, values, seed, steps: np.exp(-steps / 10) + 0.1 * (kind + seed + 1)
    made = results(["gradient_descent", "adam"], {"learning_rate": [0.1, 0.1]}, curve, seeds=2, task=task.name)
    params = {"slope": np.array([[2.2, 2.0], [2.6, 2.5]]), "intercept": np.array([[0.8, 0.8], [0.6, 0.6]])}
    return jl.Results(made.dataset, task, [(np.arange(2), params)])


def tuning_curves():
    """Two tuning curves with bands that are open at one side from some budget on."""
    budgets = np.arange(1, 41)
    found = {}
    for name, level in (("adam", 0.3), ("sgd", 0.5)):
        median = level + 1.5 / budgets
        low = np.where(budgets > 6, -np.inf, median - 0.3 / np.sqrt(budgets))
        high = np.where(budgets == 1, np.inf, median + 1.2 / np.sqrt(budgets))
        found[name] = TuningCurve(budgets, median + 0.1, median, low, high, 0.95, 40)
    return found


def costs():
    """Steps to a target of four optimizers on ten tasks, of which some were missed."""
    table = 100 * np.exp(0.5 * np.sin(np.outer([1.0, 2.3, 3.1, 4.7], np.arange(1, 11))))
    table[1, 3] = table[2, :2] = np.inf
    return pd.DataFrame(table, index=["adam", "sgd", "lion", "muon"])


NAMES = ["adam", "sgd", "lion", "muon", "schedule_free_adamw"]


def ranks():
    """Mean ranks with intervals."""
    rank = np.array([2.1, 4.2, 3.3, 1.6, 3.8])
    return pd.DataFrame({"optimizer": NAMES, "rank": rank, "low": rank - 0.4, "high": rank + 0.5})


def chances():
    """Chances to win, of which one is unknown."""
    values = np.array([[0.5 + 0.13 * (j - i) for j in range(5)] for i in range(5)]).clip(0, 1)
    values[0, 4] = values[4, 0] = np.nan
    return pd.DataFrame(values, index=NAMES, columns=NAMES)


def effects():
    """Effects on two tasks; one interval has no end, and one is far wider than the others."""
    rows = [
        ("digits_mlp", "adam", "sgd", -0.06, -0.09, -0.03, "adam"),
        ("digits_mlp", "adam", "lion", 0.01, -0.02, 0.04, "undecided"),
        ("digits_mlp", "sgd", "lion", 0.07, 0.03, 0.11, "lion"),
        ("wilson", "adam", "sgd", -0.02, -np.inf, 0.03, "undecided"),
        ("wilson", "adam", "lion", -0.05, -0.08, -0.02, "adam"),
        ("wilson", "sgd", "lion", 0.03, -9.0, 9.0, "undecided"),
    ]
    return pd.DataFrame(rows, columns=["task", "a", "b", "effect", "low", "high", "better"])
