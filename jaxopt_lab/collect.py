"""Label what the engine returned, and note what is needed to repeat it."""

import datetime
import json
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_lab.engine import Outcome, Plan
from jaxopt_lab.engine.devices import device_name, devices
from jaxopt_lab.results import Results
from jaxopt_lab.space import Configurations, label
from jaxopt_lab.store.identity import versions
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.trial import DIVERGED, STATUSES

ABSENT = object()  # the value of a hyperparameter that an optimizer does not have


def collect(plan: Plan, outcome: Outcome, tables: Mapping[str, Configurations]) -> Results:
    """Label what the engine returned."""
    import xarray as xr

    owners = [(name, row) for name, table in tables.items() for row in range(len(table))]
    names = dict.fromkeys(column for table in tables.values() for column in table.columns)
    columns = {
        n: _column([tables[o].columns[n][r] if n in tables[o].columns else ABSENT for o, r in owners]) for n in names
    }
    trials = ("config", "seed")
    dataset = xr.Dataset(
        data_vars={
            "train_loss": ((*trials, "step"), outcome.train_loss),
            **{name: ((*trials, "eval_step"), values) for name, values in outcome.evaluations.items()},
            "status": (trials, np.asarray(STATUSES)[outcome.status]),
            "first_bad_step": (trials, np.where(outcome.status == DIVERGED, outcome.steps, -1).astype(np.int32)),
            "steps_taken": (trials, outcome.steps),
            **({"skipped_steps": (trials, outcome.skipped)} if plan.nonfinite else {}),
            **({} if plan.stop is None else {"rung": (trials, outcome.rung)}),
        },
        coords={
            "config": np.arange(plan.configs),
            "seed": plan.seeds,
            "step": plan.record_steps,
            "eval_step": plan.eval_steps,
            "optimizer": ("config", np.asarray([owner for owner, _ in owners])),
            **{name: ("config", column) for name, column in columns.items()},
        },
        attrs=_attributes(plan, outcome, tables),
    )
    kept = [(g.configs, p) for g, p in zip(plan.groups, outcome.params, strict=True) if p is not None]
    return Results(dataset, plan.groups[0].structure.task, kept)


def _attributes(plan: Plan, outcome: Outcome, tables: Mapping[str, Configurations]) -> dict[str, Any]:
    """All that is needed to repeat a sweep, as plain values."""
    task = plan.groups[0].structure.task
    registered = {f: name for name, f in TASKS.items()}.get(task.factory) if task.factory else None
    arguments = {
        name: v if isinstance(v, bool | int | float | str) or v is None else repr(v)
        for name, v in task.arguments.items()
    }
    rungs = _in_order(outcome.decisions, tables)
    spaces = {name: {"kind": t.kind, "space": dict(t.described)} for name, t in tables.items()}
    return {
        "task": task.name,
        "task_function": registered or "",
        "task_arguments": json.dumps(arguments),
        **({} if task.minimum is None else {"minimum": task.minimum}),
        "space": json.dumps(spaces),
        "structural": json.dumps(_structural(tables)),
        "steps": plan.steps,
        "seeds": plan.seeds.tolist(),
        **({} if plan.target == -np.inf else {"target": plan.target}),
        **({} if plan.tolerance is None else {"tolerance": plan.tolerance}),
        "diverged_above": "none" if plan.diverged_above is None else plan.diverged_above,
        **({"nonfinite": plan.nonfinite} if plan.nonfinite else {}),
        "dtype": str(outcome.train_loss.dtype),
        "device": device_name(devices()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": json.dumps(versions()),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "compile_seconds": round(outcome.compile_seconds, 3),
        "probe_seconds": round(outcome.probe_seconds, 3),
        "run_seconds": round(outcome.run_seconds, 3),
        "strategies": json.dumps(_strategies(plan, outcome)),
        **({} if plan.stop is None else {"stop": repr(plan.stop), "rungs": json.dumps(rungs)}),
        **({"notes": json.dumps(outcome.notes)} if outcome.notes else {}),
        "interrupted": int(outcome.interrupted),
    }


def _in_order(decisions: list[dict[str, Any]], tables: Mapping[str, Configurations]) -> list[dict[str, Any]]:
    """Decisions by optimizer, bracket and rung: which race came to its rung first is chance."""
    names = list(tables)
    return sorted(decisions, key=lambda made: (names.index(made["optimizer"]), made["bracket"], made["rung"]))


def _strategies(plan: Plan, outcome: Outcome) -> list[dict[str, Any]]:
    """How each group of equal structure ran."""
    return [
        {"optimizer": group.optimizer, "static": {n: label(v) for n, _, v in group.structure.static}} | strategy
        for group, strategy in zip(plan.groups, outcome.strategies, strict=True)
    ]


def _structural(tables: Mapping[str, Configurations]) -> dict[str, list[list[Any]]]:
    """Structural values by hyperparameter, each with what tables call it; plain ones, for others are not data."""
    found: dict[str, list[list[Any]]] = {}
    for table in tables.values():
        for name in table.static:
            listed = found.setdefault(name, [])
            listed += [pair for v in table.columns[name] if _is_plain(v) and (pair := [label(v), v]) not in listed]
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str) or value is None


def _column(values: list[Any]) -> np.ndarray:
    """Numbers stay numbers (NaN where an optimizer has no such hyperparameter); all else is written out ("" there)."""
    present = [v for v in values if v is not ABSENT]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        return np.asarray([np.nan if v is ABSENT else v for v in values])
    return np.asarray(["" if v is ABSENT else label(v) for v in values])
