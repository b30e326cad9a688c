"""Batch sizes: the steps to a target against the batch size, beside perfect scaling."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.labels import narrowed
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.curves import band
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.report.plots.profiles import steps_to
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, hyperparameters
from jaxopt_lab.statistics.spread import spread
from jaxopt_lab.store.axes import unit_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

BATCH_SIZE = "task.batch_size"


def batch_sizes(results: Results, target: float, metric: str | None, ax: "Axes | None") -> "Axes":
    """Draw the steps to a target against the batch size, on logarithmic axes, with lines of perfect scaling.

    At each batch size, the configuration with the smallest median over seeds is shown: every other hyperparameter is
    tuned for it. Along a dashed line, twice the batch takes half the steps; where a curve is above it, larger batches
    gain less (Shallue et al. 2019, https://arxiv.org/abs/1811.03600). An open marker at the top means that half of the
    seeds or more did not reach the target within the budget, with any configuration.

    Args:
        results: Results of a sweep over `task.batch_size`.
        target: The value to reach.
        metric: Any loss or metric of the dataset; by default the task's main metric. A training loss is that of one
            batch, whose noise depends on its size: metrics on validation data compare better.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: The target is not a number, or `ax` is not axes.
        ValueError: The sweep has no numeric batch sizes, it counts by a cost, the metric is unknown, no trial reached
            the target, or one did at its start.

    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator

    dataset = results.dataset
    metric = default_metric(dataset) if metric is None else metric
    sizes = _sizes(dataset)
    steps, names = _steps(dataset, metric, target, sizes), words.optimizers(dataset)
    low, median, high = spread(steps)
    if not np.isfinite(median).any():
        raise ArgumentValueError(
            f"No configuration reached {metric} = {target:g} in half of its seeds, so there is nothing to draw. Choose "
            "an easier target or a larger budget."
        )
    ax = canvas.axes(ax)
    finite = np.concatenate([x[np.isfinite(x)] for x in (low, median, high)])
    top = 1.6 * finite.max()
    lines, missed = [], False
    for i, (name, look) in enumerate(zip(names, looks(names), strict=True)):
        rows = _fastest(median, sizes, np.flatnonzero(dataset["optimizer"].values == name))
        x, y = sizes[rows], median[rows]
        known = np.isfinite(y)
        missed |= not known.all()
        filled: dict[str, Any] = {"color": look["color"], "alpha": canvas.BAND, "linewidth": 0, "gid": "band"}
        ax.fill_between(x, low[rows], np.minimum(high[rows], top), where=known.tolist(), **filled)
        (line,) = ax.plot(x, np.where(known, y, np.nan), **look, gid="median")
        lines.append((line, words.plain(name)))
        at = top * 1.12**i
        open_marker: dict[str, Any] = look | {"linestyle": "", "fillstyle": "none", "gid": "missed"}
        ax.plot(x[~known], np.full((~known).sum(), at), **open_marker)
        if known.any():
            first = np.flatnonzero(known)[0]
            perfect: dict[str, Any] = {"color": look["color"], "linewidth": 0.7 * look["linewidth"], "alpha": 0.7}
            ax.plot(
                x[first:], y[first] * x[first] / x[first:], linestyle=(0, (2, 2)), **perfect, zorder=1, gid="perfect"
            )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    canvas.log_ticks(ax.yaxis, *ax.get_ylim())
    tried = np.unique(sizes)
    ax.set_xticks(tried, [f"{size:g}" for size in tried])
    ax.xaxis.set_minor_locator(NullLocator())
    canvas.grid(ax)
    canvas.title(ax, words.plain(dataset.attrs["task"]))
    canvas.xlabel(ax, "batch size (examples)")
    canvas.ylabel(ax, f"steps to {words.words(metric)} {words.short(target)}, median of {words.seeds(dataset)}")
    dashed: dict[str, Any] = {"color": canvas.GREY, "linestyle": (0, (2, 2))}
    symbols = [Line2D([], [], **dashed, label="perfect scaling")]
    symbols += [band(f"quartiles of {words.seeds(dataset)}")] if dataset.sizes["seed"] > 1 else []
    ring: dict[str, Any] = {"color": canvas.GREY, "marker": "o", "linestyle": "", "fillstyle": "none"}
    symbols += [Line2D([], [], **ring, label="target not reached")] if missed else []
    legend.place(ax, lines, symbols)
    return ax


def _sizes(dataset: "xr.Dataset") -> np.ndarray:
    """Return the batch size of each configuration."""
    columns = hyperparameters(dataset)
    if BATCH_SIZE not in columns:
        raise ArgumentValueError(
            f"This sweep has no batch sizes: it varied {', '.join(columns) or 'nothing'}. Sweep a space with "
            f"{BATCH_SIZE!r}: jl.static([16, 32, 64])."
        )
    sizes = narrowed(columns[BATCH_SIZE])
    if sizes.dtype.kind not in "iuf":
        raise ArgumentValueError(f"Batch sizes must be numbers, got {words.names(np.unique(sizes.astype(str)))}.")
    return sizes.astype(float)


def _steps(dataset: "xr.Dataset", metric: str, target: float, sizes: np.ndarray) -> np.ndarray:
    """Return the steps to the target of each trial, (configs, seeds)."""
    unit, first = unit_of(dataset), steps_to(dataset, metric, target)
    if unit not in ("step", "examples"):
        raise ArgumentValueError(f"These results are by {unit}. Draw batch sizes of the sweep's own results.")
    steps = first / sizes[:, None] if unit == "examples" else first
    if (steps <= 0).any():
        raise ArgumentValueError(
            f"A trial has {metric} = {target:g} before its first step, which a logarithmic axis cannot show. Choose a "
            "harder target."
        )
    return steps


def _fastest(median: np.ndarray, sizes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return for each batch size, in order, the configuration among `own` with the smallest median."""
    order = own[np.lexsort((median[own], sizes[own]))]
    first = np.concatenate([[True], np.diff(sizes[order]) > 0])
    return order[first]
