"""What a run is of: what must be equal for it to go on, as plain values that say in words what differs."""

import functools
import importlib.metadata
import platform
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine import Group, Plan
from jaxopt_lab.engine.devices import device_name, devices
from jaxopt_lab.engine.structure import traced_step
from jaxopt_lab.space import Configurations, label
from jaxopt_lab.store.errors import RunError
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import Manifest, differences, digest
from jaxopt_lab.tasks.task import SPLITS, Task

ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in memory, in how JAX writes functions
LISTED = 32  # values that are written out; more are told apart by their digest


def identity(plan: Plan, tables: Mapping[str, Configurations]) -> dict[str, Any]:
    """Task, data, optimizers, space and options, and the mathematics of a step as traced."""
    tasks = {group.structure.task: None for group in plan.groups}
    return {
        "task": [_task(task) for task in tasks],
        "optimizers": {name: _optimizer(name, table, plan) for name, table in tables.items()},
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
        "final parameters kept": plan.keep_params,
        "precision": str(jnp.result_type(float)),
    }


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
    """Versions of JAX write the same mathematics differently."""
    if isinstance(table, dict):
        textual = ("mathematics of a step", "initial parameters")
        return {name: _without_mathematics(value) for name, value in table.items() if name not in textual}
    return [_without_mathematics(x) for x in table] if isinstance(table, list) else table


@functools.cache
def versions() -> dict[str, str]:
    """Of the packages that figures depend on."""
    return {name: importlib.metadata.version(name) for name in ("jaxopt_lab", "jax", "jaxlib", "optax", "numpy")}


def _task(task: Task) -> dict[str, Any]:
    key = jax.random.key(0)
    data = dict(zip(SPLITS, task.data, strict=True))
    data["train"] = "drawn step by step" if callable(task.train) else data["train"]
    return {
        "name": task.name,
        "arguments": {name: repr(value) for name, value in task.arguments.items()},
        "batch size": task.batch_size,
        "initial parameters": _text(jax.make_jaxpr(task.init)(key)),
        **{f"{split} data": _data(x) for split, x in data.items()},
        "metrics": list(task.metrics),
    }


def _data(data: Any) -> str | None:
    if data is None or isinstance(data, str):
        return data
    leaves, structure = jax.tree.flatten(data)
    parts = [str(structure).encode()]
    for x in map(np.asarray, leaves):
        parts += [f"{x.dtype.name}{x.shape}".encode(), np.ascontiguousarray(x).tobytes()]
    return digest(b"".join(parts))


def _optimizer(name: str, table: Configurations, plan: Plan) -> dict[str, Any]:
    groups = [group for group in plan.groups if group.optimizer == name]
    columns = {
        column: f"{table.described[column]}" if len(values) > LISTED else [label(v) for v in values]
        for column, values in table.columns.items()
    }
    exact = [
        [label(v) if column in table.static else float(v).hex() for v in values]
        for column, values in table.columns.items()
    ]
    return {
        "space": columns,
        "values": digest(repr(exact).encode()),
        "mathematics of a step": [_mathematics(group) for group in groups],
    }


def _mathematics(group: Group) -> str:
    return _text(traced_step(group.structure, group.optimizer).text)


def _text(traced: Any) -> str:
    return digest(ADDRESS.sub("", str(traced)).encode())


def _values(values: np.ndarray) -> Any:
    listed = values.tolist()
    if len(listed) <= LISTED:
        return listed
    return f"{len(listed)} from {listed[0]} to {listed[-1]} ({digest(repr(listed).encode())[:8]})"
