"""Rungs: how many configurations a stop rule left at each rung, and their scores there."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.report.plots.scale import finish, scale
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import curves as curves_of
from jaxopt_lab.results.score import default_metric
from jaxopt_lab.store.axes import COUNTED, unit_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LOG_FROM = 4.0  # as differences between those that are left are small
STOPPED = ("stopped", "plateau")  # statuses that a rule gives


class Rungs(NamedTuple):
    """What configurations came to at each rung, and at the end of training; all but `steps` are (configs, rungs).

    Attributes:
        steps: The steps of the rungs, and the last step.
        medians: Medians over seeds, NaN for a configuration that had ended at an earlier rung.
        ended: Whether the configuration was stopped at the rung, or diverged before it.
        reached: 1 where it reached the rung.

    """

    steps: np.ndarray
    medians: np.ndarray
    ended: np.ndarray
    reached: np.ndarray


def rungs(results: Results, metric: str | None, ax: "Axes | None") -> "Axes":
    """Draw each configuration's median at every rung that it reached, and how many went on.

    Filled markers went on from the rung; open ones ended there or, diverged, before it. Thin lines join the rungs of a
    configuration.
    The numbers at the top are those of configurations that reached the rung and, last, the end of training.

    Args:
        results: Results of a sweep with a stop rule.
        metric: Any loss or metric of the dataset; by default the task's main metric.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: `ax` is not axes.
        ValueError: No trial was stopped by a rule, or the metric is unknown.

    """
    from matplotlib.lines import Line2D

    dataset = results.dataset
    metric = default_metric(dataset) if metric is None else metric
    check_known("curve", metric, curves_of(dataset))
    steps, values, ended, reached = _at_rungs(dataset, metric)
    y, ax = scale(dataset, metric, values, log_from=LOG_FROM), canvas.axes(ax)
    names = words.optimizers(dataset)
    lines, left = [], np.zeros((len(names), len(steps)), int)
    for i, (name, look) in enumerate(zip(names, looks(names), strict=True)):
        lane, own = y.lane(i, len(names)), np.flatnonzero(dataset["optimizer"].values == name)
        x = steps * 1.07 ** (i - (len(names) - 1) / 2)  # optimizers stand side by side
        shown, ends = y.clip(values[own], lane), ended[own]
        shown = np.where(np.isnan(values[own]), np.nan, shown)
        left[i] = reached[own].sum(axis=0)
        ax.plot(x, shown.T, color=look["color"], linewidth=0.35 * look["linewidth"], alpha=0.45, zorder=1)
        dots: dict[str, Any] = look | {"linestyle": "", "markeredgewidth": 0.8}
        at, there = np.broadcast_to(x, shown.shape), ~np.isnan(shown)
        (line,) = ax.plot(at[there & ~ends], shown[there & ~ends], **dots, gid="went on")
        ax.plot(at[there & ends], shown[there & ends], **dots, fillstyle="none", alpha=0.8, gid="ended")
        lines.append((line, words.plain(name)))
    lost = y.beyond(np.where(np.isnan(values), y.best, values))
    diverged = (dataset["status"].values == "diverged").any(axis=1)
    why = [*(["diverged"] if lost[diverged].any() else []), *(["off the scale"] if lost[~diverged].any() else [])]
    finish(ax, y, why)
    _ticks(ax, dataset, steps, left)
    canvas.title(ax, words.titled(dataset))
    over = "median of " if dataset.sizes["seed"] > 1 else ""
    canvas.ylabel(ax, f"{words.words(metric)}, {over}{words.seeds(dataset)}")
    marker: dict[str, Any] = {
        "color": canvas.GREY,
        "marker": "o",
        "linestyle": "",
        "markersize": lines[0][0].get_markersize(),
    }
    symbols = [Line2D([], [], **marker, label="goes on"), Line2D([], [], **marker, fillstyle="none", label="ends")]
    left_over = f"at the top: configurations left ({' + '.join(map(words.plain, names))})"
    symbols.append(Line2D([], [], linestyle="", label=left_over))
    legend.place(ax, [(line, name) for line, name in lines], symbols)
    return ax


def _at_rungs(dataset: "xr.Dataset", metric: str) -> Rungs:
    """Read the rungs that trials were stopped at.

    At each rung, all configurations are read at the last recorded point that those which stopped there have.
    """
    status, taken = (dataset[name].transpose("config", "seed").values for name in ("status", COUNTED[unit_of(dataset)]))
    by_rule = np.isin(status, STOPPED)
    if not by_rule.any():
        raise ArgumentValueError("No trial of this sweep was stopped by a rule, so it has no rungs. See plot.curves.")
    curve = dataset[metric].transpose("config", "seed", ...)
    points, known = dataset[curve.dims[-1]].values, curve.values
    ends, came = np.unique(taken[by_rule]), taken.max(axis=1)  # the furthest seed of each configuration
    steps = np.append(ends, max(points[-1], ends[-1] + 1))
    medians = np.full((len(came), len(steps)), np.nan)
    for k, end in enumerate(steps):
        entered = came > steps[k - 1] if k else np.ones(len(came), bool)
        here = by_rule & (taken == end) if k < len(ends) else ~by_rule
        read = ~np.isnan(known[here]).all(axis=0) & (points <= end)
        values = known[..., np.flatnonzero(read)[-1]] if read.any() else np.full(status.shape, np.nan)
        medians[entered, k] = np.median(_worst(values, status), axis=1)[entered]
    ended = came[:, None] <= np.append(ends, steps[-1] - 1)
    return Rungs(steps.astype(float), medians, ended, (came[:, None] >= np.append(ends, points[-1])).astype(int))


def _worst(values: np.ndarray, status: np.ndarray) -> np.ndarray:
    """Return values with +inf where a diverged trial has none."""
    return np.where(np.isnan(values) & (status == "diverged"), np.inf, values)


def _ticks(ax: "Axes", dataset: "xr.Dataset", steps: np.ndarray, left: np.ndarray) -> None:
    """Set up the x axis, logarithmic with a tick at each rung, and write how many configurations reached it."""
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log")
    ax.set_xlim(steps[0] / 1.25, steps[-1] * 1.25)
    ax.set_xticks(steps, [f"{step:g}" for step in steps])
    ax.xaxis.set_minor_locator(NullLocator())
    canvas.xlabel(ax, words.axis(dataset))
    above = ax.secondary_xaxis("top")
    above.set_xticks(steps, [" + ".join(map(str, column)) for column in left.T])
    above.xaxis.set_minor_locator(NullLocator())
    above.tick_params(length=0, pad=1)
    above.spines["top"].set_visible(False)
