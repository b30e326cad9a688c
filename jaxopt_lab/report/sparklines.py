"""Sparklines: how each optimizer depends on its learning rate, in one line of text."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxopt_lab.engine.standing import Rates, Sensitivity
from jaxopt_lab.formats import short
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots.scale import Scale, ranging
from jaxopt_lab.tasks.direction import MAX, MIN

if TYPE_CHECKING:  # importing Rich takes a while
    from rich.console import Console

BLOCKS = "▁▂▃▄▅▆▇█"
DIVERGED, UNKNOWN, EMPTY = "x", "·", " "
IN_ASCII = str.maketrans(f"{BLOCKS}{UNKNOWN}", ".:-=+*#@?")
CELLS = 16  # of a sparkline, at most: more learning rates share cells
KEY = (
    f"Sparklines: best score so far against the learning rate, on one scale for all; {DIVERGED}: all trials diverged, "
    f"{UNKNOWN}: no score yet, or stopped early."
)


class Curve(NamedTuple):
    """An optimizer's sensitivity: its least and greatest rate, and the best score and the mark of each cell."""

    least: Any
    greatest: Any
    best: np.ndarray
    marks: list[str]


class Sparklines(NamedTuple):
    """Sparklines by optimizer, and their scale: the values of the lowest and of the highest block."""

    lines: dict[str, str]
    low: float
    high: float


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


def of_progress(found: Sensitivity) -> Sparklines | None:
    """Return a sparkline for each optimizer that varies its learning rate, of a sweep that runs.

    None where there is no such optimizer, or nothing is known of any rate yet.
    """
    curves = {name: curve(own, found.greater) for name, own in found.optimizers.items() if present(own.rates).any()}
    if not any(np.isfinite(own.best).any() or DIVERGED in own.marks for own in curves.values()):
        return None
    return drawn(curves, ranging(scores(curves), found.start, MAX if found.greater else MIN))


def drawn(curves: Mapping[str, Curve], axis: Scale) -> Sparklines:
    """Draw sparklines on one scale. Before and after the blocks are the least and the greatest learning rate."""
    ends = sorted([axis.best, axis.worst])
    height = (lambda x: np.log(np.maximum(x, ends[0]))) if axis.log else np.asarray
    low, high = map(float, map(height, ends))
    lines = {}
    for name, own in curves.items():
        blocks = sparkline(height(own.best), own.marks, low, high)
        after = f" {short(own.greatest)}" if len(own.best) > 1 else ""
        lines[name] = f"{short(own.least)} {blocks}{after}"
    return Sparklines(lines, *ends)


def scores(curves: Mapping[str, Curve]) -> np.ndarray:
    """Return the scores of all curves together."""
    return np.concatenate([np.empty(0), *(own.best for own in curves.values())])


def curve(own: Rates, greater: bool) -> Curve:
    """Return the best median at each learning rate; many rates share cells, evenly spaced in the logarithm."""
    choose = np.max if greater else np.min
    has = present(own.rates)
    medians, lost = own.medians[has], own.diverged[has]
    tried, at, count = _cells(narrowed(own.rates[has]))
    best, marks = np.full(count, np.nan), [EMPTY] * count
    for cell in np.unique(at).tolist():
        here = at == cell
        if (finite := medians[here][np.isfinite(medians[here])]).size:
            best[cell] = choose(finite)
        else:
            marks[cell] = DIVERGED if lost[here].all() else UNKNOWN
    return Curve(tried[0], tried[-1], best, marks)


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


def shown_on(console: "Console", text: str) -> str:
    """Return the text in characters that the console's encoding has: blocks as ".:-=+*#@", others escaped."""
    if not console.options.ascii_only:
        return text
    encoding = console.encoding
    return text.translate(IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
