"""What a diagnosis looks at: one optimizer's trials, its best configuration, and the curves of that."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.formats import short
from jaxopt_lab.labels import narrowed, present
from jaxopt_lab.report.diagnosis_curve import Curve, filled
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import (
    HELD,
    WORST,
    best_of,
    compared,
    default_metric,
    direction,
    greater_is_better,
    hyperparameters,
    score,
)
from jaxopt_lab.store.axes import at_point, budget
from jaxopt_lab.tasks.direction import MAX
from jaxopt_lab.tasks.names import TASK_PREFIX

if TYPE_CHECKING:
    import xarray as xr

SERIOUS, WARNING, NOTE = LEVELS = ("serious", "warning", "note")
RATE = "learning_rate"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that a sweep shows.

    Attributes:
        kind: Which one, such as "edge" or "overfitting": see `jaxopt_lab.report.diagnosis.KINDS`.
        says: The sentence, with its numbers; it begins with the optimizer's name.
        evidence: The numbers by name, each computed from the dataset.
        advice: What to do about it.
        level: "serious": the results should not be used as they are; "warning": they could be better, or are less sure
            than they look; "note": good to know.

    """

    kind: str
    says: str
    evidence: Mapping[str, float]
    advice: str
    level: str = WARNING


@dataclasses.dataclass(frozen=True)
class Case:
    """One optimizer of a sweep.

    Attributes:
        results: The sweep.
        name: The optimizer's name.

    """

    results: Results
    name: str

    @property
    def dataset(self) -> "xr.Dataset":
        """The sweep's dataset."""
        return self.results.dataset

    @functools.cached_property
    def metric(self) -> str:
        """The metric that configurations are selected by."""
        return default_metric(self.dataset)

    @functools.cached_property
    def sign(self) -> int:
        """1 where less of the metric is better, else -1."""
        return -1 if greater_is_better(self.dataset, self.metric) else 1

    @functools.cached_property
    def complete(self) -> bool:
        """Whether no trial of the sweep is running or interrupted."""
        return compared(self.dataset, self.metric).complete

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The positions of the optimizer's configurations."""
        return np.flatnonzero(self.dataset["optimizer"].values == self.name)

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """The score of each trial of the sweep, less being better: shape (configs, seeds)."""
        return self.sign * score(self.dataset, self.metric).values

    @functools.cached_property
    def best(self) -> int | None:
        """The position of the best configuration; None where none has a finite median."""
        row = best_of(self.dataset, self.metric, self.rows)
        return row if np.isfinite(np.median(self.scores[row])) else None

    @functools.cached_property
    def status(self) -> np.ndarray:
        """The status of each of the optimizer's trials: shape (its configs, seeds)."""
        return self.dataset["status"].transpose("config", "seed").values[self.rows]

    @functools.cached_property
    def best_status(self) -> np.ndarray:
        """The status of each seed of the best configuration."""
        return self.status[np.flatnonzero(self.rows == self.best)[0]]

    @property
    def ended_by_itself(self) -> bool:
        """Whether some trial of the best configuration reached a target or the like, so that it says no more."""
        return bool(np.isin(self.best_status, HELD).any())

    @functools.cached_property
    def rates(self) -> np.ndarray | None:
        """The learning rates of the optimizer's configurations; None where they are not numbers or did not vary."""
        column = hyperparameters(self.dataset).get(RATE)
        if column is None or not present(column[self.rows]).all():
            return None
        values = narrowed(column[self.rows])
        return values if values.dtype.kind == "f" and len(np.unique(values)) > 1 else None

    @property
    def best_rate(self) -> float | None:
        """The learning rate of the best configuration; None where there is none."""
        return None if self.rates is None or self.best is None else float(self.rates[self.rows == self.best][0])

    @property
    def calmer(self) -> int | None:
        """The best configuration among those of the next smaller learning rate all of whose trials counted."""
        if self.rates is None or self.best_rate is None:
            return None
        usable = ~np.isin(self.status, WORST).any(axis=1) & (self.rates < self.best_rate)
        if not usable.any():
            return None
        near = self.rows[usable & (self.rates == self.rates[usable].max())]
        return best_of(self.dataset, self.metric, near)

    @property
    def full_batches(self) -> bool:
        """Whether the training loss is known to be the same function at every step, so that all its jumps are real."""
        task = self.results.task
        if task is None or any(name.startswith(TASK_PREFIX) for name in hyperparameters(self.dataset)):
            return False
        random = task.augment is not None or "key" in inspect.signature(task.loss).parameters
        return task.batch_size is None and not callable(task.train) and task.feed is None and not random

    @property
    def scored(self) -> Curve:
        """The curve of the metric."""
        return self._curves[self.metric]

    @property
    def trained(self) -> Curve:
        """The curve of the training loss."""
        return self._curves["train_loss"]

    @functools.cached_property
    def _curves(self) -> dict[str, Curve]:
        return {name: self.curve(name) for name in ("train_loss", self.metric)}

    def curve(self, name: str, row: int | None = None) -> Curve:
        """Return a curve of the best configuration, or of another, for the seeds that did not diverge or fail."""
        curve = self.dataset[name].transpose("config", "seed", ...)
        last = compared(self.dataset, name).point + 1
        seeds = ~np.isin(self.best_status, WORST)
        values = filled(curve.values[self.best if row is None else row, seeds, :last].astype(float))
        sign = -1 if direction(self.dataset, name) == MAX else 1
        return Curve(name, curve[curve.dims[-1]].values[:last], values, sign)

    def values_of(self, row: int) -> str:
        """Describe a configuration by its hyperparameters; empty where none was varied."""
        columns = hyperparameters(self.dataset).items()
        return ", ".join(
            f"{plain(name)} {short(column[row])}" for name, column in columns if present(column[row : row + 1])[0]
        )

    @property
    def best_is(self) -> str:
        """The optimizer with its best configuration: how sentences about that begin."""
        found = "" if self.best is None else self.values_of(self.best)
        return f"{self.name} ({found})" if found else self.name

    def at(self, point: float) -> str:
        """Describe a point of the dataset's axis."""
        return at_point(self.dataset, int(point) if float(point).is_integer() else point)  # type: ignore[arg-type]

    @property
    def whole(self) -> str:
        """The budget of a trial."""
        return budget(self.dataset)


def cases(results: Results) -> list[Case]:
    """Return a case for each optimizer, best first; those without a best configuration last."""
    found = [Case(results, name) for name in dict.fromkeys(results.dataset["optimizer"].values.tolist())]
    return sorted(found, key=lambda case: np.inf if case.best is None else float(np.median(case.scores[case.best])))


def plain(name: str) -> str:
    """Return a name in words."""
    return "training loss" if name == "train_loss" else name.replace("_", " ")


def percent(share: float) -> str:
    """Format a share in at most two significant digits, as a percentage: 0.4 %, 12 %."""
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 10 else f"{value:.2g} %"


def counted(count: int, what: str) -> str:
    """Return a count with its noun: 1 trial, 2 trials."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
