"""A trial's model, in the library that its task's adapter is for."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.labels import present, same
from jaxopt_lab.tasks.calls import named, rebuild, with_given
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tasks.task import Task

if TYPE_CHECKING:
    import xarray as xr


def model(dataset: "xr.Dataset", task: Task | None, config: int, kept: Any) -> Any:
    """Make the model of a configuration from what is kept of a trial: see `Results.kept`.

    Raises:
        ValueError: The results have no task, or it is not of another library's model.

    """
    if task is None:
        raise ValueError("These results were loaded without their task: load them as jl.load(path, task=...).")
    if task.rebuild is None:
        raise ValueError(
            f"Task {task.name!r} is not of another library's model: results.params() returns its parameters. "
            "jl.nnx_task, jl.linen_task and jl.equinox_task make tasks of models."
        )
    params, state = kept if task.is_stateful else (kept, None)
    return rebuild(_with_structure(dataset, task, config), params, state)


def _with_structure(dataset: "xr.Dataset", task: Task, config: int) -> Task:
    """Return the task with the configuration's structural hyperparameters."""
    row = int(np.flatnonzero(dataset["config"].values == config)[0])
    optimizer, structural = str(dataset["optimizer"].values[row]), json.loads(dataset.attrs["structural"])
    values = {}
    for column, pairs in structural.get(optimizer, {}).items():
        if column.startswith(TASK_PREFIX) and present(dataset[column].values[row : row + 1])[0]:
            label = dataset[column].values[row : row + 1].tolist()[0]
            known = [value for of, value in pairs if same(of, label)]
            if not known:
                raise ValueError(
                    f"{column} = {label} cannot be read back, so the model is unknown. Make the task with this value, "
                    "and call task.rebuild(results.params(...))."
                )
            values[column.removeprefix(TASK_PREFIX)] = known[0]
    own = named(task)
    if made_from := {name: x for name, x in values.items() if name not in own}:
        task = task.replace(**made_from)
    return with_given(task, tuple((name, x) for name, x in values.items() if name in own))
