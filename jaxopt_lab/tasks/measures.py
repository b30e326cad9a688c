"""Losses and metrics of a sweep's tasks: their names, their directions, and the main one, by which a sweep selects."""

import dataclasses
from collections.abc import Iterable, Mapping

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.tasks.direction import direction_of
from jaxopt_lab.tasks.names import LOSS
from jaxopt_lab.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Measures:
    """The losses and metrics of the tasks of one sweep.

    Attributes:
        common: The losses and metrics that all tasks have.
        main: The one used for selection where no other is named.
        directions: "max" or "min" for each that has a direction, over all tasks.

    """

    common: list[str]
    main: str
    directions: Mapping[str, str]


def measures(tasks: Iterable[Task]) -> Measures:
    """Collect the losses and metrics of the tasks.

    Raises:
        ValueError: The tasks differ in the direction of a metric, or in their main metric.

    """
    tasks, directions = list(dict.fromkeys(tasks)), {"train_loss": "min"}
    for task in tasks:
        for name, direction in _directions(task).items():
            if directions.setdefault(name, direction) != direction:
                raise ArgumentValueError(
                    f"The tasks of a sweep differ in which way {name} is better. Sweep them separately."
                )
    mains = list(dict.fromkeys(task.main_metric for task in tasks))
    if len(mains) > 1:
        raise ArgumentValueError(
            f"The tasks of a sweep differ in their main metric: {', '.join(mains)}. Sweep them separately."
        )
    common = set.intersection(*({"train_loss", *measured(task)} for task in tasks))
    main = f"validation_{mains[0]}"
    return Measures(sorted(common), main if main in common else "train_loss", directions)


def measured(task: Task) -> list[str]:
    """Return the names of the losses and metrics that a task is evaluated by."""
    splits = {"validation": task.validation, "test": task.test}
    return [f"{split}_{what}" for split, data in splits.items() if data is not None for what in (LOSS, *task.metrics)]


def _directions(task: Task) -> dict[str, str]:
    ways = {LOSS: "min", **{name: direction_of(name, function) for name, function in task.metrics.items()}}
    return {name: way for name in measured(task) if (way := ways[name.partition("_")[2]]) is not None}
