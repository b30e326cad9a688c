"""A run while it is followed: what its partial results say, and the sensitivity to the learning rate in one line."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxopt_lab.checking import printable
from jaxopt_lab.formats import clock, number, short
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots.scale import scale
from jaxopt_lab.results.best import where_compared
from jaxopt_lab.results.leaderboard import leaderboard
from jaxopt_lab.results.score import UNFINISHED, default_metric, greater_is_better, median_score
from jaxopt_lab.store.axes import COUNTED, budget, unit_of

if TYPE_CHECKING:  # importing Rich takes a while
    import xarray as xr
    from rich.console import Group
    from rich.table import Table

BLOCKS = "▁▂▃▄▅▆▇█"
DIVERGED, UNKNOWN, EMPTY = "x", "·", " "
CELLS = 16  # of a sparkline, at most: more learning rates share cells
RATE = "learning_rate"
KEY = (
    f"Sparklines: best score so far against the learning rate, on one scale for all; {DIVERGED}: all trials diverged, "
    f"{UNKNOWN}: no score yet, or stopped early."
)


@dataclasses.dataclass(frozen=True)
class Watched:
    """What was read of one task's run.

    Attributes:
        name: The task's name, or that of the folder.
        state: "complete", "running", "waiting" (it has not begun), "silent" (no sign of life), or "not running".
        dataset: Its latest results; None where it has none yet.
        note: What else there is to say; may be empty.

    """

    name: str
    state: str
    dataset: "xr.Dataset | None" = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Counts:
    """How far the trials of a run are.

    Attributes:
        trials: The number of trials.
        done: How many have ended, in whichever way.
        running: How many have begun and not ended.
        diverged: How many diverged.
        failed: How many failed.
        share: The share of all work that is done: what an ended trial had left counts as done.

    """

    trials: int
    done: int
    running: int
    diverged: int
    failed: int
    share: float

    @classmethod
    def of(cls, dataset: "xr.Dataset") -> "Counts":
        status, unit = dataset["status"].values, unit_of(dataset)
        made = dataset[COUNTED[unit]].transpose(*dataset["status"].dims).values
        total = dataset.attrs["steps" if unit == "step" else unit]
        ended = ~np.isin(status, UNFINISHED)
        count = lambda which: int(np.sum(which))
        share = np.where(ended, 1.0, np.minimum(made / total, 1.0)).mean()
        return cls(
            trials=status.size,
            done=count(ended),
            running=count(~ended & (made > 0)),
            diverged=count(status == "diverged"),
            failed=count(status == "failed"),
            share=float(share),
        )

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        running = f", {self.running} running" if self.running else ""
        return f"{self.done}/{self.trials} trials done{running}, {self.diverged} diverged{failed}, {self.share:.0%}"


def sparkline(
    heights: Sequence[float] | np.ndarray, marks: Sequence[str] | None = None, low: float = 0.0, high: float = 1.0
) -> str:
    """Draw values as a line of blocks, the lowest for `low` and below, the highest for `high` and above.

    Args:
        heights: The values; NaN where there is none.
        marks: A character for each value, which is shown where it is NaN; by default a space.
        low: The value of the lowest block.
        high: The value of the highest block, above `low`.

    """
    marks = [EMPTY] * len(heights) if marks is None else marks
    blocks = []
    for value, mark in zip(heights, marks, strict=True):
        if math.isnan(value):
            blocks.append(mark)
        else:
            share = (value - low) / (high - low) if high > low else 0.5
            blocks.append(BLOCKS[min(max(int(share * len(BLOCKS)), 0), len(BLOCKS) - 1)])
    return "".join(blocks)


class Curve(NamedTuple):
    """An optimizer's sensitivity: its least and greatest rate, and the best score and the mark of each cell."""

    least: Any
    greatest: Any
    best: np.ndarray
    marks: list[str]


class Sensitivities(NamedTuple):
    """Sparklines by optimizer, and their scale: the values of the lowest and of the highest block."""

    lines: dict[str, str]
    low: float
    high: float


def sensitivities(dataset: "xr.Dataset", metric: str) -> Sensitivities | None:
    """Return a sparkline for each optimizer that varies its learning rate: the best median score at each rate.

    All share one scale, logarithmic where losses span a large range, which ends where the plots' does: at two
    improvements beyond the start. Losses are low where they are good, as in a plot. Before and after the blocks are the
    least and the greatest learning rate. Many rates share cells, which are evenly spaced in the logarithm.
    None where no optimizer varies its learning rate.
    """
    if RATE not in dataset.coords:
        return None
    found = _curves(dataset, metric)
    axis = scale(dataset, metric, np.concatenate([np.empty(0), *(curve.best for curve in found.values())]))
    ends = sorted([axis.best, axis.worst])
    height = (lambda x: np.log(np.maximum(x, ends[0]))) if axis.log else np.asarray
    low, high = map(float, map(height, ends))
    lines = {}
    for name, curve in found.items():
        blocks = sparkline(height(curve.best), curve.marks, low, high)
        after = f" {short(curve.greatest)}" if len(curve.best) > 1 else ""
        lines[name] = f"{short(curve.least)} {blocks}{after}"
    return Sensitivities(lines, *ends)


def _curves(dataset: "xr.Dataset", metric: str) -> dict[str, Curve]:
    """Return the sensitivity of each optimizer that varies its learning rate."""
    medians, column, found = median_score(dataset, metric), dataset[RATE].values, {}
    lost = (dataset["status"].transpose("config", "seed").values == "diverged").all(axis=1)
    choose = np.max if greater_is_better(dataset, metric) else np.min
    for name in dict.fromkeys(dataset["optimizer"].values.tolist()):
        rows = np.flatnonzero((dataset["optimizer"].values == name) & present(column))
        if not rows.size:
            continue
        tried, at, count = _cells(narrowed(column[rows]))
        best, marks = np.full(count, np.nan), [EMPTY] * count
        for cell in np.unique(at).tolist():
            own = rows[at == cell]
            if (finite := medians[own][np.isfinite(medians[own])]).size:
                best[cell] = choose(finite)
            else:
                marks[cell] = DIVERGED if lost[own].all() else UNKNOWN
        found[name] = Curve(tried[0], tried[-1], best, marks)
    return found


def _cells(rates: np.ndarray) -> tuple[list, np.ndarray, int]:
    """Return the distinct learning rates, the cell of each configuration, and the number of cells."""
    tried, at = distinct(rates)
    listed = tried.tolist()
    if len(listed) <= CELLS:
        return listed, at, len(listed)
    if tried.dtype.kind in "fi" and listed[0] > 0:
        place = np.log(tried.astype(float))
    else:
        place = np.arange(len(listed), dtype=float)
    share = (place - place[0]) / (place[-1] - place[0])
    return listed, np.minimum((share * CELLS).astype(int), CELLS - 1)[at], CELLS


def plain_line(seen: Watched) -> str:
    """Describe a task's run in one line."""
    counts = "" if seen.dataset is None else f", {Counts.of(seen.dataset)}"
    note = f" ({seen.note})" if seen.note else ""
    return printable(f"{seen.name}: {seen.state}{counts}{note}")


def display(tasks: Sequence[Watched], width: int, seconds: float | None = None) -> "Group":
    """Make the display of a run: for each task its counts, and a row for each optimizer.

    Args:
        tasks: What was read of each task's run.
        width: The terminal's width.
        seconds: How long it has been followed; None leaves it out.

    """
    from rich.console import Group
    from rich.text import Text

    parts = []
    for seen in tasks:
        parts.append(Text(plain_line(seen), style="bold" if seen.dataset is not None else ""))
        if seen.dataset is not None:
            parts += _standing(seen.dataset, width)
    if any(seen.dataset is not None and RATE in seen.dataset.coords for seen in tasks):
        parts.append(Text(KEY, style="dim"))
    if seconds is not None:
        parts.append(Text(f"Followed for {clock(seconds)}; Ctrl-C ends this display, not the run.", style="dim"))
    return Group(*parts)


def _standing(dataset: "xr.Dataset", width: int) -> list:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    metric, counts = default_metric(dataset), Counts.of(dataset)
    where = where_compared(dataset, metric)
    bar = [] if counts.done == counts.trials else [ProgressBar(total=1.0, completed=counts.share, width=width)]
    about = [Text(where if where is not None else f"Compared after {budget(dataset)}.")]
    return [*bar, *about, _table(dataset, metric), Text()]


def _table(dataset: "xr.Dataset", metric: str) -> "Table":
    """Return a row for each optimizer, best first: its best median, at which learning rate, and its sparkline."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    board, found = leaderboard(dataset, metric), sensitivities(dataset, metric)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("optimizer", overflow="fold")
    table.add_column(escape(printable(f"best\n{metric.replace('_', ' ')}")), justify="right")
    table.add_column("\ndiverged", justify="right")
    if found is not None:
        ends = f"{BLOCKS[0]} {number(found.low)}, {BLOCKS[-1]} {number(found.high)}"
        table.add_column("best\nrate", justify="right")
        table.add_column(f"by learning rate\n{ends}", overflow="fold")
    for row in board.to_dict("records"):
        name = row["optimizer"]
        cells = [name, number(row[metric]), f"{row['diverged']:.0%}"]
        if found is not None:
            cells += [number(row.get(RATE, math.nan)), found.lines.get(name, "")]
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table
