"""What a comparison's charts show of a task: the tuning draws as those of a sweep, and each pair's effect."""

import math
from typing import Any

import numpy as np

from jaxopt_lab.compare.study import Study
from jaxopt_lab.compare.verdict import Verdict
from jaxopt_lab.formats import number
from jaxopt_lab.report.page.data import sweep
from jaxopt_lab.report.plots import canvas
from jaxopt_lab.report.plots.tables import effect_range

ALL_DRAWN = 20_000  # configurations in a page, of all tasks together
MOST_PAIRS = 40  # in a forest plot; more are not read
TO = "\N{EN DASH}"


def tuned(study: Study, most: int) -> dict[str, Any]:
    """Return the tuning draws as `data.sweep` does, with the mean over tuning seeds that selects.

    Args:
        study: The study of a task.
        most: How many configurations of each optimizer to keep: the best ones, and evenly those of the others.

    """
    dataset = study.tuning.dataset
    means = np.empty(dataset.sizes["config"])
    owners, kept = dataset["optimizer"].values, []
    for name in study.selected:
        rows = np.flatnonzero(owners == name)
        means[rows] = study.tuned(name)[0]
        order = rows[np.argsort(-means[rows] if study.greater_is_better else means[rows], kind="stable")]
        half = min(most, len(order)) // 2
        others = np.linspace(half, len(order) - 1, min(most, len(order)) - half).round().astype(int)
        kept.append(order[np.unique([0, *range(half), *others])])
    rows = np.sort(np.concatenate(kept))
    found = sweep(dataset.isel(config=rows), study.metric, means[rows])
    at = {config: i for i, config in enumerate(found["configs"]["number"])}
    found["configs"]["selected"] = [at[config] for config in study.selected.values()]
    return found


def most_of(verdict: Verdict) -> int:
    """Return how many configurations of each optimizer and task a page has room for."""
    return max(2, ALL_DRAWN // (len(verdict.studies) * len(verdict.optimizers)))


def effects(verdict: Verdict, task: str) -> dict[str, Any]:
    """Return each pair's effect on a task: rows of a forest plot, and the ends of its axis.

    Rows have `a` and `b`, the positions of the optimizers; `effect`, `low` and `high` inside the axis, with `beyond`
    where an end is outside (-1 and 1 for the left and the right one); `better`, a position, or None where undecided;
    and `facts`, what to say of it.
    """
    table: Any = verdict.rows
    names = list(verdict.optimizers)
    records = table[table["task"] == task].to_dict("records")
    values = np.asarray([[row[name] for name in ("effect", "low", "high")] for row in records], float)
    low, high = canvas.widened(*effect_range(values), 0.06)
    rows = []
    for row in records:
        ends = [(side, row[name]) for side, name in ((-1, "low"), (1, "high"))]
        inside = low <= row["effect"] <= high
        rows.append(
            {
                "a": names.index(row["a"]),
                "b": names.index(row["b"]),
                "effect": row["effect"] if inside else None,
                "low": float(np.clip(row["low"], low, high)),
                "high": float(np.clip(row["high"], low, high)),
                "beyond": [side for side, end in ends if not low <= end <= high],
                "better": names.index(row["better"]) if row["verdict"] in ("a", "b") else None,
                "facts": _facts(row),
            }
        )
    return {"rows": rows, "low": low, "high": high}


def _facts(row: dict[Any, Any]) -> list[list[str]]:
    """Say what a row of the verdict's table says, as pairs of words and value."""
    chance = f"{row['chance']:.2f} ({row['chance_low']:.2f}{TO}{row['chance_high']:.2f})"
    return [
        ["verdict", row["better"] if row["verdict"] in ("a", "b") else row["verdict"]],
        ["a - b, mean", figure(row["effect"])],
        ["95 %", f"{figure(row['low'])} to {figure(row['high'])}"],
        ["p, corrected", f"{row['p_corrected']:.2g}"],
        ["chance that a wins", chance],
        ["fresh seeds", str(row["seeds"])],
    ]


def figure(x: float) -> str:
    """Format an effect, which may be infinite."""
    return number(x) if math.isfinite(x) else f"{x:g}"
