"""Methods of search: the protocol of what suggests configurations and is told their losses; two that do not learn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxopt_lab.sweep.search_space import SearchSpace


@runtime_checkable
class SearchMethod(Protocol):
    """A method that suggests configurations: the protocol of `method=` of `jl.search`.

    Your own method derives from this class, or has the same methods. A search copies it for each optimizer, and calls
    `start` once, and then `ask` and `tell` in turn. What it suggests must depend only on its own settings, the space,
    the seed and what it has been told: a search that resumes asks again and tells again, and compares.
    """

    def start(self, space: SearchSpace, seed: int) -> None:
        """Begin a search of the space; random numbers come from the seed alone."""
        ...

    def ask(self, n: int) -> Sequence[Mapping[str, Any]]:
        """Return `n` configurations, each a dict from hyperparameter to value: see `jl.SearchSpace.at`."""
        ...

    def tell(self, configurations: Sequence[Mapping[str, Any]], losses: np.ndarray, statuses: Sequence[str]) -> None:
        """Learn how the configurations that were asked for last have ended.

        Args:
            configurations: All of them, in the order in which they were returned.
            losses: Shape (n,): the mean over seeds of what `leaderboard` selects by, at the end of training. Less is
                better: a metric of which more is better has its sign changed. It is +inf, never NaN, where a trial has
                diverged, failed or has no value: the worst. Of a trial that a stop rule ended, it counts the last
                value before that, which more steps might have improved: such a loss is censored.
            statuses: The status of each configuration: of its seeds' statuses, the first of "failed", "diverged",
                "stopped", "plateau", "converged", "reached" and "completed". "stopped" marks the losses that are
                censored.

        """
        ...


class Random:
    """Independent random draws: uniform in each dimension's own spacing."""

    def start(self, space: SearchSpace, seed: int) -> None:
        self._space, self._draws = space, np.random.default_rng(seed)

    def ask(self, n: int) -> list[dict[str, Any]]:
        return self._space.at(self._draws.random((n, len(self._space))))

    def tell(self, configurations: Any, losses: Any, statuses: Any) -> None:
        """Learn nothing."""


class Sobol:
    """The points of one scrambled Sobol sequence: see `jl.sobol`."""

    def start(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed, self._asked = space, seed, 0

    def ask(self, n: int) -> list[dict[str, Any]]:
        from scipy.stats import qmc

        first, self._asked = self._asked, self._asked + n
        sequence = qmc.Sobol(len(self._space), rng=np.random.default_rng(self._seed))
        return self._space.at(sequence.random_base2(math.ceil(math.log2(self._asked)))[first : self._asked])

    def tell(self, configurations: Any, losses: Any, statuses: Any) -> None:
        """Learn nothing."""
