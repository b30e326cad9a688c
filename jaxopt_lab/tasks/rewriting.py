"""Tasks whose functions are rewritten: see `jaxopt_lab.rewrite`."""

import collections
import copy
from collections.abc import Mapping
from typing import Any

import jax

from jaxopt_lab.rewrite import rewriting
from jaxopt_lab.tasks.calls import at, evaluate, shapes
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.types import random_key


def rewritten_task(task: Task) -> Task:
    """Return the task with its loss and its metrics rewritten; its data stay."""
    made = copy.copy(task)
    metrics = {name: rewriting(metric) for name, metric in task.metrics.items()}
    vars(made).update(loss=rewriting(task.loss), metrics=metrics)
    return made


def valued(task: Task, values: Mapping[str, Any], rewrite: bool) -> Task:
    """Return the task with those of these numbers that are its own, rewritten or as it is."""
    task = at(task, values)
    return rewritten_task(task) if rewrite else task


@remembered(maxsize=256)
def rules_of(task: Task) -> Mapping[str, int]:
    """Return the rules that rewrite the task's training loss, and how many operations each."""
    counts = collections.Counter[str]()
    made = copy.copy(task)
    vars(made).update(loss=rewriting(task.loss, lambda name: counts.update([name])))
    params, batch, state = shapes(task)
    jax.eval_shape(lambda *given: evaluate(made, *given), params, batch, state, random_key(0))
    return counts
