"""One trial of a sweep again, alone: its parameters, its full curve, and how far that is from what was stored."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxopt_lab.arguments import made_task
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results import Results
from jaxopt_lab.space import static
from jaxopt_lab.statistics.score import hyperparameters
from jaxopt_lab.store import load
from jaxopt_lab.sweep import sweep
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory

if TYPE_CHECKING:
    import xarray as xr

WITHOUT_END = ("stopped", "interrupted", "plateau")  # trials that others, or the user, have ended


@dataclasses.dataclass(frozen=True)
class Rerun:
    """A trial that was run again.

    Attributes:
        params: Its final parameters, as NumPy arrays in the task's own tree.
        dataset: Its results, with the training loss of every step: dims `step` and `eval_step`.
        largest_difference: From the stored training losses, over their size: the largest at any stored step.
        tolerance: What that may be, since it ran in another program and rounding grows from step to step: half of the
            precision's digits (3.5e-4 in float32, 1.5e-8 in float64). More is to be expected where training is chaotic.

    """

    params: Any
    dataset: "xr.Dataset"
    largest_difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest_difference <= self.tolerance


def rerun(
    run: Results | str | Path,
    config: int,
    seed: int,
    *,
    task: Task | Callable[..., Task] | None = None,
    optimizer: OptimizerFactory | None = None,
    values: Mapping[str, Any] | None = None,
) -> Rerun:
    """Repeat one trial of a sweep outside of it, as far as it came there.

    Args:
        run: The sweep's results, or their folder.
        config: The trial's configuration, by number.
        seed: Its seed.
        task: The sweep's, where it is not one of `jl.TASKS`.
        optimizer: The factory of the trial's optimizer, where its name in the sweep is not that of one of ours.
        values: Structural hyperparameters that cannot be read back (functions, for example), by name.

    Raises:
        ValueError: There is no such trial, or something must be given.
        RunError: The folder is damaged.

    """
    results = run if isinstance(run, Results) else load(run)
    dataset = results.dataset
    for name, number in (("config", config), ("seed", seed)):
        if number not in dataset[name].values:
            raise ValueError(f"There is no {name} {number!r}: there are {dataset[name].values.tolist()!s:.200}.")
    trial = dataset.sel(config=config, seed=seed)
    name = str(trial["optimizer"].values)
    factory = OPTIMIZERS.get(name) if optimizer is None else optimizer
    if factory is None:
        raise ValueError(f"{name!r} is none of this package's optimizers: pass its factory, as optimizer=...")
    base = results.task if task is None else made_task(task)
    if base is None:
        raise ValueError(f"The task {dataset.attrs['task']!r} is not among jl.TASKS: pass it, as task=...")
    steps = int(trial["steps_taken"]) if str(trial["status"].values) in WITHOUT_END else int(dataset.attrs["steps"])
    if steps == 0:
        raise ValueError(f"Configuration {config} with seed {seed} made no step, so there is nothing to repeat.")
    number = dataset.attrs["dtype"]
    with jax.enable_x64(number == "float64"):
        again = sweep(
            {name: factory},
            base,
            _space(dataset, config, values or {}),
            steps=steps,
            seeds=[seed],
            target=dataset.attrs.get("target"),
            tolerance=dataset.attrs.get("tolerance"),
            diverged_above=_bound(dataset.attrs.get("diverged_above", "auto")),
            nonfinite=dataset.attrs.get("nonfinite", 0),
            record=1,
            strategy="scan_each",
        )
    one = again.dataset.isel(config=0, seed=0)
    stored = trial["train_loss"].sel(step=trial["step"] <= steps)
    return Rerun(
        params=again.params(0, seed),
        dataset=one,
        largest_difference=_difference(stored.values, one["train_loss"].sel(step=stored["step"]).values),
        tolerance=float(np.sqrt(np.finfo(number).eps)),
    )


def _bound(stored: Any) -> Any:
    return None if stored == "none" else stored


def _space(dataset: "xr.Dataset", config: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration's own values."""
    row, space = int(np.flatnonzero(dataset["config"].values == config)[0]), {}
    structural = json.loads(dataset.attrs["structural"])
    for name, column in hyperparameters(dataset).items():
        value = column[row].item()
        if name in given:
            space[name] = static([given[name]])
        elif name in structural:
            if value == "" or value != value:  # this optimizer has it not
                continue
            known = [v for label, v in structural[name] if label == str(value)]
            if not known:
                raise ValueError(f"{name} = {value} cannot be read back: pass it, as values={{{name!r}: ...}}.")
            space[name] = static([tuple(known[0]) if isinstance(known[0], list) else known[0]])
        elif value == value:
            space[name] = value
    return space


def _difference(stored: np.ndarray, again: np.ndarray) -> float:
    """The largest relative one; infinite where one is a number and the other is not."""
    finite = np.isfinite(stored)
    if not (finite == np.isfinite(again)).all():
        return np.inf
    gap = np.abs(stored[finite] - again[finite])
    return float(np.max(gap / np.maximum(np.abs(stored[finite]), np.finfo(stored.dtype).tiny), initial=0.0))
