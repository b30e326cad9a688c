"""Budgets of a trial: a number of steps, or of training examples, which means other steps for each batch size."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.engine.plan import steps_at
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks.calls import examples_per_step
from jaxopt_lab.tasks.task import Task, count_examples

MOST = 2**31 - 1  # units of a budget, which are counted in int32


@dataclasses.dataclass(frozen=True)
class Examples:
    """A budget of training examples: see `examples`."""

    count: int

    def __str__(self) -> str:
        return f"{self.count:,} examples"


@dataclasses.dataclass(frozen=True)
class Epochs:
    """A budget of passes over the training data: see `epochs`."""

    count: float

    def __str__(self) -> str:
        return f"{self.count:g} epochs"


Budget = int | Examples | Epochs


def examples(count: int) -> Examples:
    """Make a budget of training examples: `steps=jl.examples(50_000)`.

    A trial makes as many steps as it takes to see so many examples, rounded up, so that trials of different batch sizes
    see the same number. Curves are then recorded by examples, and rungs of a stop rule are numbers of examples.

    Raises:
        TypeError: `count` is not an integer.
        ValueError: `count` is less than 1.

    """
    return Examples(check_count("jl.examples", count, most=MOST))


def epochs(count: float) -> Epochs:
    """Make a budget of passes over the training data: `steps=jl.epochs(10)`; see `examples`.

    Raises:
        TypeError: `count` is not a number.
        ValueError: `count` is not above 0.

    """
    count = check_number("jl.epochs", count, least=0.0)
    if not count:
        raise ArgumentValueError("jl.epochs must be above 0, got 0.")
    return Epochs(count)


def check_budget_of(name: str, value: Any) -> Budget:
    """Check that `value` is a number of steps, or a budget that `examples` or `epochs` made, and return it."""
    if isinstance(value, Examples | Epochs):
        return value
    if callable(value):
        raise ArgumentTypeError(f"{name} must be an integer, jl.examples(...) or jl.epochs(...), got {value!r}.")
    return check_count(name, value)


class Timeline(NamedTuple):
    """A budget for tasks, in units of which each task's step takes a number.

    Attributes:
        unit: "step" or "examples".
        total: The budget.
        per_step: The units of a step of each task.

    """

    unit: str
    total: int
    per_step: Sequence[int]

    def points(self, stride: int | None, most: int) -> np.ndarray:
        """Return where to record, from 0 to the total: every `stride` steps of the task with the fewest, or `most`.

        There are only points that no task's steps join.
        """
        largest = max(self.per_step)
        found = np.minimum(
            steps_at(stride, math.ceil(self.total / largest), most).astype(np.int64) * largest, self.total
        )
        steps = [-(-found // each) for each in dict.fromkeys(self.per_step)]
        apart = np.all([np.diff(at) > 0 for at in steps], axis=0)
        return found[np.append(apart, True)].astype(np.int32)

    def joined(self, points: np.ndarray, rungs: Sequence[int]) -> np.ndarray:
        """Return the points together with the rungs of a stop rule, without points that some task's steps join to one.

        Raises:
            ArgumentValueError: Two rungs are within one step of a task, or the last is within its last step.

        """
        fixed = sorted({0, *rungs, self.total})
        steps = {each: {-(-at // each) for at in fixed} for each in self.per_step}
        if wrong := [each for each in steps if len(steps[each]) < len(fixed)]:
            raise ArgumentValueError(
                f"Its rungs, at {', '.join(map(str, fixed[1:-1]))} of {self.total} {self.unit}, are closer than a step "
                f"of {wrong[0]}. Begin later, or use smaller batches."
            )
        free = [at for at in points.tolist() if at not in fixed]
        apart = [at for at in free if all(-(-at // each) not in steps[each] for each in steps)]
        return np.asarray(sorted({*fixed, *apart}), np.int32)


def timeline(budget: Budget, tasks: Sequence[Task]) -> Timeline:
    """Return the budget of trials of these tasks.

    Raises:
        ArgumentValueError: It is in examples or epochs, and a task has no examples to count.

    """
    if isinstance(budget, int):
        return Timeline("step", budget, [1] * len(tasks))
    per_step = []
    for task in tasks:
        each = examples_per_step(task)
        if each is None:
            raise ArgumentValueError(
                f"Task {task.name!r} has no training data, so {budget} cannot be counted. Give steps= as a number."
            )
        per_step.append(each)
    if isinstance(budget, Examples):
        return Timeline("examples", budget.count, per_step)
    counts = {count_examples(task, "train") for task in tasks}
    if None in counts:
        raise ArgumentValueError(
            f"The training data of task {tasks[0].name!r} come from a function or a stream, so there are no epochs to "
            "count. Use jl.examples."
        )
    if len(counts) > 1:
        listed = " and ".join(map(str, sorted(counts, key=str)))
        raise ArgumentValueError(
            f"The tasks of this sweep have {listed} training examples, so that {budget} are not the same for all. Use "
            "jl.examples."
        )
    (count,) = counts
    assert count is not None
    total = check_count(f"jl.epochs({budget.count:g}), in examples,", max(1, round(budget.count * count)), most=MOST)
    return Timeline("examples", total, per_step)
