"""Where optimizers stand while a sweep runs, by the metric that it selects by: their best trials and their rates."""

import functools
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.labels import column, labels
from jaxopt_lab.trial import Status

EVERY = 1.0  # seconds between two looks at all trials
SHARE = 0.01  # of the time that these looks may take: their thread's own, without its waits for other threads
LEFT_OUT = (Status.DIVERGED, Status.FAILED, Status.STOPPED)  # a leaderboard scores them worst, too
RATE = "learning_rate"

Answer = TypeVar("Answer")


class Rates(NamedTuple):
    """The configurations of an optimizer by their learning rate; arrays have a value for each configuration.

    Attributes:
        rates: The learning rates, as results have them: numbers, or labels of schedules.
        medians: The medians over the seeds that have a value, each trial at its latest evaluation. A trial that has
            diverged or failed, or was stopped, counts as infinite, the worst. NaN where no seed has a value yet.
        diverged: Whether all of its trials have diverged.

    """

    rates: np.ndarray
    medians: np.ndarray
    diverged: np.ndarray


class Sensitivity(NamedTuple):
    """How a sweep depends on the learning rate so far.

    Attributes:
        optimizers: Those that have a learning rate among their hyperparameters, by name.
        start: The median of the trials' first values; NaN where there are none yet.
        greater: Whether greater values are better.

    """

    optimizers: dict[str, Rates]
    start: float
    greater: bool


class Seldom(Generic[Answer]):
    """A look that takes a while: its last answer counts for a second, or for longer where it took long to find."""

    def __init__(self, look: Callable[..., Answer], first: Answer):
        self._look, self._answer, self._next = look, first, 0.0

    def __call__(self, *args: Any, now: bool = False) -> Answer:
        """Look again if it is time for it, or `now`; return the last answer."""
        began = time.perf_counter()
        if now or began >= self._next:
            before = time.thread_time()
            self._answer = self._look(*args)
            self._next = began + max(EVERY, (time.thread_time() - before) / SHARE)
        return self._answer


class Standing:
    """The latest value of each trial, and the best of each optimizer's.

    Attributes:
        metric: The metric that the sweep selects by.
        latest: Each trial's latest value in this metric's curve; NaN where it has none yet.
        best: Returns the best of each optimizer, best first, given the trials' statuses; it looks seldom.

    """

    def __init__(self, plan: Plan):
        self.metric, self._sign = plan.selects_by
        self.latest = np.full((plan.configs, len(plan.seeds)), np.nan, jnp.result_type(float))
        self._names = list(dict.fromkeys(group.optimizer for group in plan.groups))
        self._owners = np.zeros(plan.configs, int)
        for group in plan.groups:
            self._owners[group.configs] = self._names.index(group.optimizer)
        self._tables = plan.tables
        first: dict[str, float] = {}
        self.best = Seldom(self._found, first)

    def sensitivity(self, status: np.ndarray, starts: np.ndarray) -> Sensitivity:
        """Return how the optimizers depend on the learning rate so far.

        Args:
            status: The status of each trial.
            starts: The first value of each trial in the metric's curve; NaN where it has none yet.

        """
        lost = np.isin(status, LEFT_OUT) | np.isinf(self.latest)
        values = np.where(lost, self._sign * np.inf, self.latest)
        medians, diverged = _medians(values), (status == Status.DIVERGED).all(axis=1)
        known = starts[np.isfinite(starts)]
        return Sensitivity(
            {name: Rates(rates, medians[own], diverged[own]) for name, (own, rates) in self._rates.items()},
            float(np.median(known)) if known.size else np.nan,
            self._sign < 0,
        )

    @functools.cached_property
    def _rates(self) -> dict[str, tuple[slice, np.ndarray]]:
        """The configurations and the learning rates of each optimizer that has any."""
        found, first = {}, 0
        for name, table in self._tables.items():
            own = slice(first, first + len(table))
            if RATE in table.columns and len(table.present(RATE)) == len(table):
                found[name] = own, column(labels(table.columns[RATE]))
            first = own.stop
        return found

    def _found(self, status: np.ndarray) -> dict[str, float]:
        counts = np.isfinite(self.latest) & ~np.isin(status, LEFT_OUT)
        least = np.full(len(self._names), np.inf, self.latest.dtype)
        np.minimum.at(least, self._owners, np.where(counts, self._sign * self.latest, np.inf).min(axis=1))
        order = np.argsort(least, kind="stable")
        return {self._names[i]: float(self._sign * least[i]) + 0.0 for i in order if np.isfinite(least[i])}  # not -0.0


def _medians(values: np.ndarray) -> np.ndarray:
    """Return the median of each row without its NaN; NaN where it has nothing else."""
    ordered, counts = np.sort(values, axis=1), (~np.isnan(values)).sum(axis=1)
    ends = np.stack([np.maximum(counts - 1, 0) // 2, counts // 2], axis=1)
    return np.take_along_axis(ordered, ends, axis=1).mean(axis=1)
