"""A sweep's checks on the host, before anything compiles."""

import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxopt_lab import formats
from jaxopt_lab.checking import check_known, check_number, quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.devices import default_budget, devices, free_bytes
from jaxopt_lab.engine.plan import Group, Plan
from jaxopt_lab.engine.structure import BUDGET, traced_step
from jaxopt_lab.engine.tuning.sizing import data_bytes, held_bytes, host_budget, results_bytes
from jaxopt_lab.errors import ArgumentError, ArgumentTypeError, ArgumentValueError, Code, concerning
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results.results import RESERVED
from jaxopt_lab.sweep.checks_task import BRANCHES, check_task_numbers
from jaxopt_lab.sweep.values import TRUE_OR_FALSE, as_range, as_static
from jaxopt_lab.tasks.calls import aux
from jaxopt_lab.tasks.checks import check_gradient, check_task
from jaxopt_lab.tasks.measures import measured
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tracing.calling import explained, is_ours, place
from jaxopt_lab.types import OptimizerFactory, Schedule


def check_untraced(what: str) -> None:
    """Raise ValueError where `what` is called inside a function that JAX transforms."""
    from jax.extend import core  # its import is not free

    with core.take_current_trace() as trace:
        outside = type(trace).__name__ == "EvalTrace"
    if not outside:
        raise ArgumentValueError(
            f"{what} compiles its own programs: call it outside of jax.jit, jax.vmap, jax.grad and the like, "
            "with arrays that are not traced."
        )


def check_out(out: Any) -> Any:
    """Check that `out` is a path or URL or None, and return it."""
    if out is not None and (not isinstance(out, str | os.PathLike) or not str(out)):
        raise ArgumentTypeError(f"out must be the path or URL of a folder, got {quoted(out)}.")
    return out


def check_cluster(cluster: Any) -> str | None:
    """Check that `cluster` is an address or None, and return it."""
    if cluster is not None and not isinstance(cluster, str):
        raise ArgumentTypeError(f'cluster must be "auto" or the address of a Ray cluster, got {quoted(cluster)}.')
    return cluster


def takes_budget(factory: OptimizerFactory) -> bool:
    """Return whether the factory names `steps` after a bare `*`; `functools.partial` may have set it already."""
    parameter = inspect.signature(factory).parameters.get(BUDGET)
    is_set = isinstance(factory, functools.partial) and BUDGET in factory.keywords
    return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY and not is_set


def check_hyperparameters(
    name: str, factory: OptimizerFactory, table: Configurations, of_task: Iterable[str] = ()
) -> None:
    """Raise where the table has a hyperparameter that the optimizer does not take, or one of the wrong kind.

    Args:
        name: The optimizer's name.
        factory: Its factory.
        table: Its configurations.
        of_task: The hyperparameters of the task, for advice.

    """
    try:
        parameters = inspect.signature(factory).parameters
    except (ValueError, TypeError):  # for functions written in C
        raise ArgumentTypeError(
            f"Optimizer {name!r}, {quoted(factory)}, has no signature that says which hyperparameters it takes. Wrap "
            "it in a function that has one."
        ) from None
    advised = [f"{TASK_PREFIX}{argument}" for argument in of_task] or [f"{TASK_PREFIX}ARGUMENT"]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    ours = factory in OPTIMIZERS.values()  # ours have numeric hyperparameters first, structural ones after a bare *
    for column in table.columns:
        values, static = table.present(column), column in table.static
        if not values or column.startswith(TASK_PREFIX):  # see `check_task_hyperparameters`
            continue
        if not takes_any:
            with concerning(column):
                check_known(f"hyperparameter of {name}:", column, [*known, *advised])
        if not column.isidentifier():  # results have files of that name
            raise ArgumentValueError(
                f"{column!r} cannot be a hyperparameter's name: it is not a Python identifier.", about=(column,)
            )
        if column in RESERVED:
            raise ArgumentValueError(
                f"A hyperparameter cannot be called {column!r}: results use that name.", about=(column,)
            )
        parameter = parameters.get(column)
        default = parameter.default if parameter else None
        structural = isinstance(default, bool | str) or (
            ours and parameter and parameter.kind is parameter.KEYWORD_ONLY
        )
        if structural and not static:
            raise ArgumentTypeError(
                f"{column} of {name} is structural, got {values[0]!r}: write ", as_static(column), ".", about=(column,)
            )
        if isinstance(default, bool) and (wrong := [v for v in values if not isinstance(v, bool)]):
            raise ArgumentTypeError(
                f"{column} of {name} must be ", TRUE_OR_FALSE, f", got {wrong[0]!r}.", about=(column,)
            )
        if ours and static and not structural:  # only schedules may be, and None (without momentum there is no buffer)
            scheduled = parameter is not None and Schedule in typing.get_args(parameter.annotation)
            kinds = {"a number": _is_number}
            kinds |= {"a schedule": callable} if scheduled else {}
            kinds |= {"None": lambda v: v is None} if default is None else {}
            if wrong := [v for v in values if not any(fits(v) for fits in kinds.values())]:
                wanted = " or ".join(kinds)
                code = Code(wanted, wanted.replace("None", '"none"'))
                raise ArgumentTypeError(f"{column} of {name} must be ", code, f", got {wrong[0]!r}.", about=(column,))
            drawn = table.kind in ("random", "sobol", "search")  # possibly from [None, 0.9]
            if all(map(_is_number, values)) and not drawn:
                numbers = list(values)
                code = Code(f"{column}={numbers!r} without jl.static", f"{column} = {numbers!r} without static")
                raise ArgumentTypeError(f"{column} of {name} is numeric: write ", code, ".", about=(column,))
    required = [n for n in known if parameters[n].default is inspect.Parameter.empty]
    always = [column for column in table.columns if len(table.present(column)) == len(table)]
    given = {*always, *([BUDGET] if takes_budget(factory) else [])}
    if missing := [n for n in required if n not in given]:
        example = as_range("log", "1e-4, 1, 16")
        raise ArgumentValueError(
            f"{name} needs {', '.join(missing)}: add {missing[0]} to the space, for example ", example, "."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def check_names(tables: Mapping[str, Configurations], measured: Iterable[str]) -> None:
    """Raise where a hyperparameter has the name of a loss or metric that is evaluated."""
    for name in dict.fromkeys(measured):
        if any(name in table.columns for table in tables.values()):
            raise ArgumentValueError(
                f"A hyperparameter cannot be called {name!r}: a loss or metric has that name. Rename it."
            )


def check_curves(tables: Mapping[str, Configurations], groups: Sequence[Group]) -> None:
    """Raise where a further scalar of a loss has a name that results use for something else."""
    taken = {name for table in tables.values() for name in table.columns}
    taken |= RESERVED | {name for group in groups for name in measured(group.structure.task)}
    for task in dict.fromkeys(group.structure.task for group in groups):
        if wrong := [name for name in aux(task) if name in taken]:
            raise ArgumentValueError(
                f"Task {task.name!r}: the loss returns a further scalar called {wrong[0]!r}: results already use that "
                "name. Rename it.",
                about=("task",),
            )


def check_traceable(group: Group, made_by: Sequence[str]) -> None:
    """Trace one step of a trial without running it: raise where the task or the optimizer cannot be trained.

    Traces are cached. Errors of the task are reported as about `made_by`.
    """
    with concerning(*made_by):
        check_task(group.structure.task)
        check_task_numbers(group.structure.task, group.structure.names)
    try:
        traced_step(group.structure, group.optimizer)
    except Exception as error:
        if not is_ours(error):
            with concerning(*made_by):
                check_gradient(group.structure.task)
        with concerning("optimizers", group.optimizer):
            raise _untraceable(group, error) from error


def _untraceable(group: Group, error: Exception) -> ArgumentError:
    """Make the error for a group whose step cannot be traced because of its optimizer."""
    if isinstance(error, ArgumentError):
        return error
    if is_ours(error):
        return (ArgumentTypeError if isinstance(error, TypeError) else ArgumentValueError)(str(error))
    if isinstance(error, BRANCHES):
        return _branching(group, error)
    hint = ()
    if isinstance(error, TypeError) and group.values:
        static = Code("jl.static([...])", "{ static = [...] }")
        hint = (f"There, {', '.join(group.values)} are traced numbers: give a count or flag as ", static, ".")
    return explained(f"Optimizer {group.optimizer!r}", error, hint)


def _branching(group: Group, error: Exception) -> ArgumentTypeError:
    """Make the error for an optimizer that branches in Python on a traced value; find by trial which value it is."""
    structure, name = group.structure, group.optimizer
    values = {n: float(v[0]) for n, v in group.values.items()}

    def fails(*traced: str) -> bool:
        given = functools.partial(structure.factory, **{n: v for n, v in values.items() if n not in traced})
        try:
            traced_step(dataclasses.replace(structure, factory=given, names=traced), name)
        except BRANCHES:
            return True
        return False

    if fails():
        return ArgumentTypeError(
            f"Optimizer {name!r} branches in Python on a value that changes during training: the step that a schedule "
            f"gets, a gradient, or its state{place(error)}.",
            advice="Use jnp.where or jax.lax.cond instead.",
        )
    culprits = [n for n in values if fails(n)] or list(values)
    return ArgumentTypeError(
        f"Optimizer {name!r} branches in Python on {' or '.join(culprits)}, so one program cannot serve all values"
        f"{place(error)}.",
        advice=(
            "Use jnp.where or jax.lax.cond instead of if. Where an Optax schedule branches, make one whose peak is 1 "
            "and scale it: lambda step: learning_rate * schedule(step). Only a value that decides a shape or a count "
            "of steps or layers is structural: ",
            as_static(culprits[0]),
            " compiles a program for each value.",
        ),
    )


def check_diverged_above(bound: float | str | None) -> float | str | None:
    """Check that the bound is a number, "auto" or None, and return it."""
    if bound is None or (isinstance(bound, str) and bound == "auto"):
        return bound
    if isinstance(bound, str):
        raise ArgumentValueError(f'diverged_above must be a number, "auto" or None, got {bound!r}.')
    return check_number("diverged_above", bound)


def check_memory(memory: int | float | None) -> float | None:
    """Check that `memory` is a number of bytes, a share of free memory, or None, and return it."""
    if memory is None:
        return None
    memory = check_number("memory", memory, least=0.0)
    if memory >= 1:
        _refuse_small(memory, int(memory))
    return memory


def memory_budget(memory: float | None) -> int:
    """Return the memory budget in bytes: the number given, or the given or default share of free memory.

    Raises:
        ArgumentValueError: It is less than 1 MiB.

    """
    if memory is None:
        return default_budget(devices())
    budget = int(memory * free_bytes(devices())) if memory < 1 else int(memory)
    _refuse_small(memory, budget)
    return budget


def _refuse_small(memory: float, budget: int) -> None:
    if budget < 2**20:
        raise ArgumentValueError(
            f"memory must be at least 1 MiB (2**20 bytes), or a share of free memory below 1, got {memory:g}."
        )


def check_budget(plan: Plan) -> None:
    """Raise where the data, or what a sweep keeps for all of its trials, do not fit into the memory budget."""
    data, results, held = data_bytes(plan), results_bytes(plan), held_bytes(plan)
    size = lambda count: formats.size(count, places=0)
    if data > plan.memory:
        copies = len(devices())
        where = f" on {copies} devices, each with a copy," if copies > 1 else ""
        raise ArgumentValueError(
            f"The tasks' data (training, validation and test) take {size(data)}{where} and do not fit into "
            f"{size(plan.memory)} of memory. Give more memory, or tasks with fewer examples or a smaller dtype."
        )
    budget = host_budget(plan)
    on_host = data if devices()[0].platform == "cpu" else 0
    if on_host + results + held > budget:
        parts = [f"data {size(on_host)}"] if on_host else []
        parts += [f"curves and statuses {size(results)}"]
        parts += [f"states between rungs {size(held)}"] if held else []
        raise ArgumentValueError(
            f"{plan.trials} trials do not fit into {size(budget)} of memory: {', '.join(parts)}. "
            "Record and evaluate less often, sweep in parts, or give more memory."
        )
