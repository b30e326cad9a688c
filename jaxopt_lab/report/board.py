"""A leaderboard as a text table that fits the terminal's width."""

import math
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jaxopt_lab.checking import printable
from jaxopt_lab.formats import compact, number
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import compared, default_metric
from jaxopt_lab.store.axes import at_point, budget, unequal_examples, unequal_gradients
from jaxopt_lab.tasks.names import CONTINUED_FROM, QUARTILES

if TYPE_CHECKING:
    import pandas as pd


TO = "\N{EN DASH}"
ROOMY = 90  # terminal width from which on table columns are spaced further apart
WIDE = 110  # terminal width from which on quartiles stand beside their median, not below it


def board(results: Results, width: int) -> Group:
    """Make the leaderboard of one task for a terminal of the given width."""
    frame, attrs, sizes = results.leaderboard(), results.dataset.attrs, results.dataset.sizes
    metric = default_metric(results.dataset)
    trials = sizes["config"] * sizes["seed"]
    title = f"{attrs['task']}: {trials} trials of {budget(results.dataset)}, best {metric.replace('_', ' ')} first"
    stopped = int((results.dataset["status"] == "stopped").sum())
    title += f", {stopped} stopped early" if stopped else ""
    title += ", interrupted" if attrs["interrupted"] else ""
    at = compared(results.dataset, metric)
    title += "" if at.complete else f", compared at {at_point(results.dataset, at.step)}"
    for unequal in (unequal_examples(results.dataset), unequal_gradients(results.dataset)):
        title += "" if unequal is None else f", {unequal}"
    gap = 1 if width >= ROOMY else 0  # in addition to the box's own
    if CONTINUED_FROM in results.dataset:
        title += ", hyperparameters as they began"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))
    table.add_column("optimizer", overflow="fold")
    columns: dict[str, list[str]] = {}
    if "learning_rate" in frame:
        columns["best\nrate"] = [number(x) for x in frame["learning_rate"]]
    for score in dict.fromkeys([metric, *(c for c in ("validation_loss", "test_loss") if c in frame)]):
        columns[score.replace("_", "\n")] = _with_quartiles(frame, score, " " if width >= WIDE else "\n")
    tested = [c for c in frame if str(c).startswith("test_") and not str(c).endswith(QUARTILES) and c != "test_loss"]
    for score in tested:
        columns[str(score).replace("_", "\n", 1)] = [number(x) for x in frame[score]]
    if "examples" in frame and width >= ROOMY:  # the title says it at any width
        columns["examples\nseen"] = [compact(x) for x in frame["examples"]]
    if "gradients" in frame and width >= ROOMY:
        columns["gradients\ntaken"] = [compact(x) if math.isfinite(x) else "-" for x in frame["gradients"]]
    columns["\ndiverged"] = [f"{share:.0%}" for share in frame["diverged"]]
    if "good_decades" in frame:
        columns["good\ndecades"] = [f"{width:.1f}" for width in frame["good_decades"]]
    for header in columns:
        table.add_column(_cell(header), justify="right")
    for optimizer, *cells in zip(frame["optimizer"], *columns.values(), strict=True):
        table.add_row(_cell(optimizer), *map(_cell, cells))
    return Group(Text(printable(title), style="bold"), table)


def _cell(text: str) -> str:
    """Escape text, so that neither the terminal nor Rich interprets it."""
    return escape(printable(text))


def _with_quartiles(frame: "pd.DataFrame", score: str, between: str) -> list[str]:
    rows = zip(frame[score], frame[f"{score}_q25"], frame[f"{score}_q75"], strict=True)
    spread = lambda low, high: f"{between}{number(low)}{TO}{number(high)}"
    return [number(mid) + (spread(low, high) if math.isfinite(mid) else "") for mid, low, high in rows]
