"""Profiles: the share of trials that reach a target within a number of steps, and of tasks solved within a ratio."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known, check_number, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.results.best import best
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import curves as curves_of
from jaxopt_lab.results.score import default_metric, greater_is_better
from jaxopt_lab.statistics.aggregates import interval_of_share
from jaxopt_lab.statistics.profiles import performance_profile, steps_to_target

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes


def steps_to(dataset: "xr.Dataset", metric: str, target: float) -> np.ndarray:
    """Return the first recorded step at which each trial has reached a target, (configs, seeds); infinite if never.

    Raises:
        TypeError, ValueError: The metric is unknown or has no direction, or the target is not a finite number.

    """
    check_known("curve", metric, curves_of(dataset))
    sign, at = (-1 if greater_is_better(dataset, metric) else 1), check_number("target", target)
    curve = dataset[metric].transpose("config", "seed", ...)
    reached = sign * np.where(np.isnan(curve.values), sign * np.inf, curve.values)  # no value is no success
    return steps_to_target(dataset[curve.dims[-1]].values, reached, sign * at)


def reached(results: Results, target: float, metric: str | None, ax: "Axes | None") -> "Axes":
    """Draw the share of seeds that have reached a target, against the step: an empirical distribution function.

    Each optimizer is shown with its best configuration by the task's main metric. A seed that never reached the target
    counts as not reached, however it ended. Beside each name is how many reached it within the
    budget, with the exact 95 % interval of their share (Clopper & Pearson 1934,
    https://doi.org/10.1093/biomet/26.4.404). The steps are those at which the metric was recorded.

    Args:
        results: A sweep's results.
        target: The value to reach.
        metric: Any loss or metric of the dataset; by default the task's main metric.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: The target is not a number, or `ax` is not axes.
        ValueError: The metric is unknown or has no direction, or the target is not finite.

    """
    from matplotlib.lines import Line2D

    dataset, ax = results.dataset, canvas.axes(ax)
    metric = default_metric(dataset) if metric is None else metric
    first, names = steps_to(dataset, metric, target), words.optimizers(dataset)
    points = dataset[dataset[metric].dims[-1]].values.astype(float)
    lines = []
    for name, look in zip(names, looks(names), strict=True):
        own = first[np.flatnonzero(dataset["config"].values == best(dataset, optimizer=name).config)[0]]
        count, total = (own[:, None] <= points).sum(axis=0), int(np.isfinite(own).sum())
        low, high = (f"{100 * end:.0f}" for end in interval_of_share(total, len(own)))
        every = max(1, len(points) // 8)
        more: dict[str, Any] = {"drawstyle": "steps-post", "markevery": (len(lines) % every, every), "gid": "share"}
        (line,) = ax.plot(points, count / len(own), **look | more)
        lines.append((line, f"{words.plain(name)}\n{total} of {len(own)} ({low}-{high}\N{NO-BREAK SPACE}%)"))
    ax.set_xlim(*canvas.widened(points[0], points[-1]))
    ax.set_ylim(-0.02, 1.02)
    canvas.grid(ax)
    canvas.title(ax, words.titled(dataset))
    canvas.xlabel(ax, words.axis(dataset))
    side = ">=" if greater_is_better(dataset, metric) else "<="
    canvas.ylabel(ax, f"share of {words.seeds(dataset)}, {words.words(metric)} {side} {words.short(target)}")
    legend.place(ax, lines, [Line2D([], [], linestyle="", label="(95 % interval of the share that ever does)")])
    return ax


def performance(
    costs: "pd.DataFrame",
    *,
    most: float = 4.0,
    cost: str = "steps to target",
    title: str = "",
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw performance profiles: the share of tasks that each optimizer solves at up to r times the least cost.

    At r = 1 it is the share of tasks on which the optimizer is cheapest; at the right end that of tasks which it solves
    at all within `most` times the least cost (Dolan & More 2002, https://arxiv.org/abs/cs/0102001). Profiles are
    relative to the optimizers that are compared: adding one may change the order of others.

    Args:
        costs: Costs to the target, > 0 and infinite where it was missed: a row for each optimizer, a column for each
            task.
        most: The greatest ratio to show, > 1.
        cost: What the cost is.
        title: The title.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError: `costs` is not a table.
        ValueError: A cost is NaN or not positive, the table is empty, or `most` is at most 1.

    """
    import pandas as pd

    if not isinstance(costs, pd.DataFrame):
        raise ArgumentTypeError(f"costs must be a DataFrame (optimizers, tasks), got {quoted(costs)}.")
    if not costs.size:
        raise ArgumentValueError("costs has no rows or no columns: it needs one for each optimizer and each task.")
    if (end := check_number("most", most)) <= 1:
        raise ArgumentValueError(f"most must be > 1, the ratio of the cheapest to itself, got {most}.")
    table, names = costs.to_numpy(float), [str(name) for name in costs.index]
    performance_profile(table, np.ones(1))  # checks the costs
    jumps, marked = _ratios(table), np.geomspace(1, end, 8 * len(names))  # markers are apart, not at the jumps
    ratios = np.unique(np.concatenate([marked, jumps[jumps <= end]]))
    shares, ax = performance_profile(table, ratios), canvas.axes(ax)
    lines = []
    for i, (name, look) in enumerate(zip(names, looks(names), strict=True)):
        every = np.searchsorted(ratios, marked[i :: len(names)]).tolist()
        more: dict[str, Any] = {"drawstyle": "steps-post", "markevery": every, "gid": "profile"}
        lines += [(line, words.plain(name)) for line in ax.plot(ratios, shares[i], **look | more)]
    ax.set_xscale("log", base=2)
    ticks = [r for r in (1, 1.25, 1.5, 2, 3, 4, 6, 8, 16, 32, 64, 128) if r <= end]
    ax.set_xticks(ticks, [f"{r:g}" for r in ticks])
    ax.minorticks_off()
    ax.set_xlim(0.985, end * 1.015)
    ax.set_ylim(-0.02, 1.02)
    canvas.grid(ax)
    canvas.title(ax, words.plain(title))
    canvas.xlabel(ax, f"{words.plain(cost)}, relative to the best optimizer")
    canvas.ylabel(ax, f"share of {table.shape[1]} tasks solved")
    legend.place(ax, lines)
    return canvas.finished(ax, path)


def _ratios(costs: np.ndarray) -> np.ndarray:
    """Return all finite ratios of costs to the least of their task, where profiles jump."""
    least = costs.min(axis=0)
    solved = np.isfinite(least)
    ratios = (costs[:, solved] / least[solved]).ravel()
    return ratios[np.isfinite(ratios)]
