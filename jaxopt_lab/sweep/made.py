"""What a sweep was made of, read back from its results: its task, optimizers, configurations and options."""

import dataclasses
import json
from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.diagnostics import NAMES, Own
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.labels import ABSENT, same, tuples
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import hyperparameters
from jaxopt_lab.store.identity import of_another_problem, problem, versions
from jaxopt_lab.sweep.arguments import Optimizers, made_task, named_factories, spaces_by_optimizer
from jaxopt_lab.sweep.budget import Budget, Examples
from jaxopt_lab.sweep.planning import planned
from jaxopt_lab.sweep.request import SweepRequest
from jaxopt_lab.sweep.space import configurations
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import exact
from jaxopt_lab.types import OptimizerFactory

if TYPE_CHECKING:
    import xarray as xr


@dataclasses.dataclass(frozen=True)
class Made:
    """What a sweep was made of."""

    task: Task
    factories: Mapping[str, OptimizerFactory]
    own: Mapping[str, Own]  # diagnostics of the user's own

    @classmethod
    def of(
        cls, results: Results, optimizers: Optimizers | None, task: Any, own: Mapping[str, Own] | None = None
    ) -> "Made":
        """Return what the results were made of. Raises ValueError where that is not known."""
        base = results.task if task is None else made_task(task)
        if base is None:
            raise ArgumentValueError(
                f"The task {results.dataset.attrs['task']!r} is not among jl.TASKS: pass it, as task=..."
            )
        factories = dict(OPTIMIZERS) | ({} if optimizers is None else named_factories(optimizers))
        for name in json.loads(results.dataset.attrs["space"]):
            if name not in factories:
                raise ArgumentValueError(
                    f"{name!r} is not one of this package's optimizers: pass its factory, as "
                    f"optimizers={{{name!r}: ...}}."
                )
        return cls(base, factories, own or {})

    def check(self, dataset: "xr.Dataset") -> None:
        """Raise ValueError where a sweep cannot be extended, or was made of something else."""
        if "stop" in dataset.attrs:
            raise ArgumentValueError(
                f"The sweep had a stop rule, {dataset.attrs['stop']}, which ended trials by comparing them with each "
                "other, so further ones cannot join. Start a larger sweep in another folder."
            )
        if dataset.attrs["interrupted"]:
            raise ArgumentValueError("The sweep was interrupted. Finish it first: its own call resumes it.")
        self.check_problem(dataset)

    def check_problem(self, dataset: "xr.Dataset") -> None:
        """Raise ValueError where a sweep was made of something else."""
        plan = planned(self.request(dataset, self.tables(dataset), dataset["seed"].values.tolist()))
        before, then = json.loads(dataset.attrs["problem"]), json.loads(dataset.attrs["versions"])
        for group in plan.groups:
            one = problem(dataclasses.replace(plan, groups=[group]))
            if lines := of_another_problem(before, one, then == versions()):
                raise ArgumentValueError(
                    f"This is not what the sweep was made of: {'; '.join(lines)}. Pass the task and the optimizers "
                    "that it ran with, under the same JAX settings."
                )

    def tables(self, dataset: "xr.Dataset") -> dict[str, Configurations]:
        """Return the configurations of each optimizer, as they were in the space."""
        owners, columns, found = dataset["optimizer"].values, hyperparameters(dataset), {}
        structural = json.loads(dataset.attrs["structural"])
        for name, space in json.loads(dataset.attrs["space"]).items():
            rows = np.flatnonzero(owners == name)
            static, described = structural.get(name, {}), space["space"]
            found[name] = Configurations(
                {
                    column: _values(column, columns[column][rows].tolist(), static.get(column))
                    for column in columns
                    if column in described
                },
                frozenset(static),
                space["kind"],
                described,
            )
        return found

    def new_tables(self, dataset: "xr.Dataset", space: Any) -> dict[str, Configurations]:
        """Return the configurations of a space that a sweep does not have, by optimizer."""
        known, named = self.tables(dataset), dict.fromkeys(json.loads(dataset.attrs["space"]))
        if isinstance(space, Mapping) and any(isinstance(s, Mapping | Configurations) for s in space.values()):
            named = space
            for name in named:
                check_known("optimizer in the space:", name, self.factories)
        found = {}
        for name, own in spaces_by_optimizer(space, {name: self.factories[name] for name in named}).items():
            table = configurations(own)
            have = set(_rows(known[name])) if name in known else set()
            keep = [i for i, row in enumerate(_rows(table)) if row not in have]
            columns = {column: [values[i] for i in keep] for column, values in table.columns.items()}
            if len(keep) < len(table):
                table = dataclasses.replace(table, columns=columns, kind="zipped")
            if keep:
                found[name] = table
        return found

    def request(
        self,
        dataset: "xr.Dataset",
        tables: Mapping[str, Configurations],
        seeds: list[int],
        steps: Budget | None = None,
        out: str | None = None,
    ) -> SweepRequest:
        """Return the request of a sweep of these tables and seeds that is otherwise as another was."""
        attrs = dataset.attrs
        bound = attrs["diverged_above"]
        budget = Examples(int(attrs["examples"])) if "examples" in attrs else int(attrs["steps"])
        return SweepRequest(
            optimizers={name: self.factories[name] for name in tables},
            task=self.task,
            space=dict(tables),
            steps=budget if steps is None else steps,
            seeds=seeds,
            target=attrs.get("target"),
            tolerance=attrs.get("tolerance"),
            diverged_above=None if bound == "none" else bound,
            nonfinite=attrs.get("nonfinite", 0),
            keep=attrs.get("keep", "last"),
            keep_top=attrs.get("kept_configs"),
            strategy=_strategy(dataset),
            rewrite=rewrote(dataset),
            diagnostics=self.diagnostics(dataset),
            out=out,
        )

    def diagnostics(self, dataset: "xr.Dataset") -> dict[str, Own | None] | None:
        """Return the diagnostics of a sweep, without their strides."""
        names = list(json.loads(dataset.attrs.get("diagnostics", "{}")))
        if unknown := [name for name in names if name not in (*NAMES, *self.own)]:
            raise ArgumentValueError(
                f"Diagnostic {unknown[0]!r} is a function of your own: pass it, as "
                f"diagnostics={{{unknown[0]!r}: function}}."
            )
        return {name: None if name in NAMES else self.own[name] for name in names} or None


def _strategy(dataset: "xr.Dataset") -> str | None:
    """Return the strategy of a sweep that ran each trial alone, so that an extension has the same programs."""
    used = json.loads(dataset.attrs["strategies"])
    loops = {s.get("loop") if s.get("seeds") == s.get("configs") == 1 else None for s in used}
    (loop,) = loops if len(loops) == 1 else (None,)
    return None if loop is None else f"{loop}_each"


def rewrote(dataset: "xr.Dataset") -> bool:
    """Return whether a sweep may have rewritten its task's functions."""
    return any(strategy.get("rewrite", True) for strategy in json.loads(dataset.attrs["strategies"]))


def _values(name: str, called: list[Any], pairs: list[list[Any]] | None) -> list[Any]:
    """Return a column's values from their labels; `pairs` has those of structural ones."""
    if pairs is None:
        return [ABSENT if isnan(value) else float(value) for value in called]
    found = []
    for text in called:
        if isinstance(text, float) and isnan(text):
            found.append(ABSENT)
            continue
        known = [value for label, value in pairs if same(label, text)]
        if not known:
            raise ArgumentValueError(
                f"{name} = {text} cannot be read back from the results, so the sweep cannot be extended. Sweep what is "
                "new by itself, and merge both with jl.concat."
            )
        found.append(tuples(known[0]))
    return found


def _rows(table: Configurations) -> list[Any]:
    """Return a key of each configuration."""
    return [
        frozenset((name, exact(values[i])) for name, values in table.columns.items() if values[i] is not ABSENT)
        for i in range(len(table))
    ]
