"""What a run is of: what must be equal for it to go on, as plain values that say in words what differs.

Of functions it holds digests of all that is traced of them and of every value that they close over: see
`jaxopt_lab.tracing.fingerprint`, which also says what of a Python function that a program calls back is not seen.
"""

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
from jaxopt_lab.engine.structure import traced_step
from jaxopt_lab.errors import RunError
from jaxopt_lab.labels import label
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import Manifest, differences
from jaxopt_lab.tasks.task import SPLITS, Task, shapes
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.fingerprint import ADDRESS, Fingerprint, digest, digest_of_arrays, fingerprint, trace
from jaxopt_lab.tracing.settings import described
from jaxopt_lab.types import random_key

IN_A_SWEEP = "in the sweep"
LISTED = 32  # values that are written out; more are told apart by their digest
TEXTUAL = ("mathematics of a step", "init(key)", "train(key)", "loss", "metrics")  # digests of how JAX writes functions


def identity(plan: Plan) -> dict[str, Any]:
    """The problem, how it was asked for, space and options."""
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
        "seeds": _values(plan.seeds),
        "target": None if plan.target == -np.inf else plan.target,
        "tolerance": plan.tolerance,
        "diverged above": plan.diverged_above,
        "non-finite steps": plan.nonfinite,
        "recorded steps": _values(plan.record_steps),
        "evaluated steps": _values(plan.eval_steps),
        "segment": plan.segment_length,
        "stop": None if plan.stop is None else repr(plan.stop),
        "compared": None if plan.stop is None else list(plan.compared),
        "final parameters kept": plan.keep_params,
        "precision": whole["precision"],
        "settings": whole["settings"],
    }


def problem(plan: Plan) -> dict[str, Any]:
    """What a trial computes: its task, data, optimizer, and JAX's settings that figures depend on."""
    optimizers: dict[str, list[dict[str, str]]] = {}
    for group in plan.groups:
        step = traced_step(group.structure, group.optimizer).fingerprint
        found = {"mathematics of a step": step.whole, "arrays of a step": _arrays(step)}
        optimizers.setdefault(group.optimizer, []).append(found)
    return {
        "task": [_task(task) for task in _tasks(plan)],
        "optimizers": optimizers,
        "precision": str(jnp.result_type(float)),
        "settings": described(),
    }


def of_another_problem(before: Any, now: dict[str, Any], same_versions: bool) -> list[str]:
    """In what the problem of one trial differs from that of a sweep, in words.

    Args:
        before: The sweep's: what `problem` gave, or whatever a file holds in its place.
        now: The trial's, which is of one task and one optimizer.
        same_versions: Whether the same packages have traced both; else what they may write differently is left out.

    """
    if not same_versions:
        before, now = _without_mathematics(before), _without_mathematics(now)
    (task,), ((name, (step,)),) = now["task"], now["optimizers"].items()
    match before:
        case {"task": list(tasks), "optimizers": dict(optimizers)}:
            rest = [{part: x for part, x in y.items() if part not in ("task", "optimizers")} for y in (before, now)]
            lines = _nearest(tasks, task, "task") + _nearest(optimizers.get(name), step, f"optimizer {name}")
            return lines + differences(rest[0], rest[1], was=IN_A_SWEEP)
    return ["problem: damaged"]


def _nearest(known: Any, found: dict[str, Any], what: str) -> list[str]:
    """How it differs from that of the known ones from which it differs least."""
    compared = [differences(one, found, what, IN_A_SWEEP) for one in known] if isinstance(known, list) else []
    return min(compared, key=len, default=[f"{what}: not in the sweep"])


def environment() -> dict[str, Any]:
    """By what and where it runs."""
    return {**versions(), "device": device_name(devices()), "processor": platform.machine()}


def refuse_other(
    folder: Folder, manifest: Manifest, identity: dict[str, Any], environment: dict[str, Any], allow: bool
) -> None:
    """Raise where the folder is of another sweep, or of other versions than are allowed."""
    versions = differences(manifest.environment, environment)
    if versions and not allow:
        raise RunError(
            f"{folder} was begun with other versions or on another device: {'; '.join(versions)}. To go on all the "
            "same, pass allow_different_version=True (--allow-different-version): figures may then differ in their "
            "last digits from those of one undisturbed run."
        )
    before, now = (_without_mathematics(x) if versions else x for x in (manifest.identity, identity))
    if lines := differences(before, now):
        raise RunError(
            f"{folder} is a run of something else: {'; '.join(lines)}. Choose another folder for this one, or go on "
            "with what that one was begun with."
        )


def _without_mathematics(table: Any) -> Any:
    """Versions of JAX write the same mathematics differently; the arrays that it closes over are the same."""
    if isinstance(table, Mapping):
        names = {name: list(value) for name, value in table.items() if name in TEXTUAL and isinstance(value, Mapping)}
        return names | {name: _without_mathematics(value) for name, value in table.items() if name not in TEXTUAL}
    return [_without_mathematics(x) for x in table] if isinstance(table, list) else table


@functools.cache
def versions() -> dict[str, str]:
    """Of the packages that figures depend on."""
    return {name: importlib.metadata.version(name) for name in ("jaxopt_lab", "jax", "jaxlib", "optax", "numpy")}


def _tasks(plan: Plan) -> list[Task]:
    return list({group.structure.task: None for group in plan.groups})


@remembered(maxsize=64)
def _task(task: Task) -> dict[str, Any]:
    """All that a task says: its data, and what its functions compute on them."""
    key, (params, batch) = random_key(0), shapes(task)
    held_out = [split for split in task.data[1:] if split is not None]
    functions = {
        "init(key)": [_traced(task.init, key)],
        "train(key)": [_traced(task.train, key)] if callable(task.train) else [],
        "loss": [_traced(task.loss, params, x) for x in (batch, *held_out)],  # derivatives of its own: see the step
    }
    metrics = {name: [_traced(metric, params, x) for x in held_out] for name, metric in task.metrics.items()}
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
    }


def _traced(function: Callable[..., Any], *args: Any) -> Fingerprint:
    return fingerprint(trace(function, *args))


def _whole(traced: list[Fingerprint]) -> str | None:
    return digest(" ".join(one.whole for one in traced).encode()) if traced else None


def _arrays(*traced: Fingerprint) -> str:
    return digest(" ".join(sorted({array for one in traced for array in one.arrays})).encode())


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
