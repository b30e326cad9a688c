"""A run while it is followed: what its partial results say, and the sensitivity to the learning rate in one line."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.checking import printable
from jaxopt_lab.engine.standing import RATE, Rates
from jaxopt_lab.formats import clock, number
from jaxopt_lab.labels import present
from jaxopt_lab.report.plots.scale import scale
from jaxopt_lab.report.sparklines import BLOCKS, KEY, Sparklines, curve, drawn, scores
from jaxopt_lab.results.best import where_compared
from jaxopt_lab.results.leaderboard import leaderboard
from jaxopt_lab.results.score import UNFINISHED, default_metric, greater_is_better, median_score
from jaxopt_lab.store.axes import COUNTED, budget, unit_of

if TYPE_CHECKING:  # importing Rich takes a while
    import xarray as xr
    from rich.console import Group
    from rich.table import Table


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


def sensitivities(dataset: "xr.Dataset", metric: str) -> Sparklines | None:
    """Return a sparkline for each optimizer that varies its learning rate: the best median score at each rate.

    All share one scale, logarithmic where losses span a large range, which ends where the plots' does: at two
    improvements beyond the start. Losses are low where they are good, as in a plot. None where no optimizer varies its
    learning rate.
    """
    if RATE not in dataset.coords:
        return None
    medians, rates, found = median_score(dataset, metric), dataset[RATE].values, {}
    lost = (dataset["status"].transpose("config", "seed").values == "diverged").all(axis=1)
    greater = greater_is_better(dataset, metric)
    for name in dict.fromkeys(dataset["optimizer"].values.tolist()):
        own = (dataset["optimizer"].values == name) & present(rates)
        if own.any():
            found[name] = curve(Rates(rates[own], medians[own], lost[own]), greater)
    return drawn(found, scale(dataset, metric, scores(found)))


def plain_line(seen: Watched) -> str:
    """Describe a task's run in one line."""
    counts = "" if seen.dataset is None else f", {Counts.of(seen.dataset)}"
    note = f" ({seen.note})" if seen.note else ""
    return printable(f"{seen.name}: {seen.state}{counts}{note}")


def display(
    tasks: Sequence[Watched], width: int, seconds: float | None = None, say: Callable[[str], str] = str
) -> "Group":
    """Make the display of a run: for each task its counts, and a row for each optimizer.

    Args:
        tasks: What was read of each task's run.
        width: The terminal's width.
        seconds: How long it has been followed; None leaves it out.
        say: Writes a text in the terminal's characters.

    """
    from rich.console import Group
    from rich.text import Text

    parts = []
    for seen in tasks:
        parts.append(Text(say(plain_line(seen)), style="bold" if seen.dataset is not None else ""))
        if seen.dataset is not None:
            parts += _standing(seen.dataset, width, say)
    if any(seen.dataset is not None and RATE in seen.dataset.coords for seen in tasks):
        parts.append(Text(say(KEY), style="dim"))
    if seconds is not None:
        parts.append(Text(f"Followed for {clock(seconds)}; Ctrl-C ends this display, not the run.", style="dim"))
    return Group(*parts)


def _standing(dataset: "xr.Dataset", width: int, say: Callable[[str], str]) -> list:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    metric, counts = default_metric(dataset), Counts.of(dataset)
    where = where_compared(dataset, metric)
    bar = [] if counts.done == counts.trials else [ProgressBar(total=1.0, completed=counts.share, width=width)]
    about = [Text(where if where is not None else f"Compared after {budget(dataset)}.")]
    return [*bar, *about, _table(dataset, metric, say), Text()]


def _table(dataset: "xr.Dataset", metric: str, say: Callable[[str], str]) -> "Table":
    """Return a row for each optimizer, best first: its best median, at which learning rate, and its sparkline."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    board, found = leaderboard(dataset, metric), sensitivities(dataset, metric)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("optimizer", overflow="fold")
    table.add_column(escape(say(printable(f"best\n{metric.replace('_', ' ')}"))), justify="right")
    table.add_column("\ndiverged", justify="right")
    if found is not None:
        ends = f"{BLOCKS[0]} {number(found.low)}, {BLOCKS[-1]} {number(found.high)}"
        table.add_column("best\nrate", justify="right")
        table.add_column(say(f"by learning rate\n{ends}"), overflow="fold")
    for row in board.to_dict("records"):
        name = row["optimizer"]
        cells = [name, number(row[metric]), f"{row['diverged']:.0%}"]
        if found is not None:
            cells += [number(row.get(RATE, math.nan)), found.lines.get(name, "")]
        table.add_row(*(escape(say(printable(cell))) for cell in cells))
    return table
