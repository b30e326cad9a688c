"""Curves: a loss or metric of selected configurations against the step."""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.checking import check_count, check_known
from jaxopt_lab.labels import present
from jaxopt_lab.report.plots import style
from jaxopt_lab.report.plots.scale import finish, scale
from jaxopt_lab.results.best import best
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import curves as curves_of
from jaxopt_lab.results.score import direction, hyperparameters
from jaxopt_lab.statistics.spread import spread
from jaxopt_lab.store.axes import COUNTED, unit_of
from jaxopt_lab.tasks.direction import MAX
from jaxopt_lab.tasks.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "step": "step (updates applied)",
    "examples": "training examples seen",
    "gradients": "gradients evaluated",
    "seconds": "seconds of one core or accelerator",
}


def curves(results: Results, metric: str, configs: Iterable[int] | None, ax: "Axes | None") -> "Figure":
    """Draw median and quartiles over seeds against the step; a cross marks the first bad step of a diverged seed.

    Args:
        results: A sweep's results.
        metric: Any curve of the dataset: a loss, a metric, a further scalar, a hyperparameter in force.
        configs: Numbers of configurations; by default each optimizer's best by the task's main metric (not by `metric`:
            selecting by the metric that is shown would bias test results).
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: `configs` are not integers, or `ax` is not axes.
        ValueError: The curve or a configuration is unknown.

    """
    from matplotlib.lines import Line2D

    dataset = results.dataset
    check_known("curve", metric, curves_of(dataset))
    names = style.optimizers(dataset)
    configs = (
        [best(dataset, optimizer=name).config for name in names] if configs is None else _checked(dataset, configs)
    )
    ax = style.axes(ax)

    chosen = dataset.sel(config=configs)
    values = _values(chosen, metric)
    steps = chosen[metric][chosen[metric].dims[-1]].values
    between = spread(values)
    minimum = _minimum(results, metric)
    y = scale(dataset, metric, np.concatenate([*map(np.ravel, between), *([] if minimum is None else [[minimum]])]))
    handles, bad, apart = [], False, max(1, len(steps) // 8)
    for i, name in enumerate(chosen["optimizer"].values.tolist()):
        nth = chosen["optimizer"].values[:i].tolist().count(name)
        look, lane = style.line_style(dataset, name, nth), y.lane(i, len(configs))
        low, median, high = (y.clip(v[i], lane) for v in between)
        ax.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(steps, median, **look, markevery=(i * apart // len(configs), apart), gid="median")
        first_bad = chosen["first_bad_step" if unit_of(dataset) == "step" else COUNTED[unit_of(dataset)]].values[i]
        first_bad = first_bad[chosen["status"].values[i] == "diverged"]
        ax.plot(first_bad, np.full(len(first_bad), lane), "x", color=look["color"], markersize=5, gid="diverged")
        handles.append(Line2D([], [], **look, label=_describe(chosen, i, name)))
        bad |= len(first_bad) > 0
    if bad:
        handles.append(Line2D([], [], linestyle="", marker="x", color="0.3", markersize=5, label="a seed diverged"))
    if minimum is not None and not (y.log and minimum <= 0):
        handles.append(ax.axhline(minimum, color="0.3", linewidth=1, linestyle=(0, (5, 3)), zorder=1, label="minimum"))

    undiverged = (chosen["status"].values != "diverged").all(axis=1, keepdims=True)
    off = any((y.beyond(v) & (np.isfinite(v) | undiverged)).any() for v in between)
    finish(ax, y, [*(["diverged"] if bad else []), *(["off the scale"] if off else [])])
    ax.set_xlabel(LABELS[unit_of(dataset)])
    ax.set_ylabel(style.over_seeds(dataset, metric), fontsize=9)
    style.title(ax, dataset)
    style.legend(ax, handles)
    return style.figure_of(ax)


def _checked(dataset: "xr.Dataset", configs: Iterable[int]) -> list[int]:
    if not isinstance(configs, Iterable):
        raise TypeError(f"configs must be a list of configuration numbers, got {configs!r}: write [{configs!r}].")
    known = dataset["config"].values.tolist()
    listed = list(dict.fromkeys(check_count("A configuration's number", config, least=0) for config in configs))
    if not listed:
        raise ValueError("configs is empty: name at least one, or leave it out for each optimizer's best.")
    if unknown := [config for config in listed if config not in known]:
        raise ValueError(f"There is no configuration {unknown[0]}: they are numbered {known[0]} to {known[-1]}.")
    return listed


def _values(chosen: "xr.Dataset", metric: str) -> np.ndarray:
    """Return values (configs, seeds, steps): the worst from divergence on, NaN where interrupted or stopped."""
    values = chosen[metric].transpose("config", "seed", ...).values
    worst = {None: np.nan, MAX: -np.inf}.get(direction(chosen, metric), np.inf)
    diverged = (chosen["status"].values == "diverged")[..., None]
    return np.where(diverged & np.isnan(values), worst, values)


def _minimum(results: Results, metric: str) -> float | None:
    """Return the smallest training loss, where every recorded loss is over all training data of one task."""
    task = results.task
    if metric != "train_loss" or task is None or not _takes_all(task):
        return None
    if any(name.startswith("task.") for name in hyperparameters(results.dataset)):
        return None
    return results.dataset.attrs.get("minimum")


def _takes_all(task: Task) -> bool:
    """Return whether every step is on all training data."""
    return task.batch_size is None and not callable(task.train) and task.feed is None


def _describe(chosen: "xr.Dataset", i: int, name: str) -> str:
    """Make the legend of one curve: optimizer, hyperparameters, and whether it ended early."""
    columns = hyperparameters(chosen)
    has = [f"{style.plain(n)} {style.by_row(v)[i]}" for n, v in columns.items() if present(v)[i]]
    text = "\n".join([style.plain(name), *textwrap.wrap(", ".join(has), 26)])
    status, steps = chosen["status"].values[i], chosen["steps_taken"].values[i]
    for ended in ("stopped", "plateau"):
        if (status == ended).any():
            first, last = steps[status == ended].min(), steps[status == ended].max()
            text += f"\n({ended} at step {first}{f' to {last}' if last > first else ''})"
    return f"{text}\n(interrupted)" if (status == "interrupted").any() else text
