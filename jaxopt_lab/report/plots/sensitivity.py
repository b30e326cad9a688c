"""Sensitivity: the final metric at each value of one hyperparameter."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.choice import Last, best_rows, last, why_beyond
from jaxopt_lab.report.plots.curves import band
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.report.plots.scale import Scale, finish, scale
from jaxopt_lab.results.best import Best, best
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, hyperparameters
from jaxopt_lab.statistics.spread import spread
from jaxopt_lab.store.axes import COUNTED, unit_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


FAINT = 0.4  # opacity of values that are not final
WHOLE, PARTLY = 1.5, 0.8  # sizes of open markers, relative to a line's: at least half of the seeds, or fewer


def sensitivity(results: Results, metric: str | None, hyperparameter: str, ax: "Axes | None") -> "Axes":
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
    dataset = results.dataset
    metric = default_metric(dataset) if metric is None else metric
    values, early = last(dataset, metric)
    check_known("hyperparameter", hyperparameter, hyperparameters(dataset))
    ax = canvas.axes(ax)

    has = present(dataset[hyperparameter].values)
    at = np.full(len(has), np.nan)
    at[has] = _positions(ax, narrowed(dataset[hyperparameter].values[has]))
    chosen = {}
    for name in words.optimizers(dataset):
        own = np.flatnonzero((dataset["optimizer"].values == name) & has)
        chosen[name] = best_rows(dataset, metric, [hyperparameter], own) if own.size else own
    rows = np.concatenate([*chosen.values()])
    bests = {name: best(dataset, metric, name) for name in chosen}
    levels = [bests[name].values for name in chosen if not chosen[name].size]
    shown = [*(np.ravel(np.asarray(s)) for s in spread(values[rows])), np.ravel(np.asarray(levels))]
    y = scale(dataset, metric, np.concatenate(shown))

    lines: list[tuple[Any, str]] = []
    for i, ((name, own), look) in enumerate(zip(chosen.items(), looks([*chosen]), strict=True)):
        lane, star = y.lane(i, len(chosen)), bests[name]
        if not own.size:
            level = float(y.clip(np.asarray(star.value), lane))
            flat: dict[str, Any] = look | {"marker": ""}
            lines.append((ax.axhline(level, **flat, gid="level"), f"{words.plain(name)}\n(has none)"))
            continue
        joined = _is_grid(dataset.isel(config=dataset["optimizer"].values == name), hyperparameter)
        line = _draw(ax, at[own], Last(values[own], early[own]), y, lane, look, joined)
        lines.append((line, f"{words.plain(name)}\n{_describe(star, hyperparameter)}"))
        if np.isfinite(star.value):
            row = np.flatnonzero(dataset["config"].values == star.config)
            size = 3.4 * look["markersize"]
            shape: dict[str, Any] = {"markersize": size, "mec": "white", "mew": 0.8, "zorder": 5, "gid": "best"}
            ax.plot(at[row], y.clip(np.asarray([star.value]), lane), "*", color=look["color"], **shape)
    more, beyond = _beyond(dataset.isel(config=rows), Last(values[rows], early[rows]), y)

    finish(ax, y, beyond)
    canvas.title(ax, words.titled(dataset))
    canvas.xlabel(ax, words.words(hyperparameter))
    over = "median of " if dataset.sizes["seed"] > 1 else ""
    canvas.ylabel(ax, f"{words.at_the_end(dataset, metric)}, {over}{words.seeds(dataset)}")
    legend.place(ax, lines, [*_symbols(dataset, bests), *more], note=_edges([*bests.values()]))
    return ax


def _symbols(dataset: "xr.Dataset", bests: "dict[str, Best]") -> list[Any]:
    """Return the legend's entries of the band and of the stars."""
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    symbols = [band(f"quartiles of {words.seeds(dataset)}")] if dataset.sizes["seed"] > 1 else []
    if any(np.isfinite(star.value) for star in bests.values()):
        star: dict[str, Any] = {"linestyle": "", "marker": "*", "markersize": 1.7 * rcParams["lines.markersize"]}
        symbols.append(Line2D([], [], **star, mec="white", color=canvas.GREY, label="best median"))
    return symbols


def _edges(bests: "list[Best]") -> str | None:
    """Say which grids should be wider: those at whose end a best configuration lies."""
    by_name: dict[str, list[str]] = {}
    for found in bests:
        if np.isfinite(found.value):
            for name in found.on_edge:
                by_name.setdefault(name, []).append(found.optimizer)
    if not by_name:
        return None
    where = "; ".join(f"{name} of {', '.join(owners)}" for name, owners in by_name.items())
    return words.plain(f"Best at the edge of the grid: widen it ({where}).")


def _draw(
    ax: "Axes", x: np.ndarray, trials: Last, y: Scale, lane: float, look: dict[str, Any], joined: bool
) -> "Line2D":
    """Draw one optimizer's line, band and diverged trials, and return the line; `trials` are (values, seeds)."""
    values, early = trials
    low, median, high = (y.clip(v, lane) for v in spread(values))
    worse = y.beyond(median)
    alone = np.full(len(x), True)
    if joined:
        on_line = lambda v: np.where(early, np.nan, v)
        ax.fill_between(x, on_line(low), on_line(high), color=look["color"], alpha=canvas.BAND, linewidth=0, gid="band")
        ends = np.concatenate([[True], early, [True]])
        alone = early | (ends[:-2] & ends[2:] & (len(x) > 1))
    if alone.any():
        ax.vlines(x[alone], low[alone], high[alone], color=look["color"], alpha=0.4, linewidth=0.7 * look["linewidth"])
    line: dict[str, Any] = look if joined else look | {"linestyle": ""}
    marked = np.flatnonzero(~worse & ~early).tolist()
    (drawn,) = ax.plot(x, np.where(early, np.nan, median), **line, markevery=marked, gid="median")
    partly = ~np.isfinite(values).all(axis=1) & ~worse
    faint: dict[str, Any] = look | {"linestyle": "", "alpha": FAINT}
    ax.plot(x[early & ~worse], median[early & ~worse], **faint, mew=0, gid="stopped early")
    in_strip = [
        (worse & ~early, WHOLE, "beyond"),
        (partly, PARTLY, "partly beyond"),
        (worse & early, WHOLE, "beyond then"),
    ]
    for which, size, gid in in_strip:
        size = size * look["markersize"]
        open_marker: dict[str, Any] = look | {"linestyle": "", "markersize": size, "fillstyle": "none", "mew": 0.8}
        ax.plot(x[which], np.full(which.sum(), lane), **open_marker, alpha=FAINT if "then" in gid else None, gid=gid)
    return drawn


def _beyond(own: "xr.Dataset", trials: Last, y: Scale) -> "tuple[list[Line2D], list[str]]":
    """Return legend handles for faint markers and for open ones in the strip, and what the strip contains."""
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    values, early = trials
    low, median, high = spread(values)
    lost, worse = ~np.isfinite(values), y.beyond(median)
    beyond = why_beyond(own, lost | (y.beyond(values) & (y.beyond(low) | y.beyond(high))[:, None]), values)
    partly = lost & ~worse[:, None]
    labels = []
    if early.any():
        faint: dict[str, Any] = {"fillstyle": "full", "alpha": FAINT, "mew": 0}
        labels.append((1.0, f"stopped early: median then, {_when_stopped(own.isel(config=early))}", faint))
    if worse.any():
        labels.append((WHOLE, f"median {' or '.join(beyond)}", {}))
    if partly.any():
        labels.append((PARTLY, f"some seeds {' or '.join(why_beyond(own, partly, values))}", {}))
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "color": canvas.GREY, "fillstyle": "none", "mew": 0.8}
    size = 0.6 * rcParams["lines.markersize"]
    handles = [Line2D([], [], **look | more, markersize=part * size, label=text) for part, text, more in labels]
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
    return f"{words.short(best.value)} at {words.short(best.hyperparameters[hyperparameter])}{edge}"


def _positions(ax: "Axes", tried: np.ndarray) -> np.ndarray:
    """Set up the x axis (logarithmic, linear, or categorical for non-numbers) and return the values' positions."""
    if tried.dtype.kind in "UOb":
        found, at = distinct(tried)
        ax.set_xticks(range(len(found)), words.names(found))
        return at
    if (tried > 0).all() and tried.max() > 10 * tried.min():
        ax.set_xscale("log")
    elif len(np.unique(tried)) == 1:
        ax.set_xticks(tried[:1], [words.number(tried[0])])
    return tried
