"""What a sweep counts by, steps or training examples, and how many examples and gradients its trials took."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

COUNTED = {  # what curves may be recorded by, and what counts it for each trial
    "step": "steps_taken",
    "examples": "examples_seen",
    "gradients": "gradients_taken",
    "seconds": "seconds_taken",
}
UNITS = tuple(COUNTED)  # the last dimension of curves; that of evaluations is eval_UNIT
AXES = (*UNITS, *(f"eval_{unit}" for unit in UNITS))
RUNGS = tuple(f"rung_{unit}" for unit in UNITS)  # the last dimension of what a stop rule made of trials


def without_rungs(dataset: "xr.Dataset") -> "xr.Dataset":
    """Leave out what a stop rule made of trials at its rungs."""
    return dataset.drop_dims(RUNGS, errors="ignore")


def unit_of(dataset: "xr.Dataset") -> str:
    """Return what curves are by: "step", "examples" where the budget is one of examples, or a cost (`Results.by`)."""
    return next(unit for unit in reversed(UNITS) if unit == "step" or unit in dataset.dims)


def budget(dataset: "xr.Dataset") -> str:
    """Describe the budget of a trial."""
    unit = unit_of(dataset)
    total = dataset.attrs["steps" if unit == "step" else unit]
    return f"{total:,} {'steps' if total != 1 else unit}" if unit == "step" else _amount(unit, total)


def at_point(dataset: "xr.Dataset", value: int) -> str:
    """Describe a point of the dataset's axis."""
    unit = unit_of(dataset)
    return f"step {value:,}" if unit == "step" else _amount(unit, value)


def _amount(unit: str, value: float) -> str:
    return f"{value:,.3g} {unit}" if unit == "seconds" else f"{value:,} {unit}"


def examples_per_step(dataset: "xr.Dataset") -> np.ndarray | None:
    """Return the training examples that a step of each configuration sees; None where they are not counted.

    It is 0 for a configuration of which no trial has made a step.
    """
    if "examples_seen" not in dataset:
        return None
    seen, steps = (dataset[name].transpose("config", "seed").values for name in ("examples_seen", "steps_taken"))
    return (seen // np.maximum(steps, 1)).max(axis=1)


def unequal_examples(dataset: "xr.Dataset") -> str | None:
    """Describe how the examples that trials see differ; None where all see equally many."""
    each = examples_per_step(dataset)
    if each is None or unit_of(dataset) != "step" or not (each > 0).any():
        return None
    least, most = int(each[each > 0].min()), int(each.max())
    return None if least == most else f"{least:,} to {most:,} examples a step"


def unequal_gradients(dataset: "xr.Dataset") -> str | None:
    """Describe how the gradients that a step takes differ between optimizers; None where all take equally many.

    Where their number is unknown, as with a line search, the optimizers are named.
    """
    if "gradients_taken" not in dataset:
        return None
    taken, steps = (dataset[name].transpose("config", "seed").values for name in ("gradients_taken", "steps_taken"))
    made = steps > 0
    each = (taken / np.maximum(steps, 1))[made & (taken >= 0)]
    unknown = np.unique(dataset["optimizer"].values[(made & (taken < 0)).any(axis=1)]).tolist()
    parts = []
    if each.size and each.min() < each.max():
        parts.append(f"{each.min():.3g} to {each.max():.3g} gradients a step")
    if unknown:
        parts.append(f"a varying number of gradients a step ({', '.join(unknown)})")
    return " or ".join(parts) or None
