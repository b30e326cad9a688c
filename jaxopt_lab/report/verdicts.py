"""Verdicts as tables for a terminal, and those of a judgement in words."""

import math
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from jaxopt_lab.formats import number
from jaxopt_lab.statistics.tally import UNDECIDED

if TYPE_CHECKING:
    import pandas as pd

METHODS = (
    "Paired t-tests over shared seeds (Welch's where seeds differ, ranks where scores are infinite); p is corrected by "
    "Holm's method over {n} comparisons. Seeds needed: to find a difference of this size with a chance of 80 %. This "
    "counts the luck of seeds, not that of tuning."
)


def counts_board(counts: "pd.DataFrame") -> Table:
    """Return counts of tasks by pair, with and without correction, and the verdict over tasks.

    Args:
        counts: `Judgement.counts()`, with `Judgement.over_tasks()`'s columns `better`, called `over_tasks`, and
            `p_corrected`.

    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("", "against", "better / undecided / worse", "uncorrected", "over tasks", "p, corrected"):
        table.add_column(name, justify="left" if name in ("", "against", "over tasks") else "right")
    for row in counts.to_dict("records"):
        ways = ("better", "undecided", "worse")
        table.add_row(
            escape(str(row["a"])),
            escape(str(row["b"])),
            " / ".join(str(row[way]) for way in ways),
            " / ".join(str(row[f"{way}_uncorrected"]) for way in ways),
            escape(str(row["over_tasks"])),
            f"{row['p_corrected']:.2g}",
        )
    return table


def rows_board(rows: "pd.DataFrame") -> Table:
    """Return the verdicts on pairs, task by task: see `Judgement.table`."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    columns = ("task", "a", "b", "verdict", "a - b", "95 %", "p, corrected", "seeds", "seeds needed")
    for name in columns:
        table.add_column(name, justify="left" if name in columns[:4] else "right")
    for row in rows.to_dict("records"):
        needed = row["seeds_needed"]
        table.add_row(
            *(escape(str(row[name])) for name in ("task", "a", "b", "better")),
            _figure(row["effect"]),
            f"{_figure(row['low'])} to {_figure(row['high'])}",
            f"{row['p_corrected']:.2g}",
            str(row["seeds"]),
            "" if needed != needed else "over 100,000" if needed == float("inf") else f"{needed:,.0f}",
        )
    return table


def compared_board(rows: "pd.DataFrame") -> Table:
    """Return the verdicts of a comparison, task by task: see `Verdict.table`."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    columns = ("task", "a", "b", "verdict", "by seeds alone", "a - b", "95 %", "P(a wins)", "p, corrected")
    for name in columns:
        table.add_column(name, justify="left" if name in columns[:5] else "right")
    for row in rows.to_dict("records"):
        alone = row.get(row["verdict_of_these_configurations"], UNDECIDED)
        table.add_row(
            *(escape(str(x)) for x in (row["task"], row["a"], row["b"], row["better"], alone)),
            _figure(row["effect"]),
            f"{_figure(row['low'])} to {_figure(row['high'])}",
            f"{row['chance']:.2f} ({row['chance_low']:.2f} to {row['chance_high']:.2f})",
            f"{row['p_corrected']:.2g}",
        )
    return table


def sentence(row: "dict[str, Any]") -> str:
    """Say what a row of `Judgement.table` says."""
    task, a, b = row["task"], row["a"], row["b"]
    measured = f"(p = {row['p_corrected']:.2g}, {row['seeds']} seeds)"
    if row["verdict"] == UNDECIDED:
        return f"{task}: {a} and {b}: undecided {measured}."
    better, worse = (a, b) if row["verdict"] == "a" else (b, a)
    return f"{task}: {better} is better than {worse} {measured}."


def _figure(x: float) -> str:
    return number(x) if math.isfinite(x) else f"{x:g}"
