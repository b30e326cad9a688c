"""Results: what a sweep returns, as one labelled dataset."""

import dataclasses
import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxopt_lab import statistics
from jaxopt_lab.statistics.score import hyperparameters, on_edge
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.validation import check_known

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from jaxopt_lab.plots import Plots

RESERVED = frozenset(
    {
        "config",
        "seed",
        "step",
        "eval_step",
        "optimizer",
        "status",
        "first_bad_step",
        "steps_taken",
        "skipped_steps",
        "rung",
    }
)


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
            its update. A trial diverges at its first training loss that is not finite or is beyond `diverged_above`:
            from there on its losses are +inf and its metrics NaN. After any other end of its own they stay at their
            last value. What an interrupted or stopped trial did not reach is NaN. `status` is completed, reached,
            converged, diverged, interrupted, failed (its loss raised an error), or what a stop rule made it: stopped
            or plateau, at number `rung` of its looks (else -1). `first_bad_step` is the step at which a trial diverged,
            else -1. With `nonfinite=`, a skipped step's recorded loss is +inf, and `skipped_steps` counts them.
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
        table = last.to_dataframe(dim_order=["config", "seed"]).reset_index()
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

    def save(self, path: str | Path) -> str | Path:
        """Write everything to a new Zarr folder, local or at a URL, which `jl.load` and `xarray.open_zarr` read.

        Nothing is overwritten.

        Raises:
            FileExistsError: The path exists.

        """
        from jaxopt_lab.store import save

        return save(self, path)

    def _repr_html_(self) -> str:
        from html import escape

        board = self._short_leaderboard()
        return (
            f"<p>{escape(self._summary())}</p>{board.to_html(index=False, escape=True, float_format='{:.4g}'.format)}"
        )

    def __repr__(self) -> str:
        board = self._short_leaderboard()
        return f"{self._summary()}\n{board.to_string(index=False, float_format='{:.4g}'.format)}"

    def _short_leaderboard(self) -> "pd.DataFrame":
        """What was chosen by, with quartiles, and the test split's medians."""
        board, metric = self.leaderboard(), statistics.default_metric(self.dataset)
        shown = ("optimizer", "learning_rate", metric, f"{metric}_q25", f"{metric}_q75", "diverged", "good_decades")
        tested = lambda name: name.startswith("test_") and not name.endswith(("_q25", "_q75"))
        return board.reindex(columns=[name for name in board.columns if name in shown or tested(name)])

    def _summary(self) -> str:
        sizes, attrs = self.dataset.sizes, self.dataset.attrs
        statuses, counts = np.unique(self.dataset["status"].values, return_counts=True)
        ended = ", ".join(f"{n} {s}" for s, n in zip(statuses, counts, strict=True))
        return (
            f"{sizes['config'] * sizes['seed']} trials ({sizes['config']} configurations x {sizes['seed']} seeds) of "
            f"{attrs['steps']} steps on {attrs['task']}: {ended}."
        )


def _absent(value: Any) -> bool:
    """Whether a coordinate says that the configuration's optimizer has no such hyperparameter."""
    return value == "" or value != value
