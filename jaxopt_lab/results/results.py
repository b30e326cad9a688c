"""Results: the return value of a sweep, one labelled dataset."""

import dataclasses
import operator
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np

from jaxopt_lab.checking import check_count
from jaxopt_lab.results.best import Best, rows_of, where_compared, why_none
from jaxopt_lab.results.best import best as best_configuration
from jaxopt_lab.results.by_cost import by_cost
from jaxopt_lab.results.grid import grid
from jaxopt_lab.results.leaderboard import leaderboard
from jaxopt_lab.results.rebuilding import model
from jaxopt_lab.results.score import UNFINISHED, default_metric, greater_is_better, hyperparameters, score
from jaxopt_lab.results.tuning import tuning_curves
from jaxopt_lab.store.axes import (
    AXES,
    COUNTED,
    RUNGS,
    budget,
    unequal_examples,
    unequal_gradients,
    without_rungs,
)
from jaxopt_lab.store.zarr import save
from jaxopt_lab.tasks.names import QUARTILES
from jaxopt_lab.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Names in datasets and their folders that are not hyperparameters, losses or metrics.
DIMS = {"config", "seed", *AXES, *RUNGS}
COUNTS = {"status", "first_bad_step", *COUNTED.values(), "skipped_steps", "rung"}
RESERVED = frozenset({*DIMS, *COUNTS, "optimizer", "train_loss", "params"})


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """Every trial of a sweep.

    Attributes:
        dataset: Dims `config`, `seed`, `step` and `eval_step`. Hyperparameters and `optimizer` are coordinates of
            `config`; one that an optimizer does not have is NaN. `step` counts the updates applied so far: `train_loss`
            at step 10 is the loss of the batch of step 10 before its update. A trial diverges at its first training
            loss that is not finite or is above `diverged_above`: from there on its losses are +inf and its metrics NaN.
            If a trial ends in another way by itself, they keep their last value. Steps that an interrupted or stopped
            trial did not reach are NaN. `status` is completed, reached, converged, diverged, interrupted, failed (its
            loss raised an error), or set by a stop rule: stopped or plateau, with the rule's `rung` (else -1).
            `examples_seen` counts the training examples of a trial's steps; with a budget of `jl.examples` or
            `jl.epochs`, `examples` and `eval_examples` take the place of `step` and `eval_step`. `gradients_taken`
            counts the gradients of its steps: one a step, two for `sam`, two more for each estimate of `sophia` or
            `adahessian`; -1 where that depends on losses, as with a line search, or on skipped steps. Losses alone do
            not count.
            `first_bad_step` is the step at which a trial diverged, else -1. With `nonfinite=`, `skipped_steps` counts
            skipped steps; the loss recorded there is +inf, or its value where only the gradient was not finite.
        task: The task, or None where the results were loaded and the task is not among `jl.TASKS`.

    """

    dataset: "xr.Dataset"
    task: Task | None
    plot: ClassVar[Any]  # these are registered by the package from `jaxopt_lab.report`
    diagnose: ClassVar[Any]
    report: ClassVar[Any]
    to_csv: ClassVar[Any]
    to_parquet: ClassVar[Any]
    to_latex: ClassVar[Any]
    to_tensorboard: ClassVar[Any]
    final_params: "list[tuple[np.ndarray, Any]]" = dataclasses.field(repr=False)  # (configs, params) of each group

    def best(self, metric: str | None = None, optimizer: str | None = None, at: str = "last") -> Best:
        """Find the best configuration by the median of `metric` over seeds at the end of training.

        A sweep that is running or was interrupted is compared, with a warning, at the last step that all compared
        trials reached; configurations of which some seed has not begun are left out.

        Args:
            metric: Any loss or metric of the dataset; by default the task's main metric, on validation data where there
                are any (the loss, where the task names no other).
            optimizer: Restricts the choice to this optimizer's configurations.
            at: "last", or "best": each trial counts with its best evaluated step, as with early stopping, also where it
                diverged or was stopped later. This selects a step by the same data, so the values are better than those
                on other data. A sweep with `keep="best"` has the parameters of these steps.

        Raises:
            ValueError: The metric or the optimizer is unknown, the metric has no direction, or no configuration has a
                finite median: all diverged, for example. With at="best", the metric is the training loss.

        """
        best = best_configuration(self.dataset, metric, optimizer, at)
        if not np.isfinite(best.value):
            raise ValueError(why_none(self.dataset, best.metric, rows_of(self.dataset, optimizer)))
        if (where := where_compared(self.dataset, best.metric)) is not None:
            warnings.warn(where, UserWarning, stacklevel=2)
        return best

    def by(self, cost: str) -> "Results":
        """Return the results with a cost in place of the step, so that boards and plots compare trials at equal cost.

            results.by("gradients").leaderboard()
            results.by("seconds").plot.curves()

        The axis ends at the least cost of a whole trial. There and at each cost before, a trial has the value of its
        last recorded or evaluated step that costs no more: `record=` and `evaluate=` of the sweep say how close that
        is. There are no parameters.

        Args:
            cost: "gradients"; "examples"; or "seconds" of one core or accelerator, as measured in the sweep: a chunk's
                time shared equally by its trials.

        Raises:
            ValueError: The cost is unknown or was not recorded, or the sweep has not ended.

        """
        return dataclasses.replace(self, dataset=by_cost(self.dataset, cost), final_params=[])

    def leaderboard(self, metric: str | None = None) -> "pd.DataFrame":
        """Return one row per optimizer, best first: see `jaxopt_lab.results.leaderboard`."""
        return leaderboard(self.dataset, metric)

    def tuning_curves(self, metric: str | None = None, optimizer: str | None = None, **options: Any) -> dict[str, Any]:
        """Return how well the best of k random draws scores, by optimizer: see `jaxopt_lab.results.tuning`."""
        return tuning_curves(self.dataset, metric, optimizer, **options)

    def table(self) -> "pd.DataFrame":
        """Return one row per trial: optimizer, hyperparameters, seed, status, and every loss and metric at its end."""
        import pandas as pd

        dataset = without_rungs(self.dataset)
        last = dataset.isel(dict.fromkeys(set(AXES) & set(dataset.dims), -1), drop=True)
        table = last.to_dataframe(dim_order=["config", "seed"]).reset_index()
        columns = hyperparameters(self.dataset)
        for name in [name for name, values in columns.items() if values.dtype == object]:
            # Otherwise pandas converts None among texts to NaN.
            table[name] = pd.Series(columns[name].repeat(self.dataset.sizes["seed"]), dtype=object)
        first = ["config", "optimizer", *columns, "seed", "status", "first_bad_step"]
        return table.reindex(columns=[*first, *(c for c in table.columns if c not in first)])

    def grid(self, optimizer: str | None = None) -> "xr.Dataset":
        """Return the dataset with hyperparameters as dimensions instead of `config`, for a product space.

        Args:
            optimizer: The optimizer whose grid to return; optional where there is only one.

        Raises:
            ValueError: There are several optimizers and none was named, or the space is not a product.

        """
        return grid(self.dataset, optimizer)

    def params(self, config: int | None = None, seed: int | None = None) -> Any:
        """Return a trial's final parameters, for prediction: by default of the best configuration's best trial.

        A diverged trial has its last parameters before divergence, an interrupted one its latest. Of a sweep with
        `keep="best"`, they are those of each trial's best evaluated step, by which the default is then chosen too.

        Args:
            config: The configuration's number; by default that of `best()`.
            seed: The seed; by default the one with the best value of `best()`'s metric, never one that diverged.

        Returns:
            The parameters as NumPy arrays, in the tree that the task's `init` returns. (Loaded results of a task that
            is not in `jl.TASKS` have dicts for named tuples and lists for tuples, unless `jl.load` was given the task.)

        Raises:
            ValueError: The trial is unknown, there is no best one, it never began, or its parameters were not kept:
                see `keep_top` of `jl.sweep`.

        """
        found = self.kept(config, seed)
        return found[0] if self.dataset.attrs.get("stateful") else found

    def state(self, config: int | None = None, seed: int | None = None) -> Any:
        """Return the state that a trial's loss had at the end, such as batch statistics: see `params`.

        Raises:
            ValueError: The task's loss has no state, or as `params`.

        """
        if not self.dataset.attrs.get("stateful"):
            raise ValueError(f"The loss of task {self.dataset.attrs['task']!r} has no state.")
        return self.kept(config, seed)[1]

    def model(self, config: int | None = None, seed: int | None = None) -> Any:
        """Return a trial's model for evaluation, for a task of `jl.nnx_task` and its like: see `params`.

        It is an `nnx.Module`; a function of inputs for Linen; for Equinox what the task's `make` returns.

        Raises:
            ValueError: The task is not of another library's model, or is unknown; or as `params`.

        """
        config = self.best(at=str(self.dataset.attrs.get("keep", "last"))).config if config is None else config
        return model(self.dataset, self.task, config, self.kept(config, seed))

    def kept(self, config: int | None = None, seed: int | None = None) -> Any:
        """Return what is kept of a trial: its final parameters, or (parameters, state) where the loss has a state.

        Arguments and errors are those of `params`.
        """
        at = str(self.dataset.attrs.get("keep", "last"))
        config = self.best(at=at).config if config is None else check_count("config", config, least=0)
        seed = None if seed is None else check_count("seed", seed, least=0)
        configs, seeds = self.dataset["config"].values.tolist(), self.dataset["seed"].values.tolist()
        if config not in configs:
            raise ValueError(f"There is no configuration {config!r}: they are numbered {configs[0]} to {configs[-1]}.")
        if seed is None:
            seed = self._best_seed(config, at)
        if seed not in seeds:
            raise ValueError(f"There is no seed {seed!r}: there are {seeds}.")
        for rows, params in self.final_params:
            if config in rows:
                trial = int(np.flatnonzero(rows == config)[0]), seeds.index(seed)
                found = jax.tree.map(operator.itemgetter(trial), params)
                if self._has_come_to(config, seed, found):
                    return found
        status = str(self.dataset["status"].sel(config=config, seed=seed).values)
        raise ValueError(
            f"There are no parameters of configuration {config} with seed {seed}, which is {status}. They are kept "
            "when a sweep has ended, for trials that began; where those of all trials take more than 256 MiB, or with "
            f"keep_top=, only of the best configurations. To repeat it: jl.rerun(results, {config}, {seed}).params."
        )

    def _best_seed(self, config: int, at: str) -> int:
        metric = default_metric(self.dataset)
        values = score(self.dataset, metric, at).sel(config=config).values
        if not np.isfinite(values).any():
            row = np.flatnonzero(self.dataset["config"].values == config)
            raise ValueError(f"{why_none(self.dataset, metric, row)} To get one of its trials anyway, name its seed.")
        choose = np.argmax if greater_is_better(self.dataset, metric) else np.argmin
        return int(self.dataset["seed"].values[choose(values)])

    def _has_come_to(self, config: int, seed: int, params: Any) -> bool:
        """Return whether the trial had begun: trials that never began have NaN for parameters."""
        trial = self.dataset[["status", "steps_taken"]].sel(config=config, seed=seed)
        if str(trial["status"].values) not in (*UNFINISHED, "failed"):
            return True
        unknown = (x.dtype.kind in "fcV" and np.isnan(x).all() for x in map(np.asarray, jax.tree.leaves(params)))
        return int(trial["steps_taken"]) > 0 and not all(unknown)

    def save(self, path: str | Path) -> str | Path:
        """Write everything to a new Zarr folder, local or at a URL, which `jl.load` and `xarray.open_zarr` can read.

        It overwrites nothing.

        Raises:
            FileExistsError: The path exists.

        """
        return save(self.dataset, self.final_params, path)

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
        """Return the leaderboard with only the metric selected by, its quartiles, and medians on test data."""
        board, metric = self.leaderboard(), default_metric(self.dataset)
        shown = (
            "optimizer",
            "step",
            "examples",
            "gradients",
            "learning_rate",
            metric,
            f"{metric}_q25",
            f"{metric}_q75",
            "diverged",
            "good_decades",
        )
        tested = lambda name: name.startswith("test_") and not name.endswith(QUARTILES)
        return board.reindex(columns=[name for name in board.columns if name in shown or tested(name)])

    def _summary(self) -> str:
        sizes, attrs = self.dataset.sizes, self.dataset.attrs
        statuses, counts = np.unique(self.dataset["status"].values, return_counts=True)
        ended = ", ".join(f"{n} {s}" for s, n in zip(statuses, counts, strict=True))
        where, unequal = where_compared(self.dataset, default_metric(self.dataset)), unequal_examples(self.dataset)
        taken = unequal_gradients(self.dataset)
        return (
            f"{sizes['config'] * sizes['seed']} trials ({sizes['config']} configurations x {sizes['seed']} seeds) of "
            f"{budget(self.dataset)} on {attrs['task']}: {ended}.{'' if where is None else f' {where}'}"
            f"{'' if unequal is None else f' They see {unequal}.'}{'' if taken is None else f' They take {taken}.'}"
        )
