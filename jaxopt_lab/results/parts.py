"""A sweep taken apart for merging: each configuration by its values, and what each of its programs computes."""

import collections
import dataclasses
import functools
import json
from typing import Any

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.labels import label, present, tuples
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import hyperparameters
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tracing.caching import exact


@dataclasses.dataclass(frozen=True)
class Named:
    """A structural value that results cannot hold, such as a function: only its label is known."""

    label: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Config:
    """A configuration: its optimizer, and its hyperparameters by name, of which those in `static` are structural."""

    optimizer: str
    values: dict[str, Any]
    static: frozenset[str]

    @functools.cached_property
    def key(self) -> Any:
        """A key that two configurations share where all their values are the same: 1, 1.0 and True all differ."""
        return self._of(self.values)

    @functools.cached_property
    def structure(self) -> Any:
        """The key of those that share a program."""
        return self._of(self.static)

    @functools.cached_property
    def task(self) -> Any:
        """The key of those that share a task: its structural values."""
        return exact([(name, self.values[name]) for name in sorted(self.static) if name.startswith(TASK_PREFIX)])

    def _of(self, names: Any) -> Any:
        return self.optimizer, exact([(name, self.values[name]) for name in sorted(names)])

    def __str__(self) -> str:
        said = [f"{name}={label(labelled(value))}" for name, value in self.values.items()]
        return self.optimizer + (f" with {', '.join(said)}" if said else "")


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One of the sweeps that are merged.

    Attributes:
        called: What errors call it.
        results: Its results.
        configs: Its configurations, in their order.
        steps: What a step computes, by the structure of configurations: see `jaxopt_lab.store.identity.problem`.
        tasks: What a task is, by its structural values.

    """

    called: str
    results: Results
    configs: list[Config]
    steps: dict[Any, Any]
    tasks: dict[Any, Any]

    @property
    def attrs(self) -> dict[str, Any]:
        return self.results.dataset.attrs

    def table(self, attribute: str) -> Any:
        """Return an attribute that is JSON; an empty table where there is none."""
        return json.loads(self.attrs.get(attribute, "{}"))


def taken_apart(called: str, results: Results) -> Part:
    """Take a sweep's results apart.

    Raises:
        ArgumentValueError: They do not say what their trials compute.

    """
    dataset = results.dataset
    structural = json.loads(dataset.attrs["structural"])
    known = {
        (owner, name, exact(said)): tuples(value)
        for owner, columns in structural.items()
        for name, pairs in columns.items()
        for said, value in pairs
    }
    columns = {name: (column.tolist(), present(column)) for name, column in hyperparameters(dataset).items()}
    configs = []
    for row, owner in enumerate(dataset["optimizer"].values.tolist()):
        own = {name: column[row] for name, (column, has) in columns.items() if has[row]}
        static = frozenset(name for name in structural.get(owner, {}) if name in own)
        values = {n: known.get((owner, n, exact(x)), Named(x)) if n in static else x for n, x in own.items()}
        configs.append(Config(owner, values, static))
    steps, tasks = _computed(called, dataset.attrs.get("problem"), configs)
    return Part(called, results, configs, steps, tasks)


def labelled(value: Any) -> Any:
    """Return a value as `jaxopt_lab.labels` takes it: one of which only a label is known as that label."""
    return value.label if isinstance(value, Named) else value


def _computed(called: str, problem: str | None, configs: list[Config]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Assign the entries of a sweep's `problem`, which are in the order of its groups, to structures and tasks."""
    groups = {config.structure: config for config in configs}
    by_optimizer = collections.defaultdict(list)
    for structure, config in groups.items():
        by_optimizer[config.optimizer].append(structure)
    tasks = [config.task for config in groups.values()]
    try:
        found = json.loads(problem or "null")
        optimizers = {owner: found["optimizers"][owner] for owner in by_optimizer}
        # A task function of the user's makes a new task for each group.
        tasks = tasks if len(found["task"]) == len(tasks) else list(dict.fromkeys(tasks))
        steps = {
            structure: step
            for owner, own in by_optimizer.items()
            for structure, step in zip(own, optimizers[owner], strict=True)
        }
        return steps, dict(zip(tasks, found["task"], strict=True))
    except (ValueError, KeyError, TypeError):
        raise ArgumentValueError(
            f"{called} does not say what its trials compute: its attribute problem is absent, or of other "
            "configurations. Pass results as jl.sweep or jl.load returned them, with all of their configurations."
        ) from None
