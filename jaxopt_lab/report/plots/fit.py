"""Fit: a regression's predictions with its data."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import COLOURS, look, looks
from jaxopt_lab.results.best import best
from jaxopt_lab.results.results import Results
from jaxopt_lab.tasks.calls import predict
from jaxopt_lab.tasks.names import SPLITS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.calling import calling

if TYPE_CHECKING:
    from matplotlib.axes import Axes


POINTS = 200  # of a prediction's line


def fit(results: Results, params: Any, split: str, ax: "Axes | None") -> "Axes":
    """Draw data and predictions: lines over the input where there is only one, else predicted against actual targets.

    Args:
        results: A sweep's results on a regression task.
        params: Parameters to predict with, or (parameters, state) where the loss has a state; by default those of the
            best seed of each optimizer's best configuration (where there are several inputs, of the best optimizer
            only).
        split: The data to show: train, validation or test.
        ax: Axes to draw into; None makes a figure.

    Raises:
        TypeError: `ax` is not axes.
        ValueError: The results have no task, the task is not a regression on pairs of arrays (inputs, targets), it has
            no such split, or the parameters were not kept.

    """
    task, inputs, targets = _regression(results.task, split)
    ax = canvas.axes(ax)
    leaves, shape = jax.tree.flatten(inputs)  # inputs may be any tree of arrays
    x = np.asarray(leaves[0])
    one_input = len(leaves) == 1 and x.size == targets.size == len(x)
    predictors = _predictors(results, params, best_only=not one_input)
    given: dict[str, Any] = look("adam") | {"color": COLOURS[0]}
    styles = [given] if params is not None else looks([str(name) for name, *_ in predictors])
    wider = np.linspace(1 + 0.3 * len(predictors), 1, len(predictors))  # so that coinciding lines all show
    lines, named = [], f"{'training' if split == 'train' else split} data"
    for factor, own, (_, label, tree) in zip(wider, styles, predictors, strict=True):
        if one_input:
            at = np.linspace(x.min(), x.max(), POINTS)
            line = _predicted(task, tree, jax.tree.unflatten(shape, [at.reshape(-1, *x.shape[1:])]), POINTS)
            more: dict[str, Any] = {"marker": "", "linewidth": factor * own["linewidth"], "gid": "prediction"}
            lines += [(drawn, label) for drawn in ax.plot(at, line, **own | more)]
        else:
            dots: dict[str, Any] = {"color": own["color"], "alpha": 0.7, "mew": 0, "markersize": 2 * own["markersize"]}
            predicted = _predicted(task, tree, inputs, targets.size)
            ax.plot(targets.ravel(), predicted, ".", **dots, label=label, gid="prediction")
    if one_input:
        dots = {"color": canvas.FAINT, "mew": 0, "zorder": 1, "gid": "data"}
        ax.plot(x.ravel(), targets.ravel(), ".", **dots, label=named)
        margin = 0.08 * np.ptp(targets) or 1.0  # the range is that of the data: a diverged line may leave it
        ax.set_ylim(targets.min() - margin, targets.max() + margin)
        ax.set_xlim(*canvas.widened(x.min(), x.max()))
    else:
        ends = [targets.min(), targets.max()]
        dashed: dict[str, Any] = {"color": canvas.GREY, "linewidth": 0.8, "linestyle": (0, (5, 3)), "gid": "diagonal"}
        ax.plot(ends, ends, **dashed, label="predicted = actual")
    symbols = [line for line in ax.lines if line.get_label() and not str(line.get_label()).startswith("_")]
    canvas.title(ax, words.titled(results.dataset, named))
    canvas.xlabel(ax, "input" if one_input else "actual target")
    canvas.ylabel(ax, "target" if one_input else "predicted target")
    legend.place(ax, lines, symbols)
    return ax


def _regression(task: Task | None, split: str) -> tuple[Task, Any, np.ndarray]:
    """Return the task, inputs and targets of a split. Raises ValueError where there is no regression to draw."""
    check_known("split", split, SPLITS)
    if task is None:
        raise ValueError("These results were loaded without their task: load them as jl.load(path, task=...).")
    if task.predict is None:
        raise ValueError(f"Task {task.name!r} has no predict, so there is nothing to draw. Give jl.Task predict=....")
    data = task.data[SPLITS.index(split)]
    if data is None:
        has = [s for s, d in zip(SPLITS, task.data, strict=True) if d is not None]
        raise ValueError(f"Task {task.name!r} has no {split} data in arrays; it has {', '.join(has) or 'none'}.")
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(
            f"To draw a fit, data of task {task.name!r} must be a pair (inputs, targets), got {type(data).__name__}."
        )
    inputs, targets = data[0], np.asarray(data[1])
    if targets.dtype.kind != "f":
        raise ValueError(
            f"The targets of task {task.name!r} are class labels ({targets.dtype}), but plot.fit is for regressions. "
            "See plot.curves with an accuracy."
        )
    return task, inputs, targets


def _predictors(results: Results, params: Any, best_only: bool) -> list[tuple[str | None, str, Any]]:
    """Return the optimizer, label and parameters of each prediction to draw."""
    if params is not None:
        return [(None, "prediction", params)]
    dataset = results.dataset
    bests = [best(dataset, optimizer=name) for name in ([None] if best_only else words.optimizers(dataset))]
    predictors = []
    for found in bests:
        good, status = np.isfinite(found.value), dataset["status"].sel(config=found.config).values[0]
        label = words.plain(found.optimizer) + ("" if good else f"\n({status})")
        tree = results.kept(found.config, None if good else int(dataset["seed"].values[0]))
        predictors.append((found.optimizer, label, tree))
    return predictors


def _predicted(task: Task, params: Any, inputs: Any, size: int) -> np.ndarray:
    """Return the predictions as a flat array. Raises ValueError where there is not one for each target."""
    with calling(f"Task {task.name!r}: predict, with the parameters to draw,"):
        params, state = params if task.is_stateful else (params, None)
        predicted = np.asarray(predict(task, params, inputs, state))
    if predicted.size != size:
        raise ValueError(
            f"predict of task {task.name!r} returned shape {predicted.shape} for {size} targets: it must return one "
            "prediction for each."
        )
    return predicted.ravel()
