"""Results against what training costs, in place of the step: gradients, training examples or seconds."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.results.score import UNFINISHED
from jaxopt_lab.store.axes import COUNTED, unit_of, without_rungs
from jaxopt_lab.tracing.caching import exact

if TYPE_CHECKING:
    import xarray as xr

COSTS = ("gradients", "examples", "seconds")
SLACK = 1 + 1e-9  # costs are products and quotients of floats
TRIALS = ("config", "seed")
BEFORE = {"status": "completed", "first_bad_step": -1, "rung": -1}  # of a trial that ended at a greater cost


def by_cost(dataset: "xr.Dataset", by: str) -> "xr.Dataset":
    """Return the dataset with a cost in place of the step, up to the least cost of a whole trial.

    At each cost, a trial has the value of its last recorded or evaluated step that costs no more.

    Raises:
        ValueError: The cost is unknown or was not recorded, or the sweep has not ended.

    """
    import xarray as xr

    check_known("cost", by, COSTS)
    dataset = without_rungs(dataset)
    if np.isin(dataset["status"].values, UNFINISHED).any():
        raise ArgumentValueError("Trials can be compared at equal cost when their sweep has ended; this one has not.")
    if by == (unit := unit_of(dataset)):
        return dataset
    made = _of_trials(dataset, COUNTED[unit])
    each = _each(dataset, by, made)
    total = (each * dataset[f"eval_{unit}"].values[-1]).min()
    most = total / each[:, None]  # units at that cost
    axes = {old: _axis(dataset[old].values, each, total) for old in (unit, f"eval_{unit}")}
    renamed = {unit: by, f"eval_{unit}": f"eval_{by}"}
    found: dict[str, Any] = {}
    for name in map(str, dataset.data_vars):
        x = dataset[name]
        values, axis = x.transpose(*TRIALS, ...).values, str(x.dims[-1])
        if axis in axes:
            at = np.broadcast_to(axes[axis][1][:, None], (*values.shape[:2], len(axes[axis][0])))
            found[name] = ((*TRIALS, renamed[axis]), np.take_along_axis(values, at, axis=-1))
        elif name in COUNTED.values():
            share = np.minimum(1, most / np.maximum(made, 1))
            by_then = np.floor(values * share * SLACK).astype(values.dtype)
            found[name] = (TRIALS, np.where(values < 0, values, by_then))
        elif name in BEFORE:  # trials that ended at a greater cost were going on
            found[name] = (TRIALS, np.where(made <= most * SLACK, values, BEFORE[name]))
    found[COUNTED[by]] = (TRIALS, _whole(np.minimum(made, most) * each[:, None]))
    own = {str(name): x for name, x in dataset.coords.items() if not set(x.dims) & set(renamed)}
    own |= {renamed[old]: points for old, (points, _) in axes.items()}
    return xr.Dataset(found, own, dataset.attrs | {by: total if by == "seconds" else int(total)})


def _of_trials(dataset: "xr.Dataset", name: str) -> np.ndarray:
    return dataset[name].transpose(*TRIALS).values


def _each(dataset: "xr.Dataset", by: str, made: np.ndarray) -> np.ndarray:
    """Return what a step (or an example, where these are the sweep's unit) of each configuration costs."""
    if by == "seconds":
        spent = _of_trials(dataset, "steps_taken") * _step_seconds(dataset)[:, None]
    elif COUNTED[by] not in dataset:
        raise ArgumentValueError(f"The {by} of this sweep's trials were not counted.")
    else:
        spent = _of_trials(dataset, COUNTED[by])
    if (unknown := spent < 0).any():
        names = np.unique(dataset["optimizer"].values[unknown.any(axis=1)]).tolist()
        raise ArgumentValueError(
            f"How many gradients a step takes depends on losses, for {', '.join(names)}: compare by seconds instead."
        )
    costs = np.where(made > 0, spent / np.maximum(made, 1), np.nan)
    known = ~np.isnan(costs).all(axis=1)
    if not known.any():
        raise ArgumentValueError("No trial has made a step.")
    each = np.full(len(costs), np.nan)
    each[known] = np.nanmean(costs[known], axis=1)
    for name in np.unique(dataset["optimizer"].values[~known]):  # diverged at once: as the optimizer's others
        own = dataset["optimizer"].values == name
        others = each[own & known] if (own & known).any() else each[known]
        each[own & ~known] = np.median(others)
    return each


def _step_seconds(dataset: "xr.Dataset") -> np.ndarray:
    """Return the seconds of one step of each configuration, as measured in the sweep."""
    owners, seconds = dataset["optimizer"].values, np.full(dataset.sizes["config"], np.nan)
    strategies = json.loads(dataset.attrs["strategies"])
    for row, owner in enumerate(owners.tolist()):
        is_own = lambda s, row=row: all(
            exact(dataset[name].values[row : row + 1].tolist()) == exact([label]) for name, label in s["static"].items()
        )
        measured = [s.get("step_seconds") for s in strategies if s["optimizer"] == owner and is_own(s)]
        if not measured or None in measured:
            raise ArgumentValueError(
                f"The seconds of a step of {owner} were not measured: the sweep was resumed when its work was done."
            )
        seconds[row] = np.mean(measured)
    return seconds


def _axis(units: np.ndarray, each: np.ndarray, total: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs at which values are given, and the position of each configuration's value along `units`.

    The costs are those of the costliest configuration's points, and the last one.
    """
    points = units * each.max()
    points = points[points <= total * SLACK]
    points = points if points[-1] * SLACK >= total else np.append(points, total)
    at = np.searchsorted(units, points / each[:, None] * SLACK, side="right") - 1
    return _whole(points), at


def _whole(costs: np.ndarray) -> np.ndarray:
    """Return costs as integers where all are."""
    near = np.round(costs)
    return near.astype(np.int64) if np.allclose(costs, near, rtol=1e-9, atol=0) else costs
