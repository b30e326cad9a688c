"""Where optimizers stand while a sweep runs: the best trial of each so far, by the metric that the sweep selects by."""

import time

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.trial import Status

EVERY = 1.0  # seconds between two looks at all trials
SHARE = 0.01  # of the time that these looks may take
LEFT_OUT = (Status.DIVERGED, Status.FAILED, Status.STOPPED)  # a leaderboard scores them worst, too


class Standing:
    """The latest value of each trial, and the best of each optimizer's.

    Attributes:
        metric: The metric that the sweep selects by.
        latest: Each trial's latest value in this metric's curve; NaN where it has none yet.

    """

    def __init__(self, plan: Plan):
        self.metric, self._sign = plan.selects_by
        self.latest = np.full((plan.configs, len(plan.seeds)), np.nan, jnp.result_type(float))
        self._names = list(dict.fromkeys(group.optimizer for group in plan.groups))
        self._owners = np.zeros(plan.configs, int)
        for group in plan.groups:
            self._owners[group.configs] = self._names.index(group.optimizer)
        self._best: dict[str, float] = {}
        self._next = 0.0  # when to look again

    def best(self, status: np.ndarray, now: bool = False) -> dict[str, float]:
        """Return the best of each optimizer, best first, given the trials' statuses.

        Args:
            status: The status of each trial.
            now: Whether to look at all trials in any case; otherwise the last answer counts for a second, or for longer
                where it took long to find.

        """
        began = time.perf_counter()
        if now or began >= self._next:
            self._best = self._found(status)
            self._next = began + max(EVERY, (time.perf_counter() - began) / SHARE)
        return self._best

    def _found(self, status: np.ndarray) -> dict[str, float]:
        counts = np.isfinite(self.latest) & ~np.isin(status, LEFT_OUT)
        least = np.full(len(self._names), np.inf, self.latest.dtype)
        np.minimum.at(least, self._owners, np.where(counts, self._sign * self.latest, np.inf).min(axis=1))
        order = np.argsort(least, kind="stable")
        return {self._names[i]: float(self._sign * least[i]) + 0.0 for i in order if np.isfinite(least[i])}  # not -0.0
