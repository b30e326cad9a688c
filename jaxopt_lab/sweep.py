"""The public `sweep`: checks everything on the host, then space -> plan -> engine -> results."""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import optax

from jaxopt_lab.checks import TASK_PREFIX, check_hyperparameters, check_traceable
from jaxopt_lab.collect import collect
from jaxopt_lab.engine import Group, Plan, Progress, Structure, execute
from jaxopt_lab.engine.plan import KEPT_CURVE_BYTES, KEPT_PARAMS_BYTES, params_bytes, segment_length, steps_at
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results import Results
from jaxopt_lab.space import Configurations, Space, configurations
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.task import Task, remake
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.validation import check_count, check_known, check_number, check_seeds

Optimizers = str | OptimizerFactory | Mapping[str, OptimizerFactory | str] | Iterable[OptimizerFactory | str]


def sweep(
    optimizers: Optimizers,
    task: Task | str | Callable[..., Task],
    space: Space | Mapping[str, Space],
    *,
    steps: int,
    seeds: int | Iterable[int] = 1,
    target: float | None = None,
    tolerance: float | None = None,
    record: int | None = None,
    evaluate: int | None = None,
    progress: bool | Callable[[Progress], None] = False,
) -> Results:
    """Train every configuration with every seed, each a trial, in one compiled program for each structure.

    All configurations of a seed start from the same parameters and see the same batches. Ctrl-C (or a notebook's stop
    button) returns what is there; trials that it cut short have status interrupted.

    Args:
        optimizers: An optimizer factory, or a list or dict (name -> factory) of them: this package's, Optax's, or any
            function of keyword hyperparameters that returns an (init, update) pair. Strings name this package's.
        task: What to minimise: a task, the name of one in `jl.TASKS`, or a function that makes one.
        space: Hyperparameters to vary: numbers, lists, `jl.log`, `jl.linear`; `jl.static([...])` for structural values,
            among them the task's own arguments as "task.NAME". A dict means the product; `jl.zipped`, `jl.random` and
            `jl.sobol` combine otherwise. For several optimizers, one space for all or a dict from optimizer to space.
        steps: The budget of each trial, >= 1.
        seeds: How many (0, 1, ...), or which.
        target: A trial ends, reached, when its training loss (of the step's batch) is at or under this.
        tolerance: A trial ends, converged, when a step's Euclidean norm is at or under this.
        record: Keep the training loss every so many steps; the last is always kept. By default at most 200 points,
            fewer where the curves of all trials would take more than 256 MiB.
        evaluate: Evaluate validation and test data every so many steps, and after the last. By default 20 times.
        progress: Whether to show it; or a function to call with it several times a second.

    Returns:
        The results of every trial, diverged ones included.

    Raises:
        TypeError: An argument is of the wrong kind, a loss is not a scalar, a parameter is not floating-point.
        ValueError: A name is unknown, a value is out of range, a space is empty.

    """
    plan, tables = plan_sweep(
        optimizers,
        task,
        space,
        steps=steps,
        seeds=seeds,
        target=target,
        tolerance=tolerance,
        record=record,
        evaluate=evaluate,
    )
    with _shown(progress) as report:
        outcome = execute(plan, report)
    return collect(plan, outcome, tables)


def plan_sweep(
    optimizers: Optimizers,
    task: Task | str | Callable[..., Task],
    space: Space | Mapping[str, Space],
    *,
    steps: int,
    seeds: int | Iterable[int] = 1,
    target: float | None = None,
    tolerance: float | None = None,
    record: int | None = None,
    evaluate: int | None = None,
) -> tuple[Plan, dict[str, Configurations]]:
    """Check what `sweep` would run, and run nothing.

    Args and errors are those of `sweep`.

    Returns:
        The plan, and the table of configurations of each optimizer by name.

    """
    steps = check_count("steps", steps)
    named = check_seeds(seeds)
    target = None if target is None else check_number("target", target)
    tolerance = None if tolerance is None else check_number("tolerance", tolerance, least=0.0)
    record = None if record is None else check_count("record", record)
    evaluate = None if evaluate is None else check_count("evaluate", evaluate)
    factories = _factories(optimizers)
    base = _task(task)

    tables = {name: configurations(s) for name, s in _spaces(space, factories).items()}
    groups = []
    for name, table in tables.items():
        check_hyperparameters(name, factories[name], table)
        groups += _groups(name, factories[name], table, base, sum(len(g.configs) for g in groups))
    for group in groups:
        check_traceable(group.structure, group.optimizer)

    trials = sum(len(table) for table in tables.values()) * len(named)
    held_out = any(split is not None for group in groups for split in group.structure.task.data[1:])
    eval_steps = steps_at(evaluate, steps, _affordable(trials, 21) if held_out else 2)
    params = max(params_bytes(group.structure.task) for group in groups)
    plan = Plan(
        groups=groups,
        seeds=np.asarray(named, np.int32),
        steps=steps,
        target=-math.inf if target is None else target,
        tolerance=tolerance,
        record_steps=steps_at(record, steps, _affordable(trials, 201)),
        eval_steps=eval_steps,
        segment_length=segment_length(eval_steps),
        keep_params=params * trials <= KEPT_PARAMS_BYTES,
    )
    return plan, tables


def _factories(optimizers: Optimizers) -> dict[str, OptimizerFactory]:
    if isinstance(optimizers, Mapping):
        named = dict(optimizers)
    elif isinstance(optimizers, str) or callable(optimizers):
        named = {_name(optimizers): optimizers}
    elif isinstance(optimizers, optax.GradientTransformation):
        raise TypeError(
            "Got an optimizer that is already made. Pass the function that makes it: jl.adam, not jl.adam(1e-3)."
        )
    elif isinstance(optimizers, Iterable):
        listed = list(optimizers)
        named = {_name(o): o for o in listed}
        if len(named) < len(listed):
            raise ValueError(f"Two optimizers share a name: {[_name(o) for o in listed]}. Pass a dict of names.")
    else:
        raise TypeError(f"optimizers must be a function, or a list or dict of functions, got {optimizers!r}.")
    if not named:
        raise ValueError("No optimizer was given: pass one, for example jl.adam.")
    factories = {}
    for name, factory in named.items():
        if isinstance(factory, str):
            check_known("optimizer", factory, OPTIMIZERS)
            factory = OPTIMIZERS[factory]
        if not callable(factory):
            made = isinstance(factory, optax.GradientTransformation)
            hint = "Pass the function that makes it: jl.adam, not jl.adam(1e-3)." if made else "Pass a function."
            raise TypeError(
                f"Optimizer {name!r} is not a function of hyperparameters but {type(factory).__name__}. {hint}"
            )
        factories[str(name)] = factory
    return factories


def _name(optimizer: Any) -> str:
    return optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)


def _task(task: Task | str | Callable[..., Task]) -> Task:
    if isinstance(task, str):
        check_known("task", task, TASKS)
        task = TASKS[task]
    if callable(task) and not isinstance(task, Task):
        task = remake(task, {})
    if not isinstance(task, Task):
        raise TypeError(f"task must be a jl.Task, a name in jl.TASKS or a function that makes a task, got {task!r}.")
    return task


def _spaces(space: Any, factories: Mapping[str, OptimizerFactory]) -> dict[str, Space]:
    """One space for each optimizer."""
    by_optimizer = isinstance(space, Mapping) and any(isinstance(s, Mapping | Configurations) for s in space.values())
    if not by_optimizer:
        return dict.fromkeys(factories, space)
    for name in space:
        check_known("optimizer in the space:", name, factories)
    if missing := [name for name in factories if name not in space]:
        raise ValueError(
            f"The space has no entry for {', '.join(missing)}. Give each optimizer one, or one space for all."
        )
    return {name: space[name] for name in factories}


def _groups(name: str, factory: OptimizerFactory, table: Configurations, base: Task, offset: int) -> list[Group]:
    """The configurations of one table by structure, in order of appearance."""
    numeric = tuple(column for column in table.columns if column not in table.static)
    found: list[tuple[dict[str, Any], list[int]]] = []
    for row in range(len(table)):
        static = {column: table.columns[column][row] for column in table.columns if column in table.static}
        for known, rows in found:
            if all(type(known[c]) is type(static[c]) and known[c] == static[c] for c in static):
                rows.append(row)
                break
        else:
            found.append((static, [row]))
    groups = []
    for static, rows in found:
        arguments = {c.removeprefix(TASK_PREFIX): v for c, v in static.items() if c.startswith(TASK_PREFIX)}
        task = base.replace(**arguments) if arguments else base
        structural = tuple((c, type(v), v) for c, v in static.items() if not c.startswith(TASK_PREFIX))
        values = {c: np.asarray([table.columns[c][row] for row in rows], float) for c in numeric}
        groups.append(Group(Structure(factory, structural, numeric, task), name, np.asarray(rows) + offset, values))
    return groups


def _affordable(trials: int, most: int) -> int:
    """How many points of each trial's curve fit into the memory set aside for curves."""
    return max(2, min(most, KEPT_CURVE_BYTES // (4 * trials)))


@contextlib.contextmanager
def _shown(progress: bool | Callable[[Progress], None]):
    if callable(progress):
        yield progress
    elif progress:
        from jaxopt_lab.progress import shown

        with shown() as report:
            yield report
    else:
        yield lambda _: None
