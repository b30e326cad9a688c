"""Landscapes: the loss of a task with two parameters as contours, with paths of optimizers, or the basins of one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_count, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import COLOURS, looks
from jaxopt_lab.report.plots.paths import Ends, Limits, Paths, ends, initial_points, losses, paths
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import Optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 121  # of the contours along each axis
LEVELS = 14  # contours
BOX = 64  # starts by which the box of a task's starts is measured
DISTINCT = len(COLOURS)  # basins that can have a colour each


def trajectories(
    task: Task,
    optimizers: Mapping[str, Optimizer],
    *,
    steps: int,
    starts: Any = 4,
    limits: Limits | None = None,
    seed: int = 0,
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw the paths of optimizers on the contours of a loss of two parameters, from several starts.

        trajectories(jl.tasks.beale(), {"adam": jl.adam(0.1), "momentum": jl.momentum(1e-3)}, steps=300)

    A ring is a start, a filled marker where a path ended. A cross is the last point in the picture of a path that
    diverged, an open marker that of one that ended outside. Contours are at equal ratios of
    the loss above its least value in the picture.

    Args:
        task: A task whose parameters are two numbers.
        optimizers: (init, update) pairs by name.
        steps: The number of steps.
        starts: Initial parameters of shape (starts, 2); or how many of the task's own, of seeds 0, 1, ...
        limits: The ends of the two axes; by default around starts and the paths that did not diverge.
        seed: The seed of random numbers, where the task or an optimizer has some.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError, ValueError: The task's parameters are not two numbers, there is no optimizer, or an argument is
            invalid.

    """
    if not isinstance(optimizers, Mapping) or not optimizers:
        raise ArgumentTypeError(f"optimizers must be a dict of (init, update) pairs by name, got {quoted(optimizers)}.")
    if isinstance(starts, int | np.integer):
        starts = np.unique(initial_points(task, check_count("starts", starts)), axis=0)
    found = {name: paths(task, optimizer, starts, steps, seed) for name, optimizer in optimizers.items()}
    limits = _around(found) if limits is None else _limits(limits)
    ax = canvas.axes(ax)
    _contours(ax, task, limits, seed)
    lines, lost = [], False
    for (name, own), look in zip(found.items(), looks([*found]), strict=True):
        for one, diverged in zip(own.params, own.diverged, strict=True):
            x, y = one.T
            line: dict[str, Any] = look | {"marker": "", "linestyle": "-", "linewidth": 0.8 * look["linewidth"]}
            dots: dict[str, Any] = {"color": look["color"], "markersize": 0.5 * look["markersize"], "alpha": 0.5}
            ax.plot(x, y, **line, gid="path", zorder=2)
            ax.plot(x, y, ".", **dots, mew=0, zorder=2)
            inside = _inside(one, limits)
            at, left = inside[-1], inside[-1] < len(one) - 1
            shape: dict[str, Any] = {"color": look["color"], "markersize": 1.3 * look["markersize"], "zorder": 4}
            if diverged:
                ax.plot(x[at], y[at], "x", **shape, mew=1.2, gid="diverged")
            else:
                edge: dict[str, Any] = {"mfc": "white", "mec": look["color"]} if left else {"mec": "white"}
                ax.plot(x[at], y[at], look["marker"], **shape | edge, mew=0.8, gid="end")
            lost |= bool(diverged)
        lines.append((_named(look), words.plain(name)))
    first = next(iter(found.values())).params[:, 0]
    ring: dict[str, Any] = {"markersize": 1.2 * look["markersize"], "mfc": "white", "mec": "black", "mew": 0.8}
    (start,) = ax.plot(*first.T, "o", **ring, zorder=3, gid="start")
    _finish(ax, task, limits, f"{steps:,} steps")
    start.set_label("start")
    symbols = [start, *([_cross()] if lost else [])]
    legend.place(ax, [], [*(legend.labelled(line, text) for line, text in lines), *symbols])
    return canvas.finished(ax, path)


def basins(
    task: Task,
    optimizer: Optimizer,
    *,
    steps: int,
    limits: Limits | None = None,
    points: int = 100,
    name: str = "",
    seed: int = 0,
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw where an optimizer ends from each start of a grid: the basins of attraction.

    Each place where trials come to rest has a colour; light grey are starts from which they are still moving, by more
    than a thousandth of the picture in the last tenth of the steps, or rest elsewhere: places nearer to each other than
    a hundredth of the picture count as one, and those of fewer than 1 % of the starts as none. Where there are more
    than seven places, or none, colours show the loss at the end. Starts that diverge are hatched.

    Args:
        task: A task whose parameters are two numbers.
        optimizer: An (init, update) pair.
        steps: The number of steps.
        limits: The ends of the two axes; by default the box of the task's own starts.
        points: Starts along each axis, 10 to 1000.
        name: The optimizer's name, for the title.
        seed: The seed of random numbers, where the task or the optimizer has some.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError, ValueError: The task's parameters are not two numbers, all of its own starts are in one line and no
            limits are given, or an argument is invalid.

    """
    from matplotlib import rcParams
    from matplotlib.colors import ListedColormap

    n = check_count("points", points, least=10, most=1000)
    limits = _box(task) if limits is None else _limits(limits)
    x, y = (np.linspace(*end, n) for end in limits)
    starts = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    found = ends(task, optimizer, starts, steps, seed)
    last, diverged = found.params, found.diverged
    least = losses(task, np.where(np.isfinite(last), last, starts), seed)
    places, at = _places(found, least, limits)
    ax = canvas.axes(ax)
    handles: list[Any] = []
    if 0 < len(places) <= DISTINCT:
        colours = ListedColormap(["0.94", *COLOURS[: len(places)]])
        shown = np.ma.masked_array(at, diverged).reshape(n, n)
        ax.pcolormesh(x, y, shown, cmap=colours, vmin=-1.5, vmax=len(places) - 0.5, alpha=0.55, rasterized=True)
        handles += _place_handles(places, at, losses(task, places, seed))
        if (at[~diverged] < 0).any():
            handles.append(_patch("0.94", 1.0, f"moving or elsewhere, {_share(at[~diverged] < 0, len(at))}"))
    else:
        cells = ax.pcolormesh(
            x, y, np.ma.masked_array(least, diverged).reshape(n, n), cmap="viridis_r", rasterized=True
        )
        canvas.ylabel(canvas.figure_of(ax).colorbar(cells, ax=ax).ax, f"training loss, after {steps:,} steps")
    if diverged.any():
        ax.contourf(x, y, diverged.reshape(n, n).astype(float), [0.5, 1.5], colors=["0.9"], hatches=["////"], alpha=0.6)
        handles.append(_patch("0.9", 1.0, f"diverged, {_share(diverged, len(at))}", hatch="////"))
    _contours(ax, task, limits, seed, faint=True)
    if 0 < len(places) <= DISTINCT:
        mark: dict[str, Any] = {"markersize": 1.8 * rcParams["lines.markersize"], "mfc": "white", "mec": "black"}
        ax.plot(*places.T, "*", **mark, mew=0.8, zorder=4, gid="place")
    _finish(ax, task, limits, *([words.plain(name)] if name else []), f"{steps:,} steps")
    legend.place(ax, [], handles)
    return canvas.finished(ax, path)


def _places(found: Ends, least: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Return the places where trials rest, (places, 2), best first, and each trial's place by number, or -1."""
    size, last = np.asarray([high - low for low, high in limits]), found.params
    places, at = [], np.full(len(last), -1)
    rests = (np.abs(last - found.before) <= 1e-3 * size).all(axis=1)
    free = rests & ~found.diverged & np.isfinite(least)
    for trial in np.argsort(least, kind="stable"):
        if not free[trial]:
            continue
        near = free & (np.abs((last - last[trial]) / size) < 0.01).all(axis=1)
        free &= ~near
        if near.sum() >= 0.01 * len(last):
            at[near] = len(places)
            places.append(last[trial])
    return np.asarray(places).reshape(-1, 2), at


def _place_handles(places: np.ndarray, at: np.ndarray, loss: np.ndarray) -> list[Any]:
    """Return the legend's entries of places: where they are, their loss, and how many starts come there."""
    handles = []
    for i, (x, y) in enumerate(places):
        text = f"loss {words.short(float(loss[i]))} at ({x:.2f}, {y:.2f}), {_share(at == i, len(at))} of starts"
        handles.append(_patch(COLOURS[i], 0.55, text))
    return handles


def _share(which: np.ndarray, n: int) -> str:
    share = 100 * which.sum() / n
    return f"{share:.0f} %" if share >= 1 else "< 1 %"


def _patch(colour: str, alpha: float, label: str, hatch: str | None = None) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, alpha=alpha, hatch=hatch, linewidth=0, label=label)


def _contours(ax: "Axes", task: Task, limits: Limits, seed: int, faint: bool = False) -> None:
    """Draw contours of the loss at equal ratios above its least value."""
    x, y = (np.linspace(*end, POINTS) for end in limits)
    values = losses(task, np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), seed).reshape(POINTS, POINTS).astype(float)
    values = np.where(np.isfinite(values), values, np.nan)
    above = values - np.nanmin(values)
    high = np.nanmax(above)
    if not high > 0:
        return
    floor = max(float(np.nanpercentile(above, 0.3)), 1e-4 * high)
    shown = np.log10(np.maximum(above, floor))
    levels = np.linspace(np.log10(floor), np.log10(high), LEVELS)
    if not faint:
        ax.contourf(x, y, shown, levels, cmap="Greys_r", alpha=0.45, zorder=0)
    ax.contour(
        x, y, shown, levels, colors="0.55" if not faint else "0.25", linewidths=0.4, alpha=0.7 if not faint else 0.35
    )


def _finish(ax: "Axes", task: Task, limits: Limits, *more: str) -> None:
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
    canvas.title(ax, ", ".join([words.plain(task.name), *more]))
    canvas.xlabel(ax, "first parameter")
    canvas.ylabel(ax, "second parameter")


def _inside(path: np.ndarray, limits: Limits) -> np.ndarray:
    """Return which points of a path are in the picture; its start, where none is."""
    low, high = np.transpose(limits)
    inside = np.flatnonzero(((path >= low) & (path <= high)).all(axis=1))
    return inside if inside.size else np.zeros(1, int)


def _around(found: Mapping[str, Paths]) -> Limits:
    """Return limits around all starts and the paths that did not diverge, but for the farthest points of these."""
    starts = np.concatenate([own.params[:, 0] for own in found.values()])
    params = np.concatenate([*(own.params[~own.diverged].reshape(-1, 2) for own in found.values()), starts])
    low, high = np.percentile(params, [1, 99], axis=0)
    low, high = np.minimum(low, starts.min(axis=0)), np.maximum(high, starts.max(axis=0))
    room = np.maximum(0.08 * (high - low), 1e-3 * (1 + np.abs(high)))
    return tuple(zip((low - room).tolist(), (high + room).tolist(), strict=True))  # type: ignore[return-value]


def _box(task: Task) -> Limits:
    """Return the box of the task's own starts."""
    starts = initial_points(task, BOX)
    low, high = starts.min(axis=0), starts.max(axis=0)
    if not (high > low).all():
        raise ArgumentValueError(
            f"All starts of task {task.name!r} are in one place, which gives no box to draw. Give limits=((low, high), "
            "(low, high))."
        )
    room = 2 * (high - low) / BOX
    return tuple(zip((low - room).tolist(), (high + room).tolist(), strict=True))  # type: ignore[return-value]


def _limits(limits: Any) -> Limits:
    try:
        (a, b), (c, d) = ((float(low), float(high)) for low, high in limits)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"limits must be ((low, high), (low, high)), got {quoted(limits)}.") from None
    if not (a < b and c < d and np.isfinite([a, b, c, d]).all()):
        raise ArgumentValueError(f"limits must be finite and increasing, got {quoted(limits)}.")
    return (a, b), (c, d)


def _named(look: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    solid: dict[str, Any] = look | {"linestyle": "-"}
    return Line2D([], [], **solid)


def _cross() -> Any:
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    size = 0.8 * rcParams["lines.markersize"]
    return Line2D([], [], color=canvas.GREY, marker="x", linestyle="", markersize=size, label="diverged")
