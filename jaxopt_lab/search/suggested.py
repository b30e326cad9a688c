"""What one optimizer's method of search has suggested, and what it is told."""

import copy
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, concerning
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, last_value, score
from jaxopt_lab.search.methods import SearchMethod
from jaxopt_lab.sweep.search_space import SearchSpace
from jaxopt_lab.tracing.caching import exact

KIND = "search"  # of tables of configurations
STATUSES = ("failed", "diverged", "stopped", "plateau", "converged", "reached", "completed")  # the first one counts


class Suggested:
    """The suggestions of one optimizer's method; one that comes again is not run again, but told again."""

    def __init__(self, optimizer: str, method: SearchMethod, space: SearchSpace, key: int):
        self.space, self._optimizer = space, optimizer
        self._known: dict[Any, tuple[float, str]] = {}  # the loss and status of each configuration
        self._asked: Sequence[Mapping[str, Any]] = []
        self._keys: list[Any] = []
        self._new: dict[Any, Mapping[str, Any]] = {}  # of the last round, not run yet
        self._method = copy.deepcopy(method)
        self._method.start(space, seed_of(key, optimizer))

    def ask(self, n: int) -> Configurations | None:
        """Ask for `n` configurations; return those that are new, None where there are none."""
        with concerning("method"):
            found = self._method.ask(n)
            if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != n:
                raise ArgumentTypeError(
                    f"{type(self._method).__name__}.ask({n}) must return a list of {n} configurations, got "
                    f"{quoted(found)}."
                )
            table = self.space.table(found, KIND)
        rows = [{name: values[i] for name, values in table.columns.items()} for i in range(n)]
        self._asked, self._keys = found, [exact(sorted(row.items())) for row in rows]
        new = {key: i for i, key in reversed([*enumerate(self._keys)]) if key not in self._known}
        places = sorted(new.values())  # of each new one, the first
        self._new = {self._keys[i]: found[i] for i in places}
        columns = {name: [values[i] for i in places] for name, values in table.columns.items()}
        return Configurations(columns, table.static, KIND, table.described) if places else None

    def tell(self, results: Results | None) -> None:
        """Tell the method how the suggestions ended; `results` has the new ones, in the order of their table."""
        if self._new:
            assert results is not None
            losses, statuses = told(results, self._optimizer)
            self._known |= dict(zip(self._new, zip(losses.tolist(), statuses, strict=True), strict=True))
        ended = [self._known[key] for key in self._keys]
        self._method.tell(self._asked, np.array([loss for loss, _ in ended]), [status for _, status in ended])


def told(results: Results, optimizer: str) -> tuple[np.ndarray, list[str]]:
    """Return the losses and statuses of an optimizer's configurations, as `SearchMethod.tell` gets them."""
    dataset, metric = results.dataset, default_metric(results.dataset)
    rows = dataset["optimizer"].values == optimizer
    status = dataset["status"].transpose("config", "seed").values[rows]
    values = score(dataset, metric).transpose("config", "seed").values[rows]
    before = last_value(dataset[metric].transpose("config", "seed", ...).values[rows])  # where a rule ended it
    values = np.where((status == "stopped") & np.isfinite(before), before, values).astype(float)
    losses = (-values if greater_is_better(dataset, metric) else values).mean(axis=1)
    statuses = [next(s for s in STATUSES if s in own) for own in status.tolist()]
    return np.where(np.isnan(losses), np.inf, losses), statuses


def seed_of(key: int, optimizer: str) -> int:
    """Return the seed of an optimizer's method: the same whatever else is searched."""
    return int(np.random.SeedSequence([key, zlib.crc32(optimizer.encode())]).generate_state(1)[0])
