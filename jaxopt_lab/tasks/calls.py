"""Calling a task's functions with all that they ask for, at given values of the task's numeric hyperparameters."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_lab.tasks.asked import FIRST, NAMES, asked
from jaxopt_lab.tasks.names import LOSS, TASK_PREFIX
from jaxopt_lab.tasks.task import Task, remake
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.types import Batch, Key, Params, random_key

FUNCTIONS = ("init", "loss", "metrics", "predict", "augment")


class Evaluated(NamedTuple):
    """What a loss function returned: the loss, the next state (None where it has none), further scalars by name."""

    loss: Any
    state: Any
    aux: Mapping[str, Any]


def start(task: Task, key: Key) -> tuple[Params, Any]:
    """Return the initial parameters and the initial state, which is None where the loss has none."""
    made = task.init(key, **_named(task, task.init, "init", {}, task.numbers))
    return made if task.is_stateful else (made, None)


def evaluate(
    task: Task, params: Params, batch: Batch, state: Any = None, key: Key | None = None, training: bool = True
) -> Evaluated:
    """Call the loss; numeric hyperparameters have their values in training alone."""
    return taken_apart(task, returned(task, params, batch, state, key, training))


def returned(task: Task, params: Params, batch: Batch, state: Any, key: Key | None, training: bool) -> Any:
    """Call the loss and return what it returned."""
    provided = {"key": key, "state": state, "training": training}
    return task.loss(params, batch, **_named(task, task.loss, "loss", provided, task.numbers if training else {}))


def taken_apart(task: Task, result: Any) -> Evaluated:
    """Return what the loss returned as loss, state and further scalars."""
    if task.is_stateful:
        loss, state, *aux = result
    else:
        loss, *aux = result if isinstance(result, tuple) else (result,)
        state = None
    return Evaluated(loss, state, *aux or ({},))


def measure(task: Task, metric: str, params: Params, batch: Batch, state: Any = None) -> Any:
    """Return a metric, or the loss, of held-out data."""
    if metric == LOSS:
        return evaluate(task, params, batch, state, training=False).loss
    function = task.metrics[metric]
    return function(params, batch, **_named(task, function, "metric", {"state": state}))


def predict(task: Task, params: Params, inputs: Any, state: Any = None) -> Any:
    """Call `predict`, which the task must have."""
    assert task.predict is not None
    return task.predict(params, inputs, **_named(task, task.predict, "predict", {"state": state}))


def rebuild(task: Task, params: Params, state: Any = None) -> Any:
    """Make the other library's model for evaluation; the task must be of one."""
    assert task.rebuild is not None
    return task.rebuild(params, **_named(task, task.rebuild, "rebuild", {"state": state}))


def _named(
    task: Task,
    function: Callable[..., Any],
    kind: str,
    provided: Mapping[str, Any],
    numbers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the arguments that a function asks for by name."""
    values = {**task.given, **(numbers or {}), **provided}
    return {name: values[name] for name in asked(function, FIRST[kind]) if name in values}


def at(task: Task, values: Mapping[str, Any]) -> Task:
    """Return the task with those of these values that are its numeric hyperparameters (`task.NAME`); its data stay.

    They may be traced. A number that neither `loss` nor `init` names is an argument of the function that made the task.
    """
    numbers = task_values(values)
    if not numbers:
        return task
    own = {name: x for name, x in numbers.items() if name in task.hyperparameters}
    others = {name: x for name, x in numbers.items() if name not in own}
    valued = copy.copy(task)
    if others and task.factory is not None:
        with jax.ensure_compile_time_eval():  # what does not depend on the numbers is not traced
            made = remake(task.factory, {**task.arguments, **others})
        vars(valued).update({name: getattr(made, name) for name in FUNCTIONS})
        if callable(made.train):
            vars(valued)["train"] = made.train
    vars(valued)["numbers"] = {**task.numbers, **own}
    return valued


def named(task: Task) -> dict[str, Any]:
    """Return what all functions of the task name for themselves, with the defaults."""
    others = [("metric", metric) for metric in task.metrics.values()]
    others += [("predict", task.predict)] if task.predict is not None else []
    found = dict(task.hyperparameters)
    for kind, function in others:
        found = {**asked(function, FIRST[kind]), **found}
    return {name: default for name, default in found.items() if name not in NAMES}


def task_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a configuration's values that are the task's, by their names there."""
    return {name.removeprefix(TASK_PREFIX): x for name, x in values.items() if name.startswith(TASK_PREFIX)}


def starts_at(task: Task, names: Iterable[str]) -> bool:
    """Return whether initial parameters may depend on the hyperparameters with these names (`task.NAME`)."""
    by_loss_alone = task.hyperparameters.keys() - asked(task.init, FIRST["init"]).keys()
    return any(name not in by_loss_alone for name in task_values(dict.fromkeys(names)))


@remembered(maxsize=64)
def with_given(task: Task, given: tuple[tuple[str, Any], ...]) -> Task:
    """Return the task with structural values for what its functions name after a bare `*`."""
    return dataclasses.replace(task, given={**task.given, **dict(given)})


class TaskShapes(NamedTuple):
    """The shapes and types of what a trial's loss gets."""

    params: Any
    batch: Any
    state: Any


@remembered(maxsize=256)
def shapes(task: Task) -> TaskShapes:
    """Return the shapes and types of what a trial's loss gets."""
    key = random_key(0)
    batch = lambda train: task.batch(train, key, jnp.int32(0))
    params, state = jax.eval_shape(lambda key: start(task, key), key)
    return TaskShapes(params, jax.eval_shape(batch, trained_on(task)), state)


def trained_on(task: Task) -> Any:
    """Return what `Task.batch` takes as training data, or its shapes where the host reads them."""
    return task.data[0] if task.feed is None else task.feed.shapes()


def examples_per_step(task: Task) -> int | None:
    """Count the training examples that a step sees: the length of a batch; None where there are no training data."""
    leaves = jax.tree.leaves(shapes(task).batch)
    return leaves[0].shape[0] if leaves and leaves[0].shape else None


def aux(task: Task) -> tuple[str, ...]:
    """Return the names of the further scalars that the loss returns, which the task's checks have seen."""
    if "aux" not in vars(task):
        once = lambda params, batch, state: evaluate(task, params, batch, state, random_key(0)).aux
        vars(task)["aux"] = tuple(jax.eval_shape(once, *shapes(task)))
    return vars(task)["aux"]
