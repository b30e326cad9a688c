"""What a sweep checks on the host, before anything compiles."""

import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from jaxopt_lab.checking import check_known, check_number, quoted
from jaxopt_lab.engine.devices import default_budget, devices, free_bytes
from jaxopt_lab.engine.plan import Group, Plan
from jaxopt_lab.engine.strategy import STRATEGIES
from jaxopt_lab.engine.structure import traced_step
from jaxopt_lab.engine.tuning.sizing import data_bytes, held_bytes, host_budget, results_bytes
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results.results import RESERVED
from jaxopt_lab.sweep.space import Configurations
from jaxopt_lab.tasks.checks import check_gradient, check_task
from jaxopt_lab.tracing.calling import explained, is_ours, place
from jaxopt_lab.types import OptimizerFactory, Schedule

TASK_PREFIX = "task."
BRANCHES = (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError)


def check_untraced(what: str) -> None:
    """Raise ValueError where `what` is called inside of a function that JAX transforms."""
    from jax.extend import core  # whose import is not for free

    with core.take_current_trace() as trace:
        outside = type(trace).__name__ == "EvalTrace"
    if not outside:
        raise ValueError(
            f"{what} compiles programs of its own: call it outside of jax.jit, jax.vmap, jax.grad and the like, "
            "with arrays that are not traced."
        )


def check_flag(what: str, value: Any) -> bool:
    """`value`, or TypeError: "no" would pass for True."""
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, got {quoted(value)}.")
    return value


def check_call(out: Any, progress: Any, allow_different_version: Any, cluster: Any) -> None:
    """Raise where `sweep` is called from a wrong place, or with a wrong kind of what does not belong to the plan."""
    check_untraced("jl.sweep")
    if out is not None and (not isinstance(out, str | os.PathLike) or not str(out)):
        raise TypeError(f"out must be the path or URL of a folder, got {quoted(out)}.")
    if not callable(progress):
        check_flag("progress", progress)
    check_flag("allow_different_version", allow_different_version)
    if cluster is not None and not isinstance(cluster, str):
        raise TypeError(f'cluster must be "auto" or the address of a Ray cluster, got {quoted(cluster)}.')


def check_takes(what: str, function: Callable[..., Any], options: Iterable[str]) -> None:
    """Raise ValueError where the function, which is called as `what`, has no such arguments."""
    for name in options:
        check_known(f"argument of {what}:", name, inspect.signature(function).parameters)


def check_hyperparameters(name: str, factory: OptimizerFactory, table: Configurations) -> None:
    """Raise where the table names what the optimizer or task does not take, or gives it as the wrong kind."""
    try:
        parameters = inspect.signature(factory).parameters
    except (ValueError, TypeError):  # of what is written in C
        raise TypeError(
            f"Optimizer {name!r}, {quoted(factory)}, does not say which hyperparameters it takes. Wrap it in a "
            "function that does."
        ) from None
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    ours = factory in OPTIMIZERS.values()  # whose numeric hyperparameters come first, structural ones after a bare *
    for column, values in table.columns.items():
        static = column in table.static
        if column.startswith(TASK_PREFIX):
            if not static:
                raise TypeError(f"{column} is structural: write {column!r}: jl.static([...]).")
            continue
        if not takes_any:
            check_known(f"hyperparameter of {name}:", column, [*known, f"{TASK_PREFIX}ARGUMENT"])
        if not column.isidentifier():  # results have files of that name
            raise ValueError(f"{column!r} cannot be a hyperparameter's name: it is no name of Python's.")
        if column in RESERVED:
            raise ValueError(f"A hyperparameter cannot be called {column!r}: results use that name.")
        parameter = parameters.get(column)
        default = parameter.default if parameter else None
        structural = isinstance(default, bool | str) or (
            ours and parameter and parameter.kind is parameter.KEYWORD_ONLY
        )
        if structural and not static:
            raise TypeError(f"{column} of {name} is structural, got {values[0]!r}: write {column}=jl.static([...]).")
        if isinstance(default, bool) and (wrong := [v for v in values if not isinstance(v, bool)]):
            raise TypeError(f"{column} of {name} must be True or False, got {wrong[0]!r}.")
        if ours and static and not structural:  # only schedules are, and None: without momentum there is no buffer
            scheduled = parameter is not None and Schedule in typing.get_args(parameter.annotation)
            kinds = {"a number": _is_number}
            kinds |= {"a schedule": callable} if scheduled else {}
            kinds |= {"None": lambda v: v is None} if default is None else {}
            if wrong := [v for v in values if not any(fits(v) for fits in kinds.values())]:
                raise TypeError(f"{column} of {name} must be {' or '.join(kinds)}, got {wrong[0]!r}.")
            drawn = table.kind in ("random", "sobol")  # perhaps from [None, 0.9]
            if all(map(_is_number, values)) and not drawn:
                numbers = list(values)
                raise TypeError(f"{column} of {name} is numeric: write {column}={numbers!r} without jl.static.")
    required = [n for n in known if parameters[n].default is inspect.Parameter.empty]
    if missing := [n for n in required if n not in table.columns]:
        raise ValueError(
            f"{name} needs {', '.join(missing)}: add {missing[0]} to the space, for example jl.log(1e-4, 1, 16)."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def check_names(tables: Mapping[str, Configurations], measured: Iterable[str]) -> None:
    """Raise where a hyperparameter is called as one of the losses and metrics that are evaluated."""
    for name in dict.fromkeys(measured):
        if any(name in table.columns for table in tables.values()):
            raise ValueError(
                f"A hyperparameter cannot be called {name!r}: results call a loss or metric so. Rename it."
            )


def check_traceable(group: Group) -> None:
    """Trace one step of a trial without running it: raise where the task or the optimizer cannot be trained.

    Nothing is traced again of what was.
    """
    check_task(group.structure.task)
    try:
        traced_step(group.structure, group.optimizer)
    except Exception as error:
        if is_ours(error):
            raise
        check_gradient(group.structure.task)
        if isinstance(error, BRANCHES):
            raise _branching(group, error) from error
        counts = ""
        if isinstance(error, TypeError) and group.values:
            counts = f"In it {', '.join(group.values)} are traced numbers: give a count or flag as jl.static([...])."
        raise explained(f"Optimizer {group.optimizer!r}", error, counts) from error


def _branching(group: Group, error: Exception) -> TypeError:
    """What to raise where the optimizer does in Python what depends on a traced value, which is found by trying."""
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
        return TypeError(
            f"Optimizer {name!r} branches in Python on a value that changes while it trains: the step that a schedule "
            f"is given, a gradient, or its state{place(error)}. Use jnp.where or jax.lax.cond instead."
        )
    culprits = [n for n in values if fails(n)] or list(values)
    static = f"{culprits[0]}=jl.static([...])"
    return TypeError(
        f"Optimizer {name!r} branches in Python on {' or '.join(culprits)}, so that no program can serve all values"
        f"{place(error)}. Use jnp.where or jax.lax.cond instead of if. Where a schedule of Optax's branches, make one "
        "whose peak is 1 and scale it: lambda step: learning_rate * schedule(step). Only what decides a shape or a "
        f"count of steps or layers is structural: {static} compiles a program for each value."
    )


def check_diverged_above(bound: float | str | None) -> float | str | None:
    """The bound as a number, "auto" or None; TypeError or ValueError where it is none of them."""
    if bound is None or (isinstance(bound, str) and bound == "auto"):
        return bound
    if isinstance(bound, str):
        raise ValueError(f'diverged_above must be a number, "auto" or None, got {bound!r}.')
    return check_number("diverged_above", bound)


def check_strategy(strategy: str) -> str:
    """The strategy, or ValueError."""
    check_known("strategy", strategy, STRATEGIES)
    return strategy


def check_memory(memory: int | float | None) -> int:
    """The memory budget in bytes: what was given, a share of what is free, or the default share of it."""
    if memory is None:
        return default_budget(devices())
    memory = check_number("memory", memory, least=0.0)
    budget = int(memory * free_bytes(devices())) if memory < 1 else int(memory)
    if budget < 2**20:
        raise ValueError(
            f"memory must be at least 1 MiB (2**20 bytes), or a share of what is free below 1, got {memory:g}."
        )
    return budget


def check_budget(plan: Plan) -> None:
    """Raise where data, or what a sweep keeps for all of its trials, do not fit into its memory budget."""
    data, results, held = data_bytes(plan), results_bytes(plan), held_bytes(plan)
    size = lambda count: f"{count / 2**20:,.0f} MiB" if count >= 2**20 else f"{count / 2**10:,.0f} KiB"
    if data > plan.memory:
        copies = len(devices())
        where = f" on {copies} devices, each of which has a copy," if copies > 1 else ""
        raise ValueError(
            f"The tasks' data (training, validation and test) take {size(data)}{where} and do not fit into "
            f"{size(plan.memory)} of memory. Give more memory, or tasks with fewer examples or of a smaller dtype."
        )
    budget = host_budget(plan)
    on_host = data if devices()[0].platform == "cpu" else 0
    if on_host + results + held > budget:
        parts = [f"data {size(on_host)}"] if on_host else []
        parts += [f"curves and statuses {size(results)}"]
        parts += [f"states between rungs {size(held)}"] if held else []
        raise ValueError(
            f"{plan.trials} trials do not fit into {size(budget)} of memory: {', '.join(parts)}. "
            "Record and evaluate less often, sweep in parts, or give more memory."
        )
