"""Curves: a loss, a metric or a diagnostic of selected configurations against the step."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxopt_lab.checking import check_count, check_known, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import looks
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

Level = float | Callable[[Mapping[str, Any]], float]
"""A height: a number, or a function of a configuration's hyperparameters."""


class Lines(NamedTuple):
    """Horizontal lines of a picture: the height for each configuration (NaN for none), and what they are called."""

    heights: np.ndarray
    label: str


def curves(results: Results, metric: str, configs: Iterable[int] | None, ax: "Axes | None") -> "Axes":
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
    check_known("curve", metric, curves_of(results.dataset))
    chosen = _chosen(results.dataset, configs)
    return _draw(results, chosen, metric, ax, None)


def diagnostic(
    results: Results, name: str, line: Level | None, label: str, configs: Iterable[int] | None, ax: "Axes | None"
) -> "Axes":
    """Draw a recorded diagnostic against the step, with a line at a height that theory gives, as for stability.

        results.plot.diagnostic("sharpness", line=lambda h: 2 / h["learning_rate"], label="2 / learning rate")

    Above that line, gradient descent on a quadratic diverges; training of neural networks rises to it and stays near
    it (Cohen et al. 2021, https://arxiv.org/abs/2103.00065).

    Args:
        results: A sweep's results.
        name: A curve of the dataset: a further scalar of the task's loss, for example.
        line: The height, or a function of a configuration's hyperparameters; None draws no line.
        label: What the line is called.
        configs: As in `curves`.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: `line` is neither a number nor a function, or as in `curves`.
        ValueError: The function lacks a hyperparameter or its value is not a finite number, or as in `curves`.

    """
    check_known("curve", name, curves_of(results.dataset))
    chosen = _chosen(results.dataset, configs)
    lines = None if line is None else Lines(_heights(chosen, line), words.plain(label))
    return _draw(results, chosen, name, ax, lines)


def _draw(results: Results, chosen: "xr.Dataset", metric: str, ax: "Axes | None", lines: Lines | None) -> "Axes":
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    dataset, ax = results.dataset, canvas.axes(ax)
    values, between = _values(chosen, metric), spread(_values(chosen, metric))
    steps = chosen[metric][chosen[metric].dims[-1]].values
    minimum = _minimum(results, metric)
    shown = [*map(np.ravel, between), *([] if minimum is None else [[minimum]])]
    y = scale(dataset, metric, np.concatenate([*shown, *([] if lines is None else [lines.heights])]))
    names, apart, shared = chosen["optimizer"].values.tolist(), max(1, len(steps) // 8), _shared(chosen)
    named, symbols, bad = [], [], False
    for i, look in enumerate(looks(names)):
        lane = y.lane(i, len(names))
        low, median, high = (y.clip(v[i], lane) for v in between)
        ax.fill_between(steps, low, high, color=look["color"], alpha=canvas.BAND, linewidth=0, gid="band")
        every = (i * apart // len(names), apart)
        named += [
            (one, _describe(chosen, i, shared)) for one in ax.plot(steps, median, **look, markevery=every, gid="median")
        ]
        if lines is not None and np.isfinite(lines.heights[i]):
            at: dict[str, Any] = {"linewidth": 0.8 * look["linewidth"], "linestyle": (0, (2, 2)), "zorder": 1.5}
            ax.axhline(lines.heights[i], color=look["color"], gid="level", **at)
        bad |= _cross(ax, chosen, i, lane, look)

    cross: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 0.8 * rcParams["lines.markersize"]}
    if values.shape[1] > 1:
        symbols.append(band(f"quartiles of {values.shape[1]} seeds"))
    if bad:
        symbols.append(Line2D([], [], **cross, color=canvas.GREY, label="a seed diverged"))
    if lines is not None:
        symbols.append(Line2D([], [], color=canvas.GREY, linestyle=(0, (2, 2)), label=lines.label))
    if minimum is not None and not (y.log and minimum <= 0):
        dashed: dict[str, Any] = {"color": canvas.GREY, "linestyle": (0, (5, 3)), "linewidth": 0.8}
        symbols.append(ax.axhline(minimum, **dashed, zorder=1, label="minimum"))

    undiverged = (chosen["status"].values != "diverged").all(axis=1, keepdims=True)
    off = any((y.beyond(v) & (np.isfinite(v) | undiverged)).any() for v in between)
    finish(ax, y, [*(["diverged"] if bad else []), *(["off the scale"] if off else [])])
    _label(ax, dataset, metric, steps, shared)
    legend.place(ax, named, symbols)
    return ax


def band(label: str) -> Any:
    """Make the legend's entry of bands."""
    from matplotlib.patches import Patch

    return Patch(facecolor=canvas.GREY, alpha=2 * canvas.BAND, linewidth=0, label=label)


def _label(ax: "Axes", dataset: "xr.Dataset", metric: str, steps: np.ndarray, shared: Mapping[str, str]) -> None:
    ax.set_xlim(*canvas.widened(steps[0], steps[-1]))
    canvas.title(ax, words.titled(dataset, *(f"{n} {value}" for n, value in shared.items())))
    canvas.xlabel(ax, words.axis(dataset))
    over = "median of " if dataset.sizes["seed"] > 1 else ""
    canvas.ylabel(ax, f"{words.words(metric)}, {over}{words.seeds(dataset)}")


def _cross(ax: "Axes", chosen: "xr.Dataset", i: int, lane: float, look: dict[str, Any]) -> bool:
    """Mark the first bad steps of the diverged seeds of a configuration; return whether there are any."""
    unit = unit_of(chosen)
    first = chosen["first_bad_step" if unit == "step" else COUNTED[unit]].values[i]
    first = first[chosen["status"].values[i] == "diverged"]
    size = 1.4 * look["markersize"]
    ax.plot(first, np.full(len(first), lane), "x", color=look["color"], markersize=size, gid="diverged")
    return len(first) > 0


def _chosen(dataset: "xr.Dataset", configs: Iterable[int] | None) -> "xr.Dataset":
    """Return the dataset of the configurations to show: those given, or each optimizer's best."""
    if configs is None:
        return dataset.sel(config=[best(dataset, optimizer=name).config for name in words.optimizers(dataset)])
    if not isinstance(configs, Iterable):
        raise ArgumentTypeError(
            f"configs must be a list of configuration numbers, got {quoted(configs)}: write [{quoted(configs)}]."
        )
    known = dataset["config"].values.tolist()
    listed = list(dict.fromkeys(check_count("A configuration's number", config, least=0) for config in configs))
    if not listed:
        raise ArgumentValueError("configs is empty: name at least one, or leave it out for each optimizer's best.")
    if unknown := [config for config in listed if config not in known]:
        raise ArgumentValueError(
            f"There is no configuration {unknown[0]}: they are numbered {known[0]} to {known[-1]}."
        )
    return dataset.sel(config=listed)


def _heights(chosen: "xr.Dataset", line: Level) -> np.ndarray:
    """Return the height of the line for each configuration."""
    number = isinstance(line, int | float | np.number) and not isinstance(line, bool)
    if not callable(line) and not number:
        raise ArgumentTypeError(f"line must be a number or a function of the hyperparameters, got {quoted(line)}.")
    columns, heights = hyperparameters(chosen), []
    for i in range(chosen.sizes["config"]):
        has = {n: v[i : i + 1].tolist()[0] for n, v in columns.items() if present(v[i : i + 1])[0]}
        try:
            height = float(line(has) if callable(line) else line)
        except KeyError as error:
            raise ArgumentValueError(
                f"line asks for the hyperparameter {error}, but configuration {int(chosen['config'].values[i])} has "
                f"{', '.join(has) or 'none that was varied'}. Write its value into the function."
            ) from None
        if not np.isfinite(height):
            raise ArgumentValueError(f"line must be at a finite height, got {height} for {has}.")
        heights.append(height)
    return np.asarray(heights)


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


def _shared(chosen: "xr.Dataset") -> dict[str, str]:
    """Return the hyperparameters that all of several curves have at one value, in words: the title names them."""
    columns = {n: v for n, v in hyperparameters(chosen).items() if len(v) > 1 and present(v).all()}
    same = {n: v for n, v in columns.items() if len(distinct(narrowed(v))[0]) == 1}
    return {words.words(n): words.by_row(v)[0] for n, v in same.items()}


def _describe(chosen: "xr.Dataset", i: int, shared: Mapping[str, str]) -> str:
    """Name one curve: optimizer, the hyperparameters that are not shared, and whether it ended early."""
    columns = {n: v for n, v in hyperparameters(chosen).items() if words.words(n) not in shared}
    has = [f"{words.words(n)} {words.by_row(v)[i]}" for n, v in columns.items() if present(v)[i]]
    text = "\n".join([words.plain(chosen["optimizer"].values[i]), *([", ".join(has)] if has else [])])
    status, steps = chosen["status"].values[i], chosen["steps_taken"].values[i]
    for ended in ("stopped", "plateau"):
        if (status == ended).any():
            first, last = steps[status == ended].min(), steps[status == ended].max()
            text += f"\n({ended} at step {first}{f' to {last}' if last > first else ''})"
    return f"{text}\n(interrupted)" if (status == "interrupted").any() else text
