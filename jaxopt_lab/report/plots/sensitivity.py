"""Sensitivity: the final metric at each value of one hyperparameter."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots import style
from jaxopt_lab.report.plots.choice import Last, best_rows, last, why_beyond
from jaxopt_lab.report.plots.scale import Scale, finish, scale
from jaxopt_lab.results.best import best
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, hyperparameters
from jaxopt_lab.statistics.spread import spread
from jaxopt_lab.store.axes import COUNTED, unit_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


FAINT = 0.4  # opacity of values that are not final


def sensitivity(results: Results, metric: str | None, hyperparameter: str, ax: "Axes | None") -> "Figure":
    """Draw each optimizer's median and quartiles over seeds of the final metric, against a hyperparameter.

    Each value shows the best median over the optimizer's other hyperparameters. Diverged trials are in the strip at the
    worse end: the line goes there where half of the seeds diverged; a small open marker means that some did.
    Configurations that a stop rule ended are not on the line: faint markers show their medians when they were stopped.
    A star marks the best configuration; where it lies at an end of the values tried, a note says so, since the true
    best may lie beyond. Values that were drawn at random together with others are not joined.

    Args:
        results: A sweep's results.
        metric: Any loss or metric of the dataset; by default the task's main metric.
        hyperparameter: Its name. An optimizer without it is drawn as a horizontal line at its best.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: `ax` is not axes.
        ValueError: The metric or the hyperparameter is unknown.

    """
    from matplotlib.lines import Line2D

    dataset = results.dataset
    metric = default_metric(dataset) if metric is None else metric
    values, early = last(dataset, metric)
    check_known("hyperparameter", hyperparameter, hyperparameters(dataset))
    ax = style.axes(ax)

    has = present(dataset[hyperparameter].values)
    at = np.full(len(has), np.nan)
    at[has] = _positions(ax, narrowed(dataset[hyperparameter].values[has]))
    chosen = {}
    for name in style.optimizers(dataset):
        own = np.flatnonzero((dataset["optimizer"].values == name) & has)
        chosen[name] = best_rows(dataset, metric, [hyperparameter], own) if own.size else own
    rows = np.concatenate([*chosen.values()])
    bests = {name: best(dataset, metric, name) for name in chosen}
    levels = [bests[name].values for name in chosen if not chosen[name].size]
    y = scale(
        dataset,
        metric,
        np.concatenate([*(np.ravel(np.asarray(s)) for s in spread(values[rows])), np.ravel(np.asarray(levels))]),
    )

    handles = []
    for i, (name, own) in enumerate(chosen.items()):
        look, lane, star = style.line_style(dataset, name), y.lane(i, len(chosen)), bests[name]
        if not own.size:
            flat: dict[str, Any] = look | {"marker": ""}
            level = float(y.clip(np.asarray(star.value), lane))
            handles.append(ax.axhline(level, **flat, label=f"{style.plain(name)}\n(has none)", gid="level"))
            continue
        joined = _is_grid(dataset.isel(config=dataset["optimizer"].values == name), hyperparameter)
        _draw(ax, at[own], Last(values[own], early[own]), y, lane, look, joined)
        label = f"{style.plain(name)}\n{_describe(star, hyperparameter)}"
        handles.append(Line2D([], [], **look, label=label))
        if np.isfinite(star.value):
            row = np.flatnonzero(dataset["config"].values == star.config)
            shape: dict[str, Any] = {"markersize": 13, "mec": "white", "mew": 0.8, "zorder": 5, "gid": "best"}
            ax.plot(at[row], y.clip(np.asarray([star.value]), lane), "*", color=look["color"], **shape)
    if any(np.isfinite(star.value) for star in bests.values()):
        handles.append(Line2D([], [], linestyle="", marker="*", markersize=10, color="0.3", label="best median"))
    more, beyond = _beyond(dataset.isel(config=rows), Last(values[rows], early[rows]), y)

    finish(ax, y, beyond)
    ax.set_xlabel(style.words(hyperparameter))
    ax.set_ylabel(style.at_the_end(dataset, metric), fontsize=9)
    style.title(ax, dataset)
    style.legend(ax, [*handles, *more])
    style.warn_of_edges(ax, bests.values())
    return style.figure_of(ax)


def _draw(ax: "Axes", x: np.ndarray, trials: Last, y: Scale, lane: float, look: dict[str, Any], joined: bool) -> None:
    """Draw one optimizer's line, band and diverged trials; `trials` are (values of the hyperparameter, seeds)."""
    values, early = trials
    low, median, high = (y.clip(v, lane) for v in spread(values))
    worse = y.beyond(median)
    alone = np.full(len(x), True)
    if joined:
        on_line = lambda v: np.where(early, np.nan, v)
        ax.fill_between(x, on_line(low), on_line(high), color=look["color"], alpha=0.15, linewidth=0)
        ends = np.concatenate([[True], early, [True]])
        alone = early | (ends[:-2] & ends[2:] & (len(x) > 1))
    if alone.any():
        ax.vlines(x[alone], low[alone], high[alone], color=look["color"], alpha=0.4, linewidth=1)
    line: dict[str, Any] = look if joined else look | {"linestyle": ""}
    marked = np.flatnonzero(~worse & ~early).tolist()
    ax.plot(x, np.where(early, np.nan, median), **line, markevery=marked, gid="median")
    partly = ~np.isfinite(values).all(axis=1) & ~worse
    faint: dict[str, Any] = look | {"linestyle": "", "alpha": FAINT}
    ax.plot(x[early & ~worse], median[early & ~worse], **faint, mew=0, gid="stopped early")
    in_strip = [(worse & ~early, 5.5, "beyond"), (partly, 2.8, "partly beyond"), (worse & early, 5.5, "beyond then")]
    for which, size, gid in in_strip:
        open_marker: dict[str, Any] = look | {"linestyle": "", "markersize": size, "fillstyle": "none"}
        ax.plot(x[which], np.full(which.sum(), lane), **open_marker, alpha=FAINT if "then" in gid else None, gid=gid)


def _beyond(own: "xr.Dataset", trials: Last, y: Scale) -> "tuple[list[Line2D], list[str]]":
    """Return legend handles for faint markers and for open ones in the strip, and what the strip contains."""
    from matplotlib.lines import Line2D

    values, early = trials
    low, median, high = spread(values)
    lost, worse = ~np.isfinite(values), y.beyond(median)
    beyond = why_beyond(own, lost | (y.beyond(values) & (y.beyond(low) | y.beyond(high))[:, None]), values)
    partly = lost & ~worse[:, None]
    labels = []
    if early.any():
        faint: dict[str, Any] = {"fillstyle": "full", "alpha": FAINT, "mew": 0}
        labels.append((3.5, f"stopped early: median then, {_when_stopped(own.isel(config=early))}", faint))
    if worse.any():
        labels.append((5.5, f"median {' or '.join(beyond)}", {}))
    if partly.any():
        labels.append((2.8, f"some seeds {' or '.join(why_beyond(own, partly, values))}", {}))
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "color": "0.3", "fillstyle": "none"}
    handles = [
        Line2D([], [], **look | more, markersize=size, label=textwrap.fill(text, 26)) for size, text, more in labels
    ]
    return handles, beyond


def _when_stopped(early: "xr.Dataset") -> str:
    unit = unit_of(early)
    counted = early[COUNTED[unit]].values
    ends = np.unique(counted[early["status"].values == "stopped"]).tolist()
    if unit == "step":
        return f"at step {' or '.join(map(str, ends))}" if len(ends) < 4 else f"at steps {ends[0]} to {ends[-1]}"
    low, high = (f"{end:,.3g}" if unit == "seconds" else f"{end:,}" for end in (ends[0], ends[-1]))
    return f"at {low}{f' to {high}' if len(ends) > 1 else ''} {unit}"


def _is_grid(own: "xr.Dataset", name: str) -> bool:
    """Return whether values of `name` may be joined: not where each was drawn together with other hyperparameters."""
    counts = {n: len(distinct(v)[0]) for n, v in hyperparameters(own).items()}
    alone = all(count == 1 for n, count in counts.items() if n != name)
    return alone or counts[name] < own.sizes["config"]


def _describe(best: Any, hyperparameter: str) -> str:
    if not np.isfinite(best.value):
        return "no finite median"
    edge = " (edge)" if hyperparameter in best.on_edge else ""
    return f"{style.number(best.value)} at {style.number(best.hyperparameters[hyperparameter])}{edge}"


def _positions(ax: "Axes", tried: np.ndarray) -> np.ndarray:
    """Set up the x axis (logarithmic, linear, or categorical for non-numbers) and return the values' positions."""
    if tried.dtype.kind in "UOb":
        found, at = distinct(tried)
        ax.set_xticks(range(len(found)), style.names(found))
        return at
    if (tried > 0).all() and tried.max() > 10 * tried.min():
        ax.set_xscale("log")
    elif len(np.unique(tried)) == 1:
        ax.set_xticks(tried[:1], [style.number(tried[0])])
    return tried
