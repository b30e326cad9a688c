"""The identity of a run: what must be equal for it to resume, as plain values whose differences can be put in words.

For functions it holds digests of what is traced of them and of every value that they close over: see
`jaxopt_lab.tracing.fingerprint`, which also says which parts of a callback's Python function are not seen.
"""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.devices import device_name, devices
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.rules import RULE_CLASSES
from jaxopt_lab.engine.stopping import StopRule
from jaxopt_lab.engine.structure import step_shapes, traced_step
from jaxopt_lab.errors import RunError
from jaxopt_lab.labels import label
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import Manifest, differences
from jaxopt_lab.tasks.calls import evaluate, measure, shapes, start
from jaxopt_lab.tasks.names import LOSS, SPLITS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.fingerprint import (
    ADDRESS,
    Fingerprint,
    digest,
    digest_of_arrays,
    digest_of_code,
    fingerprint,
    trace,
)
from jaxopt_lab.tracing.settings import described
from jaxopt_lab.types import random_key

IN_A_SWEEP = "in the sweep"
LISTED = 32  # at most so many values are written out; more are compared by their digest
TEXTUAL = (
    "mathematics of a step",
    "init(key)",
    "train(key)",
    "augment(key, batch)",
    "loss",
    "metrics",
    "diagnostics of one's own",
)  # digests of JAX's program text


def identity(plan: Plan) -> dict[str, Any]:
    """Return the identity of a plan: the problem, the task's arguments, the space and the options."""
    whole = problem(plan)
    arguments = [
        {name: ADDRESS.sub("", repr(value)) for name, value in task.arguments.items()} for task in _tasks(plan)
    ]
    return {
        "task": [found | {"arguments": given} for found, given in zip(whole["task"], arguments, strict=True)],
        "optimizers": {
            name: _space(table) | _columns(whole["optimizers"][name]) for name, table in plan.tables.items()
        },
        "steps": plan.steps,
        "budget in": plan.unit,
        "seeds": _values(plan.seeds),
        "target": None if plan.target == -np.inf else plan.target,
        "tolerance": plan.tolerance,
        "diverged above": plan.diverged_above,
        "non-finite steps": plan.nonfinite,
        "recorded steps": _values(plan.record_steps),
        "evaluated steps": _values(plan.eval_steps),
        "segment": plan.segment_length,
        "stop": _rule(plan.stop),
        "compared": None if plan.stop is None else list(plan.compared),
        "configurations whose parameters are kept": plan.kept_configs,
        "parameters kept": plan.keep,
        **_diagnostics(plan),
        "precision": whole["precision"],
        "settings": whole["settings"],
    }


def _diagnostics(plan: Plan) -> dict[str, Any]:
    """Describe the diagnostics by their strides; a user's own by their mathematics too."""
    if not plan.diagnostics:
        return {}
    own = {one.name: one.own for one in plan.diagnostics if one.own is not None}
    traced = lambda function: [_traced(function, *step_shapes(group.structure)[:5]) for group in plan.groups]
    digests = {name: _whole(traced(function)) for name, function in own.items()}
    strides = {one.name: one.stride for one in plan.diagnostics}
    return {"diagnostics": strides} | ({"diagnostics of one's own": digests} if own else {})


def problem(plan: Plan) -> dict[str, Any]:
    """Describe what a trial computes: its task, data, optimizer, and JAX's settings that results depend on."""
    optimizers: dict[str, list[dict[str, str]]] = {}
    for group in plan.groups:
        as_written = dataclasses.replace(group.structure, rewrite=False)
        step = traced_step(as_written, group.optimizer).fingerprint
        found = {"mathematics of a step": step.whole, "arrays of a step": _arrays(step)}
        optimizers.setdefault(group.optimizer, []).append(found)
    return {
        "task": [_task(task) for task in _tasks(plan)],
        "optimizers": optimizers,
        "precision": str(jnp.result_type(float)),
        "settings": described(),
    }


def of_another_problem(before: Any, now: dict[str, Any], same_versions: bool) -> list[str]:
    """Describe how the problem of one trial differs from that of a sweep.

    Args:
        before: The sweep's problem: the result of `problem`, as a file holds it (unchecked).
        now: The trial's problem, of one task and one optimizer.
        same_versions: Whether the same package versions traced both; if not, parts that versions may write differently
            are left out.

    """
    if not same_versions:
        before, now = without_mathematics(before), without_mathematics(now)
    (task,), ((name, (step,)),) = now["task"], now["optimizers"].items()
    match before:
        case {"task": list(tasks), "optimizers": dict(optimizers)}:
            rest = [{part: x for part, x in y.items() if part not in ("task", "optimizers")} for y in (before, now)]
            lines = _nearest(tasks, task, "task") + _nearest(optimizers.get(name), step, f"optimizer {name}")
            return lines + differences(rest[0], rest[1], was=IN_A_SWEEP)
    return ["problem: damaged"]


def _nearest(known: Any, found: dict[str, Any], what: str) -> list[str]:
    """Describe the differences from the most similar of the known ones."""
    compared = [differences(one, found, what, IN_A_SWEEP) for one in known] if isinstance(known, list) else []
    return min(compared, key=len, default=[f"{what}: not in the sweep"])


def environment() -> dict[str, Any]:
    """Return the package versions, the device and the processor of this process."""
    return {**versions(), "device": device_name(devices()), "processor": platform.machine()}


def refuse_other(
    folder: Folder, manifest: Manifest, identity: dict[str, Any], environment: dict[str, Any], allow: bool
) -> None:
    """Raise where the folder is of another sweep, or of other versions and these are not allowed."""
    versions = differences(manifest.environment, environment)
    if versions and not allow:
        raise RunError(
            f"{folder} was started with other versions or on another device: {'; '.join(versions)}. To resume it "
            "anyway, pass allow_different_version=True (--allow-different-version): results may then differ from those "
            "of an uninterrupted run in their last digits."
        )
    before, now = (without_mathematics(x) if versions else x for x in (manifest.identity, identity))
    if lines := differences(before, now):
        raise RunError(
            f"{folder} holds a different run: {'; '.join(lines)}. Choose another folder for this one, or resume that "
            "one with the settings that it was started with."
        )


def without_mathematics(table: Any) -> Any:
    """Leave out digests of program text, which depends on JAX's version; the arrays closed over do not."""
    if isinstance(table, Mapping):
        names = {name: list(value) for name, value in table.items() if name in TEXTUAL and isinstance(value, Mapping)}
        return names | {name: without_mathematics(value) for name, value in table.items() if name not in TEXTUAL}
    return [without_mathematics(x) for x in table] if isinstance(table, list) else table


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {name: importlib.metadata.version(name) for name in ("jaxopt_lab", "jax", "jaxlib", "optax", "numpy")}


def _tasks(plan: Plan) -> list[Task]:
    return list({group.structure.task: None for group in plan.groups})


@remembered(maxsize=64)
def _task(task: Task) -> dict[str, Any]:
    """Describe a task: its data, and what its functions compute from them."""
    key, (params, batch, model) = random_key(0), shapes(task)
    held_out = [split for split in task.data[1:] if split is not None]
    training = _traced(lambda *given: evaluate(task, *given, key=key), params, batch, model)
    whole = lambda name: [_traced(lambda *given: measure(task, name, *given), params, x, model) for x in held_out]
    functions = {
        "init(key)": [_traced(lambda key: start(task, key), key)],
        "train(key)": [_traced(task.train, key)] if callable(task.train) else [],
        "augment(key, batch)": [] if task.augment is None else [_traced(task.augment, key, batch)],
        "loss": [training, *whole(LOSS)],  # custom derivatives: see the step
    }
    metrics = {name: whole(name) for name in task.metrics}
    all_of_them = [one for traced in (*functions.values(), *metrics.values()) for one in traced]
    return {
        "name": task.name,
        "batch size": task.batch_size,
        "minimum": task.minimum,
        **{what: _whole(traced) for what, traced in functions.items()},
        "metrics": {name: _whole(traced) for name, traced in metrics.items()},
        "arrays": _arrays(*all_of_them),
        **{
            f"{split} data": None if data is None else digest_of_arrays(data)
            for split, data in zip(SPLITS, task.data, strict=True)
        },
        **({} if task.feed is None else {"train data": task.feed.identity()}),
    }


def _traced(function: Callable[..., Any], *args: Any) -> Fingerprint:
    return fingerprint(trace(function, *args))


def _whole(traced: list[Fingerprint]) -> str | None:
    return digest(" ".join(one.whole for one in traced).encode()) if traced else None


def _arrays(*traced: Fingerprint) -> str:
    return digest(" ".join(sorted({array for one in traced for array in one.arrays})).encode())


def _rule(rule: StopRule | None) -> Any:
    """Describe a stop rule by its settings; a user's own rule by its code too."""
    if rule is None or type(rule) in RULE_CLASSES:
        return None if rule is None else repr(rule)
    settings = dict(vars(rule)) if hasattr(rule, "__dict__") else rule
    code = digest_of_code(rule.brackets, rule.decide, rule.kept, rule.status, tuple(rule.changes), settings)
    return {"rule": type(rule).__qualname__, "code": code}


def _space(table: Configurations) -> dict[str, Any]:
    columns = {
        column: f"{table.described[column]}" if len(values) > LISTED else [_label(v) for v in values]
        for column, values in table.columns.items()
    }
    exact = [
        [f"{type(v).__name__} {_label(v)}" if column in table.static else float(v).hex() for v in values]
        for column, values in table.columns.items()
    ]
    return {"space": columns, "values": digest(repr(exact).encode())}


def _columns(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _label(value: Any) -> str:
    return ADDRESS.sub("", label(value))


def _values(values: np.ndarray) -> Any:
    listed = values.tolist()
    if len(listed) <= LISTED:
        return listed
    return f"{len(listed)} from {listed[0]} to {listed[-1]} ({digest(repr(listed).encode())[:8]})"
