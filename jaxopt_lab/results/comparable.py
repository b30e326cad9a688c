"""Whether sweeps can be merged: of one task, with one budget and the same options, and of the same optimizers."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.results.parts import Part
from jaxopt_lab.store.axes import budget, unit_of
from jaxopt_lab.store.identity import without_mathematics
from jaxopt_lab.store.manifest import differences
from jaxopt_lab.tasks.names import SPLITS, TASK_PREFIX
from jaxopt_lab.tracing.fingerprint import ADDRESS

OPTIONS = ("stop", "target", "tolerance", "diverged_above", "nonfinite", "keep", "diagnostics")  # arguments of a sweep
TASKS = {  # attributes that follow from the task, and what to do where they differ
    "task": "Merge only sweeps of one task.",
    "main_metric": "Sweep a task with the same main_metric and validation data again.",
    "stateful": "Merge only sweeps of one task.",
}
COLUMNS = ("the hyperparameters", "the structural hyperparameters")
PRECISION = "Run both sweeps under the same JAX settings."


def check_comparable(parts: Sequence[Part], one_search: bool = False) -> None:
    """Raise ArgumentValueError where trials of the sweeps cannot be compared with each other.

    Those of `one_search`, round by round, may have had a stop rule.
    """
    for part in parts:
        if "stop" in part.attrs and not one_search:
            raise ArgumentValueError(
                f"{part.called} had a stop rule, {part.attrs['stop']}, which compared its trials only with each "
                "other: among those of other sweeps, other trials would have been stopped. Sweep without stop=, or all "
                "configurations in one call."
            )
    first = parts[0]
    for part in parts[1:]:
        for name, advice in TASKS.items():
            _same(name, first, part, first.attrs.get(name), part.attrs.get(name), advice)
        _check_options(first, part)
    _check_columns(parts)
    _check_tasks(parts)
    _check_steps(parts)


def _check_options(first: Part, part: Part) -> None:
    one, other = first.results.dataset, part.results.dataset
    _same("the budget", first, part, budget(one), budget(other), "Give both sweeps the same steps=.")
    unit, advice = unit_of(one), "Give both sweeps the same record= and evaluate=."
    for axis, what in ((unit, "record"), (f"eval_{unit}", "evaluate")):
        points = [dataset[axis].values.tolist() for dataset in (one, other)]
        if points[0] != points[1]:
            _refuse(f"the points to {what}", first, part, _listed(points[0]), _listed(points[1]), advice)
    for name in OPTIONS:
        values = (first.attrs.get(name), part.attrs.get(name))
        _same(name, first, part, *values, f"Give both sweeps the same {name}=.")
    _same("dtype", first, part, first.attrs["dtype"], part.attrs["dtype"], PRECISION)
    directions = [first.table("directions"), part.table("directions")]
    for name in directions[0].keys() & directions[1].keys():
        ways = (directions[0][name], directions[1][name])
        _same(f"the direction of {name}", first, part, *ways, "Merge only sweeps of one task.")
    problems = [first.table("problem"), part.table("problem")]
    for name in ("precision", "settings"):
        _same_tables(name, first, part, problems[0].get(name), problems[1].get(name), PRECISION)


def _check_columns(parts: Sequence[Part]) -> None:
    """Check that the configurations of an optimizer have the same hyperparameters in all sweeps."""
    known: dict[str, Part] = {}
    for part in parts:
        for name in dict.fromkeys(config.optimizer for config in part.configs):
            other = known.setdefault(name, part)
            of = lambda one, name=name: (one.table("space")[name]["space"], one.table("structural").get(name, {}))
            for what, a, b in zip(COLUMNS, of(other), of(part), strict=True):
                a, b = (", ".join(sorted(names)) or "none" for names in (a, b))
                _same(
                    f"{what} of {name}",
                    other,
                    part,
                    a,
                    b,
                    "Name the same ones in both spaces, also those with a single value, or sweep one of the two under "
                    "another name: {'NAME': optimizer}.",
                )


def _check_tasks(parts: Sequence[Part]) -> None:
    """Check that tasks with equal structural values are the same, and that others differ in these values alone."""
    known: dict[Any, tuple[Part, Any]] = {}
    first, advice = parts[0], "Merge only sweeps of one task."
    for part in parts:
        alone = not part.tasks.keys() & known.keys()
        for values, task in part.tasks.items():
            other, before = known.setdefault(values, (part, task))
            _same_tables("task", other, part, *_compared(other, part, before, task), advice)
        if alone:
            names = _structural_names(first) | _structural_names(part)
            _same_tables("task", first, part, _otherwise(first, names), _otherwise(part, names), advice)


def _structural_names(part: Part) -> set[str]:
    """Return the arguments of the task that are structural hyperparameters."""
    names = {name for config in part.configs for name in config.static}
    return {name.removeprefix(TASK_PREFIX) for name in names if name.startswith(TASK_PREFIX)}


def _otherwise(part: Part, names: set[str]) -> dict[str, Any]:
    """Describe a sweep's task apart from the arguments `names`, on which everything that is traced may depend."""
    arguments = {name: value for name, value in part.table("task_arguments").items() if name not in names}
    task, function = next(iter(part.tasks.values())), part.attrs["task_function"]
    # The data of a task of this package follow from its arguments.
    data = {} if function else {f"{split} data": task.get(f"{split} data") for split in SPLITS}
    return {"function": function, "arguments": json.loads(ADDRESS.sub("", json.dumps(arguments))), **data}


def _check_steps(parts: Sequence[Part]) -> None:
    """Check that optimizers of one name and structure compute the same."""
    known: dict[Any, tuple[Part, Any]] = {}
    for part in parts:
        called = {config.structure: config for config in part.configs}
        for structure, step in part.steps.items():
            other, before = known.setdefault(structure, (part, step))
            config = called[structure]
            only = {name: value for name, value in config.values.items() if name in config.static}
            _same_tables(
                f"optimizer {dataclasses.replace(config, values=only)}",
                other,
                part,
                *_compared(other, part, before, step),
                "If these are two optimizers, sweep one of them under another name: {'NAME': optimizer}. If they are "
                "two structural values with one label, sweep both in one call, which labels them differently.",
            )


def _compared(one: Part, other: Part, before: Any, now: Any) -> tuple[Any, Any]:
    """Return what to compare: program texts only where the same package versions wrote them."""
    if one.table("versions") == other.table("versions"):
        return before, now
    return without_mathematics(before), without_mathematics(now)


def _same(what: str, one: Part, other: Part, before: Any, now: Any, advice: str) -> None:
    """Raise where two values differ."""
    if before != now:
        before, now = ("absent" if x is None else f"{x}" for x in (before, now))
        _refuse(what, one, other, before, now, advice)


def _refuse(what: str, one: Part, other: Part, before: str, now: str, advice: str) -> None:
    raise ArgumentValueError(
        f"{other.called} cannot be merged with {one.called}: {what}: {before} in {one.called}, {now} in "
        f"{other.called}.",
        advice=advice,
    )


def _same_tables(what: str, one: Part, other: Part, before: Any, now: Any, advice: str) -> None:
    """Raise where two tables of plain values differ."""
    if lines := differences(before, now, what, f"in {one.called}", f"in {other.called}"):
        raise ArgumentValueError(
            f"{other.called} cannot be merged with {one.called}: {'; '.join(lines)}.", advice=advice
        )


def _listed(points: Sequence[int]) -> str:
    """List points of a curve; of many, the first ones, the last one and their number."""
    if len(points) <= 8:
        return ", ".join(map(str, points))
    return f"{', '.join(map(str, points[:4]))}, ..., {points[-1]} ({len(points)} points)"
