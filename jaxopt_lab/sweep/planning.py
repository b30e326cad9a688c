"""Planning a sweep: check everything on the host, group configurations by structure, make a plan for the engine."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.plan import KEPT_CURVE_BYTES, KEPT_PARAMS_BYTES, Group, Plan, steps_of
from jaxopt_lab.engine.stopping import brackets_of
from jaxopt_lab.engine.structure import BUDGET, Structure, params_bytes
from jaxopt_lab.engine.tuning.cutting import segment_length
from jaxopt_lab.errors import ArgumentValueError, Code, concerning
from jaxopt_lab.labels import ABSENT
from jaxopt_lab.results.score import is_greater
from jaxopt_lab.sweep.arguments import made_task
from jaxopt_lab.sweep.budget import Timeline, timeline
from jaxopt_lab.sweep.checks import (
    check_budget,
    check_curves,
    check_hyperparameters,
    check_names,
    check_traceable,
    memory_budget,
    takes_budget,
)
from jaxopt_lab.sweep.checks_diagnostics import check_measured, placed
from jaxopt_lab.sweep.checks_random import check_random
from jaxopt_lab.sweep.checks_task import check_task_hyperparameters
from jaxopt_lab.sweep.options import asked
from jaxopt_lab.sweep.request import Request
from jaxopt_lab.tasks.calls import named, task_values, with_given
from jaxopt_lab.tasks.checks import check_task
from jaxopt_lab.tasks.measures import measured, measures
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tasks.rewriting import rules_of
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import exact
from jaxopt_lab.types import OptimizerFactory


def planned(request: Request) -> Plan:
    """Check a request as a whole, and plan it; nothing is compiled or run.

    Raises:
        ArgumentTypeError, ArgumentValueError: As `sweep`.

    """
    with concerning("task"):
        task = made_task(request.task)
    groups: list[Group] = []
    for name, table in request.tables.items():
        factory = request.factories[name]
        with concerning("space", name):
            check_hyperparameters(name, factory, table, named(task))
            check_task_hyperparameters(table, task)
            groups += _groups(name, factory, table, task, sum(len(g.configs) for g in groups))
    check_names(request.tables, [name for group in groups for name in measured(group.structure.task)])
    budget, groups = _timed(request, groups)
    for group in groups:
        check_traceable(group, _made_by(group, request))
    check_curves(request.tables, groups)
    check_random(groups, request.named_seeds)

    if request.rewrite:
        groups = [_rewritten(group) for group in groups]
    trials = sum(len(table) for table in request.tables.values()) * len(request.named_seeds)
    held_out = any(split is not None for group in groups for split in group.structure.task.data[1:])
    with concerning("memory"):
        memory = memory_budget(request.memory)
    told = request.memory is not None and request.memory >= 1
    plan = Plan(
        groups=groups,
        tables=request.tables,
        seeds=np.asarray(request.named_seeds, np.int32),
        steps=budget.total,
        unit=budget.unit,
        target=-math.inf if request.target is None else request.target,
        tolerance=request.tolerance,
        diverged_above=request.diverged_above,
        nonfinite=request.nonfinite,
        record_steps=budget.points(request.record, _affordable(trials, 201)),
        eval_steps=budget.points(request.evaluate, _affordable(trials, 21) if held_out else 2),
        segment_length=1,
        kept_configs=_kept_configs(request, groups, min(KEPT_PARAMS_BYTES, memory // 4) if told else KEPT_PARAMS_BYTES),
        stop=request.stop,
        compared=_compared(None if request.stop is None else request.stop.metric, groups),
        selects_by=_compared(None, groups),
        keep=request.keep,
        strategy=request.strategy,
        chunk=request.chunk,
        memory=memory,
        cache=request.cache,
    )
    plan = dataclasses.replace(plan, diagnostics=placed(request.diagnostics, budget, plan.record_steps))
    check_measured(plan)
    _check_keep(plan, groups)
    with concerning("stop"):
        eval_steps = budget.joined(plan.eval_steps, _rungs(plan))
    plan = dataclasses.replace(plan, eval_steps=eval_steps)
    plan = dataclasses.replace(plan, segment_length=segment_length(plan))
    with concerning("memory"):
        check_budget(plan)
    return plan


plan_sweep = asked("jl.plan", Request)(planned)


def _made_by(group: Group, request: Request) -> Sequence[str]:
    """Return the argument that made the group's task: the task itself, or a structural value of the space."""
    table = request.tables[group.optimizer]
    columns = [column for column in table.columns if column.startswith(TASK_PREFIX)]
    return ("space", group.optimizer, columns[0]) if columns else ("task",)


def _timed(request: Request, groups: list[Group]) -> tuple[Timeline, list[Group]]:
    """Return the budget, and the groups with what their steps take of it; factories that ask for `steps` get theirs."""
    if not isinstance(request.steps, int):
        for group in groups:
            with concerning(*_made_by(group, request)):
                check_task(group.structure.task)
    with concerning("steps"):
        budget = timeline(request.steps, [group.structure.task for group in groups])
    timed = []
    for group, per_step in zip(groups, budget.per_step, strict=True):
        group = dataclasses.replace(group, per_step=per_step)
        given = BUDGET in request.tables[group.optimizer].columns
        if takes_budget(group.structure.factory) and not given:
            steps = int(steps_of(group, budget.total))
            group = dataclasses.replace(group, structure=dataclasses.replace(group.structure, budget=steps))
        timed.append(group)
    return budget, timed


def _rewritten(group: Group) -> Group:
    """Let the group's task be rewritten, if any rule applies to its loss."""
    rewrite = bool(rules_of(group.structure.task))
    return dataclasses.replace(group, structure=dataclasses.replace(group.structure, rewrite=rewrite))


def _rungs(plan: Plan) -> list[int]:
    """Return the steps of the stop rule's rungs; held-out data are evaluated there.

    Raises:
        ArgumentValueError: There is a rule, and it has no rung.

    """
    if plan.stop is None:
        return []
    numeric = dict.fromkeys(name for group in plan.groups for name in group.values)
    for name in plan.stop.changes:
        check_known("hyperparameter for the stop rule to change:", name, numeric)
    if not any(len(rungs) for _, rungs in brackets_of(plan.stop, 2, plan.steps)):
        raise ArgumentValueError(
            f"{plan.stop!r} has no rung: its first is not before the last of {plan.steps} {plan.units}. Begin earlier."
        )
    return [rung for pool in plan.pools for rung in pool.rungs.tolist()]


def _groups(name: str, factory: OptimizerFactory, table: Configurations, base: Task, offset: int) -> list[Group]:
    """Group the configurations of one table by structure, in order of appearance.

    Configurations have the same structure where they have the same hyperparameters and the `exact` keys of their
    structural values are equal.
    """
    found: list[tuple[Any, dict[str, Any], tuple[str, ...], list[int]]] = []
    for row in range(len(table)):
        has = [column for column in table.columns if table.columns[column][row] is not ABSENT]
        static = {column: table.columns[column][row] for column in has if column in table.static}
        numeric = tuple(column for column in has if column not in table.static)
        key = exact(static), numeric
        rows = next((rows for known, *_, rows in found if known == key), None)
        if rows is None:
            found.append((key, static, numeric, rows := []))
        rows.append(row)
    groups = []
    for _, static, numeric, rows in found:
        arguments, task = task_values(static), base
        made_from = {n: v for n, v in arguments.items() if n not in named(base)}
        if made_from:
            with concerning(f"{TASK_PREFIX}{next(iter(made_from))}"):
                task = base.replace(**made_from)
        if given := tuple((n, v) for n, v in arguments.items() if n not in made_from):
            task = with_given(task, given)
        structural = tuple((c, v) for c, v in static.items() if not c.startswith(TASK_PREFIX))
        values = {c: np.asarray([table.columns[c][row] for row in rows], float) for c in numeric}
        structure = Structure(factory, structural, numeric, task)
        groups.append(Group(structure, name, np.asarray(rows) + offset, values))
    return groups


def _compared(metric: str | None, groups: list[Group]) -> tuple[str, int]:
    """Return the rule's metric, or the main one for None, and 1 where less is better, -1 where more is."""
    known = measures([group.structure.task for group in groups])
    metric = known.main if metric is None else metric
    with concerning("stop"):
        check_known("metric to stop by:", metric, known.common)
        return metric, -1 if is_greater(metric, known.directions.get(metric)) else 1


def _check_keep(plan: Plan, groups: list[Group]) -> None:
    """Raise where a trial's best step is to be kept, and the metric that would select it is not evaluated."""
    metric, _ = plan.selects_by
    if plan.keep == "best" and metric not in {name for group in groups for name in measured(group.structure.task)}:
        raise ArgumentValueError(
            Code('keep="best"', 'keep = "best"'),
            f" needs validation data: the {metric} that would select a trial's best step is not evaluated. Give the "
            "task validation data, or leave keep out.",
            about=("keep",),
        )


def _kept_configs(request: Request, groups: list[Group], limit: int) -> int | None:
    """Return of how many configurations of each optimizer parameters are kept: all (None), or as many as fit."""
    tables, most = request.tables, request.keep_top
    if most is None:
        each = max(params_bytes(group.structure.task) for group in groups) * len(request.named_seeds)
        if each * sum(len(table) for table in tables.values()) <= limit:
            return None
        most = limit // (each * len(tables))
    return None if most >= max(len(table) for table in tables.values()) else most


def _affordable(trials: int, most: int) -> int:
    """Return how many points of each trial's curve fit into the memory reserved for curves."""
    return max(2, min(most, KEPT_CURVE_BYTES // (4 * trials)))
