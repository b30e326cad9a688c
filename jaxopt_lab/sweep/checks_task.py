"""Checks of a task's hyperparameters in a space, `task.NAME`: who takes them, and whether one program serves all."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxopt_lab.checking import check_known
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, concerning
from jaxopt_lab.sweep.values import as_static
from jaxopt_lab.tasks._examples import TracedDataError
from jaxopt_lab.tasks.asked import NAMES, is_numeric
from jaxopt_lab.tasks.calls import at, evaluate, named, shapes, start
from jaxopt_lab.tasks.names import SPLITS, TASK_PREFIX
from jaxopt_lab.tasks.task import Task, remake
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import place
from jaxopt_lab.types import random_key

BRANCHES = (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError)


def check_task_hyperparameters(table: Configurations, task: Task) -> None:
    """Raise where the task does not take a hyperparameter of the table, or takes another kind of value."""
    for column in table.columns:
        values = table.present(column)
        if not values or not column.startswith(TASK_PREFIX):
            continue
        with concerning(column):
            name, static = column.removeprefix(TASK_PREFIX), column in table.static
            own, made_from = named(task), _arguments(task)
            _check_taken(task, name, own, made_from)
            default = own[name] if name in own else (made_from or {}).get(name)
            if name in own and default is inspect.Parameter.empty:
                raise ArgumentTypeError(
                    f"{name} of task {task.name!r} needs a default, as in *, {name}=0.0: held-out data are evaluated "
                    "with it."
                )
            if static and name in own and isinstance(default, float) and all(map(is_numeric, values)):
                _check_is_structural(task, column, values)
            structural = not _is_traceable(task, name) if name in own else not _may_be_number(default)
            if structural and not static:
                raise ArgumentTypeError(f"{column} is structural: write ", as_static(column), ".")
            if not static:
                _check_ends(task, name, values, own)


def _check_is_structural(task: Task, column: str, values: Sequence[float]) -> None:
    """Raise where one program serves all values of a number that was given as structural."""
    try:
        check_task_numbers(task, (column,))
    except ArgumentTypeError:  # its functions branch on it in Python, as `nnx.Dropout` does on its rate
        return
    raise ArgumentTypeError(
        f"{column} is numeric: write {column!r}: {list(dict.fromkeys(values))!r} without jl.static, and one program "
        "serves all values."
    )


def _check_taken(task: Task, name: str, own: Mapping[str, Any], made_from: Mapping[str, Any] | None) -> None:
    """Raise where no function of the task takes a hyperparameter of this name, or where two kinds of them do."""
    if name in NAMES:
        raise ArgumentValueError(
            f"{TASK_PREFIX}{name} cannot be swept: {name} is what the sweep itself hands to the loss. Leave it out."
        )
    if name in own:
        if made_from is not None and name in made_from:
            raise ArgumentValueError(
                f"Both the function that makes task {task.name!r} and the functions inside it take {name}, so "
                f"{TASK_PREFIX}{name} could mean either. Rename one of them."
            )
        return
    if made_from is None:
        if difflib.get_close_matches(name, own, n=1):
            check_known(f"hyperparameter of task {task.name!r}:", name, own)
        raise ArgumentValueError(
            f"Task {task.name!r} has no hyperparameter {name!r}: it was made directly, and its functions name "
            f"{', '.join(own) or 'none'} after a bare *. Name it there, as in def loss(params, batch, *, {name}=0.0), "
            "or pass a function that makes the task instead of the task."
        )
    if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(task.factory).parameters.values()):  # pyright: ignore[reportArgumentType]
        factory = getattr(task.factory, "__name__", task.factory)
        check_known(f"argument of task {factory!r}:", name, [*made_from, *own])


def _check_ends(task: Task, name: str, values: Sequence[float], own: Mapping[str, Any]) -> None:
    """Make the task at the least and the largest value, where its function can check them, and raise as it does."""
    if name not in own and task.factory is not None:
        for value in (min(values), max(values)):
            try:
                remake(task.factory, {**task.arguments, name: value})
            except (TypeError, ValueError) as error:
                if _takes_integer(task, name, value):
                    column = f"{TASK_PREFIX}{name}"
                    raise ArgumentTypeError(
                        f"{column} is structural, an integer: write ", as_static(column), "."
                    ) from error
                if isinstance(error, TypeError):
                    raise _structural(name, str(error)) from error
                raise ArgumentValueError(str(error)) from error


def _takes_integer(task: Task, name: str, value: float) -> bool:
    """Return whether the function that made the task takes this value as an integer."""
    if task.factory is None or not value.is_integer():
        return False
    try:
        remake(task.factory, {**task.arguments, name: int(value)})
    except (TypeError, ValueError):
        return False
    return True


def _arguments(task: Task) -> dict[str, Any] | None:
    """Return the arguments of the function that made the task, with the defaults; None where there is none."""
    if task.factory is None:
        return None
    return {name: p.default for name, p in inspect.signature(task.factory).parameters.items()}


def _is_traceable(task: Task, name: str) -> bool:
    """Return whether what a function names is numeric; metrics and `predict` always have their defaults."""
    return name in task.hyperparameters and is_numeric(task.hyperparameters[name])


def _may_be_number(default: Any) -> bool:
    """Return whether an argument with this default may be a number; tracing says whether one program serves all."""
    return default is None or default is inspect.Parameter.empty or is_numeric(default)


def _structural(name: str, reason: str) -> ArgumentTypeError:
    column = f"{TASK_PREFIX}{name}"
    return ArgumentTypeError(
        f"{column} decides more than numbers, so one program cannot serve all values: {reason}",
        advice=("Write ", as_static(column), ", which compiles a program for each value."),
        about=(column,),
    )


@remembered(maxsize=64)
def check_task_numbers(task: Task, names: tuple[str, ...]) -> None:
    """Trace the task with these numeric hyperparameters (`task.NAME`): raise where they decide more than numbers.

    Raises:
        ArgumentTypeError: One decides a shape, a branch or the data.

    """
    names = tuple(name.removeprefix(TASK_PREFIX) for name in names if name.startswith(TASK_PREFIX))
    if not names:
        return
    of_task = [name for name in names if name not in task.hyperparameters]
    for name in of_task:
        _check_argument(task, name)
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))

    def once(numbers, batch, key):
        valued = at(task, {f"{TASK_PREFIX}{name}": x for name, x in numbers.items()})
        params, state = start(valued, key)
        return (params, state), evaluate(valued, params, batch, state, key)

    expected = [x.shape for x in jax.tree.leaves((shapes(task).params, shapes(task).state))]

    def check(*tried):
        try:
            found, _ = jax.eval_shape(once, dict.fromkeys(tried, number), shapes(task).batch, random_key(0))
        except Exception as error:
            said = f"task {task.name!r} branches in Python on it{place(error)}."
            if not isinstance(error, BRANCHES):
                said = f"{error}".partition("\n")[0] + place(error)
            raise _structural(tried[0], said) from error
        if [x.shape for x in jax.tree.leaves(found)] != expected:
            raise _structural(tried[0], "it changes the shapes of the parameters.")

    try:
        check(*names)
    except ArgumentTypeError:
        for name in names:  # to find out which it is
            check(name)
        raise


def _check_argument(task: Task, name: str) -> None:
    """Raise where the function that made the task cannot take a traced number, or makes data of it."""

    def made(number):
        with jax.ensure_compile_time_eval():
            one = remake(task.factory, {**task.arguments, name: number})  # pyright: ignore[reportArgumentType]
            for n, split in enumerate(SPLITS[1:]):
                data = getattr(one, split)
                data = data(random_key(n)) if callable(data) else data
                if any(isinstance(x, Tracer) for x in jax.tree.leaves(data)):
                    raise TracedDataError
        return one.batch_size or 0

    try:
        jax.eval_shape(made, jax.ShapeDtypeStruct((), jnp.result_type(float)))
    except Exception as error:
        cause = error.__cause__ if isinstance(error.__cause__, BRANCHES) else error
        said = f"{error}".partition("\n")[0] or type(error).__name__
        if isinstance(cause, BRANCHES):
            said = f"the function that makes task {task.name!r} branches in Python on it{place(cause)}."
        if isinstance(error, TracedDataError):
            said = f"the data of task {task.name!r} depend on it."
        raise _structural(name, said) from error
