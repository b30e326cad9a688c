"""Heatmap: the final metric at each pair of values of two hyperparameters."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots import style
from jaxopt_lab.report.plots.choice import best_rows, last, why_beyond
from jaxopt_lab.report.plots.scale import scale
from jaxopt_lab.results.best import best, rows_of
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, hyperparameters, score

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch


TICKS = 8  # at most, on an axis


def heatmap(results: Results, x: str, y: str, metric: str | None, optimizer: str | None, ax: "Axes | None") -> "Figure":
    """Draw the median over seeds of the final metric, one cell per pair of values, best over other hyperparameters.

    Cells are in the order of the values, not at scale. Hatched cells are those where at least half of the seeds
    diverged; a cross means that fewer did; dots mean that a stop rule ended the configuration; a star marks the best.

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
    from matplotlib.colors import LogNorm, Normalize

    dataset, optimizer = results.dataset, _named(results.dataset, optimizer)
    own = rows_of(dataset, optimizer)
    metric = default_metric(dataset) if metric is None else metric
    values, greater = score(dataset, metric).values, greater_is_better(dataset, metric)
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
    ax = style.axes(ax)

    shown = values[rows].reshape(len(ys), len(xs), -1)
    median = np.median(shown, axis=-1)
    limits = scale(dataset.isel(config=own), metric, median)
    ends = sorted([limits.best, limits.worst])
    cells = ax.pcolormesh(
        np.arange(len(xs) + 1) - 0.5,
        np.arange(len(ys) + 1) - 0.5,
        np.ma.masked_invalid(median),
        norm=(LogNorm if limits.log else Normalize)(vmin=ends[0], vmax=ends[1]),
        cmap="viridis" if greater else "viridis_r",  # bright is good
    )
    off = np.isfinite(median) & limits.beyond(median)
    extend = "neither" if not off.any() else "min" if greater else "max"
    bar = style.figure_of(ax).colorbar(cells, ax=ax, extend=extend)
    bar.set_label(style.at_the_end(dataset, metric, spread=False), fontsize=9)
    handles = _mark_lost(ax, dataset.isel(config=rows), values[rows], last(dataset, metric).early[rows], median)

    found = best(dataset, metric, optimizer)
    if np.isfinite(found.value):
        row = np.flatnonzero(dataset["config"].values[own] == found.config)
        star: dict[str, Any] = {
            "marker": "*",
            "markersize": 14,
            "color": "white",
            "mec": "black",
            "mew": 0.9,
            "linestyle": "",
        }
        where = ", ".join(style.short(found.hyperparameters[name]) for name in (x, y))
        label = f"best: {style.number(found.value)} at {where}"
        label += " (edge of the grid: widen it)" if {x, y} & set(found.on_edge) else ""
        handles = [*ax.plot(at_x[row], at_y[row], **star, label=label, gid="best"), *handles]
    ax.set_xticks(*_ticks(xs))
    ax.set_yticks(*_ticks(ys))
    ax.set_xlabel(style.words(x))
    ax.set_ylabel(style.words(y))
    style.title(ax, dataset, optimizer)
    if handles:
        below: dict[str, Any] = {
            "loc": "upper left",
            "bbox_to_anchor": (-0.02, -0.16),
            "borderaxespad": 0.0,
            "ncols": 1,
        }
        ax.legend(handles=handles, **below, frameon=False, fontsize=style.SMALL)
    return style.figure_of(ax)


def _named(dataset: "xr.Dataset", optimizer: str | None) -> str:
    """Return the named optimizer, or the only one."""
    names = style.optimizers(dataset)
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
        handles += ax.plot(column, row, "x", color="white", mec="black", markersize=4, label=label, gid="partly lost")
    return handles


def _ticks(values: np.ndarray) -> tuple[list[float], list[str]]:
    """Return tick positions and labels: powers of ten in a long logarithmic grid, else the values."""
    if values.dtype.kind in "fi" and len(values) > TICKS and values[0] > 0:
        powers = np.arange(np.ceil(np.log10(values[0]) - 1e-9), np.floor(np.log10(values[-1]) + 1e-9) + 1)
        if len(powers) > 2:
            powers = powers[:: -(-len(powers) // TICKS)]
            at = np.interp(powers, np.log10(values.astype(float)), np.arange(len(values)))
            return at.tolist(), [f"$10^{{{int(p)}}}$" for p in powers]
    at = range(0, len(values), -(-len(values) // TICKS))
    named = style.names(values) if values.dtype == object else list(map(style.short, values.tolist()))
    return list(at), [named[i] for i in at]
