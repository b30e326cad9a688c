"""Label the engine's outcome, and record what is needed to repeat it."""

import datetime
import json
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.devices import device_name, devices
from jaxopt_lab.engine.gradients import UNKNOWN, gradients, per_step
from jaxopt_lab.engine.lineage import Lineage
from jaxopt_lab.engine.plan import ALL, Plan
from jaxopt_lab.engine.recorder import Outcome
from jaxopt_lab.labels import ABSENT, column, coordinate, is_plain, labels
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.identity import problem, versions
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.calls import examples_per_step, task_values
from jaxopt_lab.tasks.measures import measures
from jaxopt_lab.tasks.names import AFTER_RUNG, CONTINUED_FROM, LOSS_CURVE
from jaxopt_lab.tasks.rewriting import rules_of
from jaxopt_lab.tracing.fingerprint import ADDRESS
from jaxopt_lab.trial import STATUSES, Status


def collect(plan: Plan, outcome: Outcome) -> Results:
    """Label the engine's outcome."""
    import xarray as xr

    tables = plan.tables

    owners = [name for name, table in tables.items() for _ in range(len(table))]
    columns = _columns(tables)
    trials = ("config", "seed")
    dataset = xr.Dataset(
        data_vars={
            **{name: ((*trials, plan.unit), values) for name, values in outcome.curves.items()},
            **{name: ((*trials, f"eval_{plan.unit}"), values) for name, values in outcome.evaluations.items()},
            "status": (trials, np.asarray(STATUSES)[outcome.status]),
            "first_bad_step": (trials, np.where(outcome.status == Status.DIVERGED, outcome.steps, -1).astype(np.int32)),
            "steps_taken": (trials, outcome.steps),
            **_examples_seen(plan, outcome),
            "gradients_taken": (trials, _gradients_taken(plan, outcome)),
            **({"skipped_steps": (trials, outcome.skipped)} if plan.nonfinite else {}),
            **({} if plan.stop is None else {"rung": (trials, outcome.rung)}),
            **_lineage(plan, outcome.lineage),
        },
        coords={
            "config": np.arange(plan.configs),
            "seed": plan.seeds,
            plan.unit: plan.record_steps,
            f"eval_{plan.unit}": plan.eval_steps,
            **({} if outcome.lineage is None else {f"rung_{plan.unit}": outcome.lineage.rungs}),
            "optimizer": ("config", np.asarray(owners)),
            **{name: coordinate("config", column(values)) for name, values in columns.items()},
        },
        attrs=_attributes(plan, outcome, tables, columns),
    )
    return Results(dataset, plan.groups[0].structure.task, outcome.params)


def _examples_seen(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Return the training examples that each trial saw; nothing where some task has no training data."""
    seen = np.zeros(outcome.steps.shape, np.int64)
    for group in plan.groups:
        each = examples_per_step(group.structure.task)
        if each is None:
            return {}
        seen[group.configs] = outcome.steps[group.configs].astype(np.int64) * each
    return {"examples_seen": (("config", "seed"), seen)}


def _lineage(plan: Plan, lineage: Lineage | None) -> dict[str, Any]:
    """Return from whom each trial continued after each rung, and with which hyperparameters."""
    if lineage is None:
        return {}
    dims = ("config", "seed", f"rung_{plan.unit}")
    values = {f"{name}{AFTER_RUNG}": (dims, values) for name, values in lineage.values.items()}
    return {CONTINUED_FROM: (dims, lineage.source), **values}


def _gradients_taken(plan: Plan, outcome: Outcome) -> np.ndarray:
    """Return the gradients that each trial evaluated; UNKNOWN where that depends on its losses or on skipped steps."""
    taken = np.zeros(outcome.steps.shape, np.int64)
    for group in plan.groups:
        own = gradients(group.structure, group.values, outcome.steps[group.configs], plan.changes)
        varies = per_step(group.structure).least < per_step(group.structure).most
        taken[group.configs] = np.where(varies & (outcome.skipped[group.configs] > 0), UNKNOWN, own)
    return taken


def _attributes(
    plan: Plan, outcome: Outcome, tables: Mapping[str, Configurations], columns: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Return all that is needed to repeat a sweep, as plain values."""
    task = plan.groups[0].structure.task
    registered = {f: name for name, f in TASKS.items()}.get(task.factory) if task.factory else None
    arguments = {
        name: v if isinstance(v, bool | int | float | str) or v is None else repr(v)
        for name, v in task.arguments.items()
    }
    rungs = _in_order(outcome.decisions, tables)
    tasks = [group.structure.task for group in plan.groups]
    minima = {task.minimum for task in tasks}
    if len(minima) > 1 or any(task_values(group.values) for group in plan.groups):  # configurations differ in it
        minima = {None}
    measured = measures(tasks)
    spaces = {name: {"kind": t.kind, "space": dict(t.described)} for name, t in tables.items()}
    return {
        "task": task.name,
        "task_function": registered or "",
        "task_arguments": json.dumps(arguments),
        **({} if minima == {None} else {"minimum": task.minimum}),
        **({"stateful": 1} if task.is_stateful else {}),
        "space": json.dumps(spaces),
        "structural": json.dumps(_structural(tables, columns)),
        "problem": json.dumps(problem(plan)),
        "main_metric": measured.main,
        "directions": json.dumps(dict(measured.directions)),
        "steps": max(plan.of(group).steps for group in plan.groups),
        **({"examples": plan.steps} if plan.unit == "examples" else {}),
        "seeds": plan.seeds.tolist(),
        **({} if plan.target == -np.inf else {"target": plan.target}),
        **({} if plan.tolerance is None else {"tolerance": plan.tolerance}),
        "diverged_above": "none" if plan.diverged_above is None else plan.diverged_above,
        **({"nonfinite": plan.nonfinite} if plan.nonfinite else {}),
        "dtype": str(outcome.curves[LOSS_CURVE].dtype),
        "device": device_name(devices()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": json.dumps(versions()),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "compile_seconds": round(outcome.compile_seconds, 3),
        "probe_seconds": round(outcome.probe_seconds, 3),
        "run_seconds": round(outcome.run_seconds, 3),
        "strategies": json.dumps(_strategies(plan, outcome, columns)),
        **({} if plan.stop is None else {"stop": ADDRESS.sub("", repr(plan.stop)), "rungs": json.dumps(rungs)}),
        **({"notes": json.dumps(outcome.notes)} if outcome.notes else {}),
        **_diagnostics(plan),
        **({"keep": plan.keep} if plan.keep != "last" else {}),
        **({} if plan.kept_configs is None else {"kept_configs": plan.kept_configs}),
        "interrupted": int(outcome.interrupted),
    }


def _diagnostics(plan: Plan) -> dict[str, str]:
    """Return the strides of the diagnostics in the plan's units, as far as there are any."""
    strides = {one.name: one.stride for one in plan.diagnostics}
    return {"diagnostics": json.dumps(strides)} if strides else {}


def _in_order(decisions: list[dict[str, Any]], tables: Mapping[str, Configurations]) -> list[dict[str, Any]]:
    """Sort decisions by optimizer, bracket and rung: the order in which cohorts reach their rungs is random."""
    names = [*tables, ALL]
    return sorted(decisions, key=lambda made: (names.index(made["optimizer"]), made["bracket"], made["rung"]))


def _strategies(plan: Plan, outcome: Outcome, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the strategy of each group of equal structure."""
    called = lambda group: {name: columns[name][group.configs[0]] for name, *_ in group.structure.static}
    rules = lambda group, strategy: {"rules": dict(rules_of(group.structure.task))} if strategy.get("rewrite") else {}
    return [
        {"optimizer": group.optimizer, "static": called(group)} | strategy | rules(group, strategy)
        for group, strategy in zip(plan.groups, outcome.strategies, strict=True)
    ]


def _columns(tables: Mapping[str, Configurations]) -> dict[str, list[Any]]:
    """Return each hyperparameter's labels, one per configuration of all optimizers."""
    columns = {}
    for name in dict.fromkeys(name for table in tables.values() for name in table.columns):
        has = {owner: name in table.columns for owner, table in tables.items()}
        values = [v for owner, table in tables.items() if has[owner] for v in table.present(name)]
        structural = any(name in table.static for table in tables.values())
        labelled = iter(labels(values) if structural else values)
        rows = [x for o, table in tables.items() for x in (table.columns[name] if has[o] else [ABSENT] * len(table))]
        columns[name] = [ABSENT if x is ABSENT else next(labelled) for x in rows]
    return columns


def _structural(
    tables: Mapping[str, Configurations], columns: Mapping[str, list[Any]]
) -> dict[str, dict[str, list[list[Any]]]]:
    """Return each optimizer's structural hyperparameters as pairs of label and value, where JSON can hold the value."""
    found, at = {}, 0
    for owner, table in tables.items():
        rows = slice(at, at := at + len(table))
        found[owner] = {}
        for name in table.static:
            pairs = {}
            for called, value in zip(columns[name][rows], table.columns[name], strict=True):
                if value is not ABSENT and _is_data(value):
                    pairs.setdefault((type(called), repr(called)), [called, value])
            found[owner][name] = list(pairs.values())
    return found


def _is_data(value: Any) -> bool:
    """Return whether JSON can hold the value, with tuples as lists."""
    return all(map(_is_data, value)) if type(value) is tuple else is_plain(value)
