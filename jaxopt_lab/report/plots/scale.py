"""The axis of a metric: a range with the relevant values, and a strip beyond its worse end for diverged trials."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.report.plots.canvas import GREY, grid, log_ticks
from jaxopt_lab.results.score import direction
from jaxopt_lab.tasks.direction import MAX
from jaxopt_lab.tasks.names import IN_FORCE

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

STRIP = 0.16  # height of the strip, relative to the range
NAMED = 0.05  # the part of it that the strip's label takes
SMALLER = "small"  # than the text around it
LOG_FROM = 30.0  # ratio of worst to best from which on the axis is logarithmic


class Scale(NamedTuple):
    """A range of values, logarithmic or linear; `best` and `worst` are its ends, in either direction."""

    log: bool
    best: float
    worst: float

    def at(self, fraction: float) -> float:
        """Return the value that lies `fraction` of the range beyond its worst end."""
        if self.log:
            return float(self.worst * (self.worst / self.best) ** fraction)
        return float(self.worst + (self.worst - self.best) * fraction)

    def lane(self, i: int, n: int) -> float:
        """Return the height at which the `i`-th of `n` optimizers has its diverged trials, so that none overlap."""
        return self.at((STRIP - NAMED) * (i + 1) / (n + 1))

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """Return which values are worse than the range: infinite ones, and finite outliers."""
        return values < self.worst if self.worst < self.best else values > self.worst

    def clip(self, values: np.ndarray, lane: float) -> np.ndarray:
        """Move values beyond the range to `lane`, and on a logarithmic axis those below it to its best end."""
        values = np.where(self.beyond(values), lane, values)
        return np.where(values < self.best, self.best, values) if self.log else values


def scale(dataset: "xr.Dataset", metric: str, values: np.ndarray, log_from: float = LOG_FROM) -> Scale:
    """Choose a scale for `values` of `metric`, from the best to at most two improvements beyond the start of training.

    An improvement is the distance from the start to the best, so for a loss that nearly vanishes the range ends at
    three times its start: one trial at 1e30 does not flatten all others. It is logarithmic where losses >= 0 span a
    factor of `log_from`. A metric without a direction is shown whole.
    """
    starts = dataset[metric].values[..., 0]
    starts = starts[np.isfinite(starts)]
    start = float(np.median(starts)) if starts.size else math.nan
    # A schedule may come from 0 or end there.
    return ranging(values, start, direction(dataset, metric), math.inf if metric.endswith(IN_FORCE) else log_from)


def ranging(values: np.ndarray, start: float, way: str | None, log_from: float = LOG_FROM) -> Scale:
    """Choose a scale as `scale` does, where training starts at `start` (NaN where that is unknown).

    Args:
        values: The values to show; infinite ones and NaN do not count.
        start: The typical value before training.
        way: The direction in which the metric is better, "max" or "min"; None where it is unknown.
        log_from: The ratio of worst to best from which on the scale is logarithmic.

    """
    greater = way == MAX
    sign = -1 if greater else 1
    finite, start = sign * values[np.isfinite(values)], sign * start
    finite = finite if finite.size else np.full(1, start if math.isfinite(start) else 0.0)
    best, worst = float(finite.min()), float(finite.max())
    if way and start > best:
        worst = min(worst, start + 2 * (start - best))
    positive = finite[finite > 0]
    if not greater and best >= 0 and positive.size and worst > log_from * positive.min():
        best = float(positive.min())
        return Scale(True, best, worst * (worst / best) ** 0.03)
    room = 0.03 * (worst - best) or 0.1 * abs(best) or 1.0
    return Scale(False, sign * best, sign * (worst + room))


def finish(ax: "Axes", scale: Scale, beyond: Iterable[str]) -> None:
    """Set the range of the y axis; draw and label the strip if anything is in it.

    Args:
        ax: The axes.
        scale: The scale of the values drawn.
        beyond: What the strip contains, for example diverged.

    """
    from matplotlib import rcParams

    ax.set_yscale("log" if scale.log else "linear")
    beyond = list(beyond)
    end = scale.at(STRIP if beyond else 0.0)
    ends = sorted([scale.at(-1.04), end])
    ax.set_ylim(*ends)
    if scale.log:
        log_ticks(ax.yaxis, *ends)
    grid(ax)
    if not beyond:
        return
    for minor in (False, True):  # the strip is not part of the scale, so it has no ticks
        ticks = ax.get_yticks(minor=minor)
        inside = (ticks >= ends[0]) & (ticks <= ends[1]) & ~scale.beyond(ticks)
        ax.set_yticks(ticks[inside], minor=minor)
    ax.axhspan(*sorted([scale.worst, end]), color="0.93", linewidth=0, zorder=0, gid="strip")
    ax.axhline(scale.worst, color="0.6", linewidth=rcParams["axes.linewidth"], zorder=1, gid="ceiling")
    ax.annotate(
        " or ".join(beyond),
        xy=(0, end),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="bottom" if scale.worst < scale.best else "top",
        fontsize=SMALLER,
        color=GREY,
        gid="strip name",
    )
