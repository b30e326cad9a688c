"""Heatmap: the final metric at each pair of values of two hyperparameters."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.choice import best_rows, last, why_beyond
from jaxopt_lab.report.plots.scale import scale
from jaxopt_lab.results.best import Best, best, rows_of
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, hyperparameters, score

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch


TICKS = 8  # at most, on an axis
LOG_FROM = 4.0  # as colours show ratios of the best to others, and few shades are left for the worst
SURROUND = "#D55E00"  # seen on all colours of the map


def heatmap(results: Results, x: str, y: str, metric: str | None, optimizer: str | None, ax: "Axes | None") -> "Axes":
    """Draw the median over seeds of the final metric, one cell per pair of values, best over other hyperparameters.

    Cells are in the order of the values, not at scale. Hatched cells are those where at least half of the seeds
    diverged; a cross means that fewer did; dots mean that a stop rule ended the configuration; a star marks the best.
    A line surrounds the cells within one standard deviation over seeds of the best one, which are about as good.

    Args:
        results: A sweep's results over a product space.
        x: A hyperparameter.
        y: Another.
        metric: Any loss or metric of the dataset; by default the task's main metric.
        optimizer: The optimizer to show; optional where there is only one.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: `ax` is not axes.
        ValueError: A name is unknown, x is y, there are several optimizers and none was named, or not all pairs of
            values were tried.

    """
    dataset, optimizer = results.dataset, _named(results.dataset, optimizer)
    own = rows_of(dataset, optimizer)
    metric = default_metric(dataset) if metric is None else metric
    values = score(dataset, metric).values
    greater_is_better(dataset, metric)  # raises where nothing could be best
    for name in (x, y):
        has = [n for n, column in hyperparameters(dataset).items() if present(column[own]).any()]
        check_known(f"hyperparameter of {optimizer}:", name, has)
    if x == y:
        raise ValueError(f"A heatmap needs two hyperparameters, got {x!r} twice. For one, see plot.sensitivity.")
    rows = best_rows(dataset, metric, [y, x], own)
    (xs, at_x), (ys, at_y) = (distinct(narrowed(dataset[name].values[own])) for name in (x, y))
    if len(rows) < len(xs) * len(ys):
        raise ValueError(
            f"A heatmap needs a grid, but {optimizer} tried {len(rows)} of the {len(xs) * len(ys)} pairs of values of "
            f"{x} and {y}. Sweep a product space, or see plot.sensitivity."
        )
    ax = canvas.axes(ax)

    shown = values[rows].reshape(len(ys), len(xs), -1)
    median = np.median(shown, axis=-1)
    _colour(ax, dataset.isel(config=own), metric, median)
    handles = _mark_lost(ax, dataset.isel(config=rows), values[rows], last(dataset, metric).early[rows], median)
    found = best(dataset, metric, optimizer)
    if np.isfinite(found.value):
        row = np.flatnonzero(dataset["config"].values[own] == found.config)
        (star,) = ax.plot(at_x[row], at_y[row], **_star(), gid="best")
        where = ", ".join(words.short(found.hyperparameters[name]) for name in (x, y))
        edge = " (edge of the grid: widen it)" if {x, y} & set(found.on_edge) else ""
        star.set_label(f"best: {words.number(found.value)} at {where}{edge}")
        handles = [star, *_surround(ax, median, found), *handles]
    _x_ticks(ax, xs)
    ax.set_yticks(*_ticks(ys))
    canvas.title(ax, words.titled(dataset, optimizer))
    canvas.xlabel(ax, words.words(x))
    canvas.ylabel(ax, words.words(y))
    legend.place(ax, [], handles)
    return ax


def _colour(ax: "Axes", own: "xr.Dataset", metric: str, median: np.ndarray) -> None:
    """Colour the cells by their medians, bright where good, with a bar."""
    from matplotlib.colors import LogNorm, Normalize

    greater, limits = greater_is_better(own, metric), scale(own, metric, median, log_from=LOG_FROM)
    low, high = sorted([limits.best, limits.worst])
    edges = [np.arange(n + 1) - 0.5 for n in median.shape]
    cells = ax.pcolormesh(
        edges[1],
        edges[0],
        np.ma.masked_invalid(median),
        norm=(LogNorm if limits.log else Normalize)(vmin=low, vmax=high),
        cmap="viridis" if greater else "viridis_r",
        rasterized=median.size > 2000,
    )
    off = np.isfinite(median) & limits.beyond(median)
    extend = "neither" if not off.any() else "min" if greater else "max"
    bar = canvas.figure_of(ax).colorbar(cells, ax=ax, extend=extend)
    if limits.log:
        canvas.log_ticks(bar.ax.yaxis, low, high)
    over = "median of " if own.sizes["seed"] > 1 else ""
    canvas.ylabel(bar.ax, f"{words.at_the_end(own, metric)}, {over}{words.seeds(own)}")
    bar.outline.set_visible(False)  # type: ignore[operator]


def _star() -> dict[str, Any]:
    from matplotlib import rcParams

    size = 2.2 * rcParams["lines.markersize"]
    return {"marker": "*", "markersize": size, "color": "white", "mec": "black", "mew": 0.8, "linestyle": ""}


def _surround(ax: "Axes", median: np.ndarray, found: Best) -> "list[Line2D]":
    """Draw a line around the cells within one standard deviation over seeds of the best; return its legend handle."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    values = np.asarray(found.values)
    if len(values) < 2 or not np.isfinite(values).all() or not (deviation := float(np.std(values, ddof=1))) > 0:
        return []
    near = np.abs(median - found.value) <= deviation
    padded = np.pad(near, 1)
    sides = []
    for row, column in np.argwhere(padded[:, 1:] != padded[:, :-1]):  # between a cell and the one to its right
        sides.append([(column - 0.5, row - 1.5), (column - 0.5, row - 0.5)])
    for row, column in np.argwhere(padded[1:] != padded[:-1]):  # between a cell and the one above
        sides.append([(column - 1.5, row - 0.5), (column - 0.5, row - 0.5)])
    look: dict[str, Any] = {"color": SURROUND, "linewidth": 1.6}
    ax.add_collection(
        LineCollection(sides, **look, capstyle="round", zorder=3, clip_on=False, gid="near"), autolim=False
    )
    return [Line2D([], [], **look, label="within one standard deviation of the best")]


def _named(dataset: "xr.Dataset", optimizer: str | None) -> str:
    """Return the named optimizer, or the only one."""
    names = words.optimizers(dataset)
    if optimizer is None and len(names) > 1:
        raise ValueError(f"There are several optimizers: name one of {', '.join(names)}, as optimizer=...")
    optimizer = names[0] if optimizer is None else optimizer
    check_known("optimizer", optimizer, names)
    return optimizer


def _mark_lost(
    ax: "Axes", own: "xr.Dataset", values: np.ndarray, early: np.ndarray, median: np.ndarray
) -> "list[Patch | Line2D]":
    """Hatch cells without a finite median, cross those where some seeds have no finite value; return legend handles.

    `values` are (cells, seeds), `early` marks the cells that a stop rule ended, and `median` has the grid's shape.
    """
    from matplotlib import rcParams
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    bad, lost = ~np.isfinite(values), ~np.isfinite(median)
    why = lambda cells: " or ".join(why_beyond(own, bad & cells.reshape(-1, 1), values))
    stopped = early.reshape(lost.shape)
    partly = ~lost & bad.any(axis=1).reshape(lost.shape)
    handles: list[Patch | Line2D] = []
    for which, hatch, gid in ((lost & ~stopped, "////", "lost"), (lost & stopped, "..", "stopped early")):
        if which.any():
            look: dict[str, Any] = {"hatch": hatch, "facecolor": "0.93", "edgecolor": "0.55", "linewidth": 0}
            cells = [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in np.argwhere(which)]
            ax.add_collection(PatchCollection(cells, **look, gid=gid), autolim=False)
            handles.append(Patch(**look, label=why(which)))
    if partly.any():
        row, column = np.nonzero(partly)
        label = f"{why(partly)}: fewer than half of the seeds"
        look = {"color": "white", "mec": "black", "markersize": 0.7 * rcParams["lines.markersize"]}
        handles += ax.plot(column, row, "x", **look, label=label, gid="partly lost")
    return handles


def _x_ticks(ax: "Axes", values: np.ndarray) -> None:
    """Set ticks below the cells: fewer numbers, or turned names, where not all fit side by side."""
    from matplotlib import rcParams

    at, named = _ticks(values)
    room = 0.6 * canvas.cell(ax)[0]  # the bar and the labels take the rest
    widest = 1.3 * max(canvas.width_of(ax, text, rcParams["xtick.labelsize"]) for text in named)
    if widest * len(at) <= room:
        ax.set_xticks(at, named)
    elif values.dtype.kind in "fi":
        ax.set_xticks(*_ticks(values, max(2, int(room / widest))))
    else:
        ax.set_xticks(at, named, rotation=40, ha="right", rotation_mode="anchor")


def _ticks(values: np.ndarray, most: int = TICKS) -> tuple[list[float], list[str]]:
    """Return at most so many tick positions and labels: powers of ten in a long logarithmic grid, else the values."""
    if values.dtype.kind in "fi" and len(values) > TICKS and values[0] > 0:
        powers = np.arange(np.ceil(np.log10(values[0]) - 1e-9), np.floor(np.log10(values[-1]) + 1e-9) + 1)
        if len(powers) > 2:
            powers = powers[:: -(-len(powers) // most)]
            at = np.interp(powers, np.log10(values.astype(float)), np.arange(len(values)))
            return at.tolist(), [f"$10^{{{int(p)}}}$" for p in powers]
    at = range(0, len(values), -(-len(values) // most))
    named = words.names(values) if values.dtype == object else list(map(words.short, values.tolist()))
    return list(at), [named[i] for i in at]
