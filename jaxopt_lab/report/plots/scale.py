"""The axis of a metric: a range that shows what matters, and beyond its worse end a strip for all that diverged."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.results.score import direction
from jaxopt_lab.tasks.direction import MAX

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

STRIP = 0.16  # height of the strip, in heights of the range
NAMED = 0.05  # of which the strip's name takes so much
LOG_FROM = 30.0  # ratio of worst to best from which a logarithmic axis reads better


class Scale(NamedTuple):
    """A range of values, logarithmic or not; `best` and `worst` are its ends, whichever way is better."""

    log: bool
    best: float
    worst: float

    def at(self, fraction: float) -> float:
        """The value `fraction` of the range beyond its worst end."""
        if self.log:
            return float(self.worst * (self.worst / self.best) ** fraction)
        return float(self.worst + (self.worst - self.best) * fraction)

    def lane(self, i: int, n: int) -> float:
        """Where the `i`-th of `n` optimizers has its diverged trials, so that none covers another's."""
        return self.at((STRIP - NAMED) * (i + 1) / (n + 1))

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """Which values are worse than the range: infinite ones, and finite ones far off."""
        return values < self.worst if self.worst < self.best else values > self.worst

    def clip(self, values: np.ndarray, lane: float) -> np.ndarray:
        """The values, those beyond the range at `lane`; on a logarithmic axis exact zeros at its best end."""
        values = np.where(self.beyond(values), lane, values)
        return np.where(values < self.best, self.best, values) if self.log else values


def scale(dataset: "xr.Dataset", metric: str, values: np.ndarray) -> Scale:
    """A scale for `values` of `metric`, reaching from the best at most two improvements beyond the start of training.

    An improvement is from the start to the best, so that for a loss that nearly vanishes this is three times its start:
    one trial at 1e30 does not flatten all others. It is logarithmic where losses >= 0 span a factor of LOG_FROM. A
    metric of which nothing says which way is better is shown whole.
    """
    way = direction(dataset, metric)
    greater = way == MAX
    sign = -1 if greater else 1
    starts = dataset[metric].values[..., 0]
    starts = sign * starts[np.isfinite(starts)]
    finite = sign * values[np.isfinite(values)]
    finite = finite if finite.size else np.median(starts, keepdims=True) if starts.size else np.zeros(1)
    best, worst = float(finite.min()), float(finite.max())
    if way and starts.size and np.median(starts) > best:
        start = float(np.median(starts))
        worst = min(worst, start + 2 * (start - best))
    positive = finite[finite > 0]
    if not greater and best >= 0 and positive.size and worst > LOG_FROM * positive.min():
        best = float(positive.min())
        return Scale(True, best, worst * (worst / best) ** 0.03)
    room = 0.03 * (worst - best) or 0.1 * abs(best) or 1.0
    return Scale(False, sign * best, sign * (worst + room))


def finish(ax: "Axes", scale: Scale, beyond: Iterable[str]) -> None:
    """Set the range of the y axis; draw and name the strip where there is something in it.

    Args:
        ax: Whose y axis.
        scale: Of the values drawn.
        beyond: What is in the strip, for example diverged.

    """
    ax.set_yscale("log" if scale.log else "linear")
    beyond = list(beyond)
    end = scale.at(STRIP if beyond else 0.0)
    ends = sorted([scale.at(-1.04), end])
    ax.set_ylim(*ends)
    ax.grid(True, axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    if not beyond:
        return
    for minor in (False, True):  # the strip is no part of the scale, so it has no ticks
        ticks = ax.get_yticks(minor=minor)
        inside = (ticks >= ends[0]) & (ticks <= ends[1]) & ~scale.beyond(ticks)
        ax.set_yticks(ticks[inside], minor=minor)
    ax.axhspan(*sorted([scale.worst, end]), color="0.93", linewidth=0, zorder=0, gid="strip")
    ax.axhline(scale.worst, color="0.6", linewidth=0.8, zorder=1, gid="ceiling")
    ax.annotate(
        " or ".join(beyond),
        xy=(0, end),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="bottom" if scale.worst < scale.best else "top",
        fontsize=7,
        color="0.35",
        gid="strip name",
    )
