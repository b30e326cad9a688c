"""What a sweep will run: everything checked on the host, configurations by structure, a plan for the engine."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from jaxopt_lab.checking import check_count, check_known, check_number, check_seeds, quoted
from jaxopt_lab.engine.plan import (
    KEPT_CURVE_BYTES,
    KEPT_PARAMS_BYTES,
    Group,
    Plan,
    segment_length,
    steps_at,
)
from jaxopt_lab.engine.stopping import Halving, Hyperband, Plateau, StopRule
from jaxopt_lab.engine.structure import Structure, params_bytes
from jaxopt_lab.results.score import is_greater
from jaxopt_lab.sweep.arguments import Optimizers, made_task, named_factories, spaces_by_optimizer
from jaxopt_lab.sweep.checks import (
    TASK_PREFIX,
    check_budget,
    check_diverged_above,
    check_flag,
    check_hyperparameters,
    check_memory,
    check_names,
    check_strategy,
    check_traceable,
    check_untraced,
)
from jaxopt_lab.sweep.checks_random import check_random
from jaxopt_lab.sweep.space import Configurations, Space, configurations
from jaxopt_lab.tasks.measures import measured, measures
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import exact
from jaxopt_lab.types import OptimizerFactory


def plan_sweep(
    optimizers: Optimizers,
    task: Task | str | Callable[..., Task],
    space: Space | Mapping[str, Space],
    *,
    steps: int,
    seeds: int | Iterable[int] = 1,
    target: float | None = None,
    tolerance: float | None = None,
    diverged_above: float | str | None = "auto",
    nonfinite: int = 0,
    record: int | None = None,
    evaluate: int | None = None,
    stop: StopRule | None = None,
    strategy: str | None = None,
    chunk: int | None = None,
    memory: int | float | None = None,
    cache: bool = True,
) -> tuple[Plan, dict[str, Configurations]]:
    """Check what `sweep` would run, and run nothing.

    Args and errors are those of `sweep`.

    Returns:
        The plan, and the table of configurations of each optimizer by name.

    """
    check_untraced("jl.plan")
    check_flag("cache", cache)
    steps = check_count("steps", steps)
    named = check_seeds(seeds)
    target = None if target is None else check_number("target", target)
    tolerance = None if tolerance is None else check_number("tolerance", tolerance, least=0.0)
    diverged_above = check_diverged_above(diverged_above)
    nonfinite = check_count("nonfinite", nonfinite, least=0)
    record = None if record is None else check_count("record", record)
    evaluate = None if evaluate is None else check_count("evaluate", evaluate)
    chunk = None if chunk is None else check_count("chunk", chunk)
    given, memory = memory, check_memory(memory)
    strategy = None if strategy is None else check_strategy(strategy)
    if stop is not None and not isinstance(stop, Halving | Hyperband | Plateau):
        raise TypeError(f"stop must be jl.halving(...), jl.hyperband(...) or jl.plateau(...), got {quoted(stop)}.")
    factories = named_factories(optimizers)
    base = made_task(task)

    tables = {name: configurations(s) for name, s in spaces_by_optimizer(space, factories).items()}
    groups = []
    for name, table in tables.items():
        check_hyperparameters(name, factories[name], table)
        groups += _groups(name, factories[name], table, base, sum(len(g.configs) for g in groups))
    check_names(tables, [name for group in groups for name in measured(group.structure.task)])
    for group in groups:
        check_traceable(group)
    check_random(groups, named)

    trials = sum(len(table) for table in tables.values()) * len(named)
    held_out = any(split is not None for group in groups for split in group.structure.task.data[1:])
    params = max(params_bytes(group.structure.task) for group in groups)
    kept = KEPT_PARAMS_BYTES if given is None or given < 1 else min(KEPT_PARAMS_BYTES, memory // 4)
    plan = Plan(
        groups=groups,
        seeds=np.asarray(named, np.int32),
        steps=steps,
        target=-math.inf if target is None else target,
        tolerance=tolerance,
        diverged_above=diverged_above,
        nonfinite=nonfinite,
        record_steps=steps_at(record, steps, _affordable(trials, 201)),
        eval_steps=steps_at(evaluate, steps, _affordable(trials, 21) if held_out else 2),
        segment_length=1,
        keep_params=params * trials <= kept,
        stop=stop,
        compared=_compared(stop, groups),
        strategy=strategy,
        chunk=chunk,
        memory=memory,
        cache=cache,
    )
    if stop is not None and not any(len(rungs) for _, rungs in stop.brackets(2, steps)):
        raise ValueError(
            f"{stop!r} never looks: its first rung is not before the last of {steps} steps. Begin earlier."
        )
    # A rule looks where held-out data are evaluated, and so they are where it looks.
    rungs = [rung for pool in plan.pools for rung in pool.rungs.tolist()]
    eval_steps = np.unique([*plan.eval_steps.tolist(), *rungs]).astype(np.int32)
    plan = dataclasses.replace(plan, eval_steps=eval_steps)
    plan = dataclasses.replace(plan, segment_length=segment_length(plan))
    check_budget(plan)
    return plan, tables


def _groups(name: str, factory: OptimizerFactory, table: Configurations, base: Task, offset: int) -> list[Group]:
    """The configurations of one table by structure, in order of appearance.

    Structural values are of one structure where they are `exact`ly equal.
    """
    numeric = tuple(column for column in table.columns if column not in table.static)
    found: list[tuple[Any, dict[str, Any], list[int]]] = []
    for row in range(len(table)):
        static = {column: table.columns[column][row] for column in table.columns if column in table.static}
        key = exact(static)
        rows = next((rows for known, _, rows in found if known == key), None)
        if rows is None:
            found.append((key, static, rows := []))
        rows.append(row)
    groups = []
    for _, static, rows in found:
        arguments = {c.removeprefix(TASK_PREFIX): v for c, v in static.items() if c.startswith(TASK_PREFIX)}
        task = base.replace(**arguments) if arguments else base
        structural = tuple((c, v) for c, v in static.items() if not c.startswith(TASK_PREFIX))
        values = {c: np.asarray([table.columns[c][row] for row in rows], float) for c in numeric}
        groups.append(Group(Structure(factory, structural, numeric, task), name, np.asarray(rows) + offset, values))
    return groups


def _compared(stop: StopRule | None, groups: list[Group]) -> tuple[str, int]:
    """What the rule compares, and 1 where less is better, -1 where more is."""
    known = measures([group.structure.task for group in groups])
    metric = known.main if stop is None or stop.metric is None else stop.metric
    check_known("metric to stop by:", metric, known.common)
    return metric, -1 if is_greater(metric, known.directions.get(metric)) else 1


def _affordable(trials: int, most: int) -> int:
    """How many points of each trial's curve fit into the memory set aside for curves."""
    return max(2, min(most, KEPT_CURVE_BYTES // (4 * trials)))
