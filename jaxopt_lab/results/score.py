"""Scores: one number per trial, and the best configuration by its median over seeds.

A complete sweep is compared at its last step; one that is running or was interrupted, at the last step that all
compared trials have reached.
"""

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.labels import distinct, narrowed, present
from jaxopt_lab.store.axes import AXES
from jaxopt_lab.tasks.direction import MAX, direction_of
from jaxopt_lab.tasks.names import IN_FORCE, SPLITS

if TYPE_CHECKING:
    import xarray as xr

LAST, BEST = "last", "best"  # the steps at which trials may be compared
UNFINISHED = ("running", "interrupted")
WORST = ("diverged", "failed", "stopped")  # such trials score worst, whatever their last value
HELD = ("reached", "converged", "plateau")  # such trials keep their last value


class Compared(NamedTuple):
    """The step at which trials are compared by a metric, and which configurations are.

    Attributes:
        point: The position along the metric's last dimension.
        step: The step at that position; where the budget is one of examples, the number of examples.
        configs: Which configurations are compared: those whose every seed has made progress.
        complete: Whether no trial is running or interrupted, so that the step is the last.

    """

    point: int
    step: int
    configs: np.ndarray
    complete: bool


def metrics(dataset: "xr.Dataset") -> list[str]:
    """Return the names of all losses and metrics: of all curves but diagnostics and hyperparameters in force."""
    diagnosed = json.loads(dataset.attrs.get("diagnostics", "{}"))
    return [name for name in curves(dataset) if not name.endswith(IN_FORCE) and name.partition(".")[0] not in diagnosed]


def curves(dataset: "xr.Dataset") -> list[str]:
    """Return the names of all curves of a dataset."""
    return [str(name) for name, x in dataset.data_vars.items() if x.dims[-1] in AXES]


def default_metric(dataset: "xr.Dataset") -> str:
    """Return the metric that configurations are selected by: the task's main one, on validation data if available."""
    if (main := dataset.attrs.get("main_metric")) is not None:
        return main
    return "validation_loss" if "validation_loss" in dataset else "train_loss"


def direction(dataset: "xr.Dataset", metric: str) -> str | None:
    """Return the direction in which a metric of the dataset is better, "max" or "min"; None where it is unknown."""
    known = json.loads(dataset.attrs.get("directions", "{}"))
    split, _, name = metric.partition("_")
    return known.get(metric) or direction_of(name if split in SPLITS else metric)


def greater_is_better(dataset: "xr.Dataset", metric: str) -> bool:
    """Return whether greater values of a metric of the dataset are better.

    Raises:
        ValueError: The metric is not in the dataset, or has no direction.

    """
    check_known("metric", metric, metrics(dataset))
    return is_greater(metric, direction(dataset, metric))


def is_greater(metric: str, direction: str | None) -> bool:
    """Return whether greater values of a metric are better. Raises ValueError where it has no direction."""
    if direction is None:
        name = metric.partition("_")[2]
        raise ArgumentValueError(
            f"Nothing says whether more or less of {metric!r} is better, so it cannot be used for selection. Give it "
            f"to the task as metrics={{{name!r}: jl.maximize(...)}} or jl.minimize(...)."
        )
    return direction == MAX


def compared(dataset: "xr.Dataset", metric: str) -> Compared:
    """Find the step at which trials are compared by a metric of the dataset."""
    axis = dataset[metric].dims[-1]
    steps = dataset[axis].values
    unfinished = np.isin(_by_trial(dataset, "status"), UNFINISHED)
    last = len(steps) - 1
    if not unfinished.any():
        return Compared(last, int(steps[last]), np.ones(len(unfinished), bool), True)
    reached = _reached(dataset, str(axis))
    configs = np.all(~unfinished | (steps[reached] > 0), axis=1, keepdims=True)
    point = int(reached[unfinished & configs].min(initial=last))
    return Compared(point, int(steps[point]), configs[:, 0], False)


def score(dataset: "xr.Dataset", metric: str, at: str = LAST) -> "xr.DataArray":
    """Return the metric at the step of comparison, or at each trial's best one up to it: dims (config, seed).

    A trial that failed, has no value or is not compared scores worst (NaN where the metric has no direction); at the
    last step, one that diverged or was stopped does too.

    Raises:
        ValueError: The metric is not in the dataset; or `at` is "best", and it has no direction or is not evaluated on
            held-out data.

    """
    if at == BEST:
        return _at_best(dataset, metric)[0]
    check_known("metric", metric, metrics(dataset))
    limit, status = compared(dataset, metric), _by_trial(dataset, "status")
    curve = dataset[metric].transpose("config", "seed", ...)
    values = curve.isel({curve.dims[-1]: limit.point})
    if not limit.complete:
        held = last_value(curve.values[..., : limit.point + 1])
        values = values.where(~np.isin(status, HELD), held)
    worst = {None: np.nan, MAX: -np.inf}.get(direction(dataset, metric), np.inf)
    counts = np.isfinite(values) & ~np.isin(status, WORST) & limit.configs[:, None]
    return values.where(counts, worst)


def best_steps(dataset: "xr.Dataset", metric: str) -> np.ndarray:
    """Return the step of each trial's best evaluation, shape (config, seed), -1 where it has none: see `score`."""
    return _at_best(dataset, metric)[1]


def _at_best(dataset: "xr.Dataset", metric: str) -> "tuple[xr.DataArray, np.ndarray]":
    """Return the best value of each trial up to the step of comparison, and its step."""
    greater = greater_is_better(dataset, metric)
    curve, limit = dataset[metric].transpose("config", "seed", ...), compared(dataset, metric)
    axis = str(curve.dims[-1])
    if not axis.startswith("eval_"):
        raise ArgumentValueError(
            f"at='best' selects a step by {metric!r}, which is the loss of one batch at each step. Select by a metric "
            "on validation data."
        )
    worst = -np.inf if greater else np.inf
    counts = limit.configs[:, None] & (_by_trial(dataset, "status") != "failed")
    values = curve.isel({axis: slice(limit.point + 1)}).values
    values = np.where(np.isfinite(values) & counts[..., None], values, worst)
    point = np.argmax(values, axis=-1) if greater else np.argmin(values, axis=-1)
    found = np.take_along_axis(values, point[..., None], axis=-1)[..., 0]
    steps = np.where(np.isfinite(found), dataset[axis].values[point], -1)
    return curve.isel({axis: 0}, drop=True).copy(data=found), steps


def median_score(dataset: "xr.Dataset", metric: str, at: str = LAST) -> np.ndarray:
    """Return the median over seeds of each configuration's score."""
    return np.median(score(dataset, metric, at).values, axis=1)


def best_of(dataset: "xr.Dataset", metric: str, rows: np.ndarray, at: str = LAST) -> int:
    """Return which of the positions `rows` along `config` has the best median score; the first of equals.

    Raises:
        ValueError: The metric is not in the dataset, or has no direction.

    """
    sign = -1 if greater_is_better(dataset, metric) else 1
    return int(rows[np.argmin(sign * median_score(dataset, metric, at)[rows])])


def on_edge(dataset: "xr.Dataset", config: int) -> list[str]:
    """Return the numeric hyperparameters of position `config` whose value is its optimizer's least or greatest."""
    own = np.flatnonzero(dataset["optimizer"].values == dataset["optimizer"].values[config])
    edges = []
    for name, column in hyperparameters(dataset).items():
        values = narrowed(column[own][present(column[own])])
        tried = distinct(values)[0]
        if values.dtype.kind == "f" and len(tried) > 2 and column[config] in (tried[0], tried[-1]):
            edges.append(name)
    return edges


def hyperparameters(dataset: "xr.Dataset") -> dict[str, np.ndarray]:
    """Return the hyperparameters that were varied, by name: one value per configuration."""
    coords = dataset.coords
    return {str(n): c.values for n, c in coords.items() if c.dims == ("config",) and n not in ("config", "optimizer")}


def _by_trial(dataset: "xr.Dataset", name: str) -> np.ndarray:
    return dataset[name].transpose("config", "seed").values


def _reached(dataset: "xr.Dataset", axis: str) -> np.ndarray:
    """Return the position along `axis` of each trial's last value of any curve; 0 where it has none."""
    curves = [x.transpose("config", "seed", axis).values for x in dataset.data_vars.values() if axis in x.dims]
    return _at_last(np.logical_or.reduce([~np.isnan(curve) for curve in curves]))


def last_value(curve: np.ndarray) -> np.ndarray:
    """Return the last number along the last axis; NaN where there is none."""
    return np.take_along_axis(curve, _at_last(~np.isnan(curve))[..., None], axis=-1)[..., 0]


def _at_last(known: np.ndarray) -> np.ndarray:
    """Return the position of the last True along the last axis; 0 where there is none."""
    at = known.shape[-1] - 1 - np.argmax(known[..., ::-1], axis=-1)
    return np.where(known.any(axis=-1), at, 0)
