"""Results: what a sweep returns, as one labelled dataset."""

import dataclasses
import datetime
import json
import operator
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxopt_lab import statistics
from jaxopt_lab.engine import Outcome, Plan
from jaxopt_lab.engine.plan import default_device
from jaxopt_lab.space import Configurations, label
from jaxopt_lab.statistics.score import hyperparameters, on_edge
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.trial import DIVERGED, STATUSES
from jaxopt_lab.validation import check_known

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from jaxopt_lab.plots import Plots

RESERVED = frozenset({"config", "seed", "step", "eval_step", "optimizer", "status", "first_bad_step", "steps_taken"})
ABSENT = object()  # the value of a hyperparameter that an optimizer does not have


@dataclasses.dataclass(frozen=True)
class Best:
    """A configuration that no other beats, by the median of a metric over seeds.

    Attributes:
        config: Its number.
        optimizer: Its optimizer's name.
        hyperparameters: Its values of what was varied.
        metric: What it was chosen by.
        value: The median of the metric's final values over seeds.
        values: By seed, in the order of the dataset's `seed`.
        on_edge: The hyperparameters at an end of what was tried: the true best may lie beyond.

    """

    config: int
    optimizer: str
    hyperparameters: Mapping[str, Any]
    metric: str
    value: float
    values: tuple[float, ...]
    on_edge: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """Every trial of a sweep.

    Attributes:
        dataset: Dims `config`, `seed`, `step` and `eval_step`. Hyperparameters and `optimizer` are coordinates of
            `config`. `step` counts updates applied: `train_loss` at step 10 is the loss of the batch of step 10 before
            its update. Losses are +inf from a trial's first non-finite one on and stay at their last value after a
            trial stops; metrics of a diverged trial are NaN; so is what an interrupted trial did not reach. `status` is
            completed, reached, converged, diverged or interrupted; `first_bad_step` is -1 where all losses were finite.
        task: The task, or None where the results were loaded and the task is not among `jl.TASKS`.

    """

    dataset: "xr.Dataset"
    task: Task | None
    final_params: "list[tuple[np.ndarray, Any]]" = dataclasses.field(repr=False)  # (configs, params) of each group

    def best(self, metric: str | None = None, optimizer: str | None = None) -> Best:
        """The best configuration by the median of `metric` over seeds at the end of training.

        Args:
            metric: Any loss or metric of the dataset; by default validation loss, else training loss. Greater is better
                where its name ends in accuracy, auc, r2 or score.
            optimizer: Among this one's only.

        Raises:
            ValueError: The metric or the optimizer is unknown.

        """
        metric = statistics.default_metric(self.dataset) if metric is None else metric
        rows = np.arange(self.dataset.sizes["config"])
        if optimizer is not None:
            names = self.dataset["optimizer"].values
            check_known("optimizer", optimizer, dict.fromkeys(names.tolist()))
            rows = np.flatnonzero(names == optimizer)
        row = int(rows[statistics.best_config(self.dataset.isel(config=rows), metric)])
        values = statistics.score(self.dataset, metric).values[row]
        return Best(
            config=int(self.dataset["config"].values[row]),
            optimizer=str(self.dataset["optimizer"].values[row]),
            hyperparameters={n: v[row].item() for n, v in hyperparameters(self.dataset).items() if not _absent(v[row])},
            metric=metric,
            value=float(np.median(values)),
            values=tuple(values.tolist()),
            on_edge=tuple(on_edge(self.dataset, row)),
        )

    def leaderboard(self, metric: str | None = None) -> "pd.DataFrame":
        """One row an optimizer, best first: see `jaxopt_lab.statistics.leaderboard`."""
        return statistics.leaderboard(self.dataset, metric)

    def table(self) -> "pd.DataFrame":
        """One row a trial: optimizer, hyperparameters, seed, status, and every loss and metric at its end."""
        last = self.dataset.isel(step=-1, eval_step=-1, drop=True)
        table = last.to_dataframe().reset_index()
        first = ["config", "optimizer", *hyperparameters(self.dataset), "seed", "status", "first_bad_step"]
        return table.reindex(columns=[*first, *(c for c in table.columns if c not in first)])

    def grid(self, optimizer: str | None = None) -> "xr.Dataset":
        """The dataset with hyperparameters as dimensions instead of `config`, for a product space.

        Args:
            optimizer: Whose; may be left out where there is one.

        Raises:
            ValueError: There are several optimizers and none was named, or the space is not a product.

        """
        spaces = json.loads(self.dataset.attrs["space"])
        if optimizer is None and len(spaces) > 1:
            raise ValueError(f"There are several optimizers: name one of {', '.join(spaces)}, as grid(optimizer=...).")
        optimizer = next(iter(spaces)) if optimizer is None else optimizer
        check_known("optimizer", optimizer, spaces)
        if spaces[optimizer]["kind"] != "product":
            raise ValueError(
                f"The space of {optimizer} is {spaces[optimizer]['kind']}, not a product, so it has no grid."
            )
        own = self.dataset.isel(config=np.flatnonzero(self.dataset["optimizer"].values == optimizer))
        names = list(spaces[optimizer]["space"])
        others = [n for n in (*hyperparameters(own), "optimizer") if n not in names]
        own = own.drop_vars([*others, "config"])
        if not names:
            return own.isel(config=0)
        own = own.set_index(config=names).unstack("config") if len(names) > 1 else own.swap_dims(config=names[0])
        return own.transpose(*names, ...)

    def params(self, config: int | None = None, seed: int | None = None) -> Any:
        """A trial's final parameters, for predicting: by default the best configuration's best trial.

        Args:
            config: Its number; by default that of `best()`.
            seed: Its seed; by default the one with the best final value of `best()`'s metric.

        Returns:
            The parameters as NumPy arrays, in the tree that the task's `init` makes. (Loaded results of a task that is
            not among `jl.TASKS` have dicts for named tuples and lists for tuples, unless `jl.load` was given the task.)

        Raises:
            ValueError: The trial is unknown, or the parameters of all trials took too much memory to be kept.

        """
        metric = statistics.default_metric(self.dataset)
        config = self.best().config if config is None else config
        configs, seeds = self.dataset["config"].values.tolist(), self.dataset["seed"].values.tolist()
        if config not in configs:
            raise ValueError(f"There is no configuration {config!r}: they are numbered {configs[0]} to {configs[-1]}.")
        if seed is None:
            values = statistics.score(self.dataset, metric).sel(config=config).values
            seed = seeds[int(np.argmin(values))]
        if seed not in seeds:
            raise ValueError(f"There is no seed {seed!r}: there are {seeds}.")
        for rows, params in self.final_params:
            if config in rows:
                trial = int(np.flatnonzero(rows == config)[0]), seeds.index(seed)
                return jax.tree.map(operator.itemgetter(trial), params)
        raise ValueError(
            "The final parameters were not kept: those of all trials would have taken more than 256 MiB, or the sweep "
            f"was interrupted before this one. Sweep configuration {config} with seed {seed} alone."
        )

    @property
    def plot(self) -> "Plots":
        """Pictures: `plot.sensitivity()`, `plot.curves()`, `plot.heatmap(x, y)`, `plot.fit()`."""
        from jaxopt_lab.plots import Plots

        return Plots(self)

    def save(self, path: str | Path) -> Path:
        """Write everything to a new Zarr folder, which `jl.load` and `xarray.open_zarr` read. Nothing is overwritten.

        Raises:
            FileExistsError: The path exists.

        """
        from jaxopt_lab.store import save

        return save(self, path)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self._summary())}</p>{self.leaderboard().to_html(index=False, escape=True)}"

    def __repr__(self) -> str:
        return f"{self._summary()}\n{self.leaderboard().to_string(index=False)}"

    def _summary(self) -> str:
        sizes, attrs = self.dataset.sizes, self.dataset.attrs
        statuses, counts = np.unique(self.dataset["status"].values, return_counts=True)
        ended = ", ".join(f"{n} {s}" for s, n in zip(statuses, counts, strict=True))
        return (
            f"{sizes['config'] * sizes['seed']} trials ({sizes['config']} configurations x {sizes['seed']} seeds) of "
            f"{attrs['steps']} steps on {attrs['task']}: {ended}."
        )


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
    import importlib.metadata

    task = plan.groups[0].structure.task
    registered = {f: name for name, f in TASKS.items()}.get(task.factory) if task.factory else None
    arguments = {
        name: v if isinstance(v, bool | int | float | str) or v is None else repr(v)
        for name, v in task.arguments.items()
    }
    spaces = {name: {"kind": t.kind, "space": dict(t.described)} for name, t in tables.items()}
    packages = ("jaxopt_lab", "jax", "jaxlib", "optax", "numpy")
    device = default_device()
    return {
        "task": task.name,
        "task_function": registered or "",
        "task_arguments": json.dumps(arguments),
        **({} if task.minimum is None else {"minimum": task.minimum}),
        "space": json.dumps(spaces),
        "steps": plan.steps,
        "seeds": plan.seeds.tolist(),
        **({} if plan.target == -np.inf else {"target": plan.target}),
        **({} if plan.tolerance is None else {"tolerance": plan.tolerance}),
        "dtype": str(outcome.train_loss.dtype),
        "device": f"{device.platform}: {device.device_kind}",
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": json.dumps({p: importlib.metadata.version(p) for p in packages}),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "compile_seconds": round(outcome.compile_seconds, 3),
        "run_seconds": round(outcome.run_seconds, 3),
        "interrupted": int(outcome.interrupted),
    }


def _column(values: list[Any]) -> np.ndarray:
    """Numbers stay numbers (NaN where an optimizer has no such hyperparameter); all else is written out ("" there)."""
    present = [v for v in values if v is not ABSENT]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        return np.asarray([np.nan if v is ABSENT else v for v in values])
    return np.asarray(["" if v is ABSENT else label(v) for v in values])


def _absent(value: Any) -> bool:
    return value == "" or value != value
