"""The parameters that a sweep keeps of its trials: of all, or of the best configurations of each optimizer."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxopt_lab.engine.chunk import Chunk
from jaxopt_lab.engine.devices import devices
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.trial import Status


class KeptParams:
    """The latest parameters of all trials."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._shapes = [(len(group.configs), len(plan.seeds)) for group in plan.groups]
        self._unknown = [np.ones(shape, bool) for shape in self._shapes]
        self._params: list[Any] = [None] * len(plan.groups)

    def add(self, chunk: Chunk) -> Chunk:
        """Take the parameters of a chunk's trials; return the chunk with those that may be needed in the end."""
        group, rows, columns = chunk.group, chunk.rows, chunk.columns
        self._unknown[group][np.ix_(rows, columns)] = False
        self._params[group] = scattered(self._shapes[group], self._params[group], rows, columns, chunk.params)
        return chunk

    def all(self) -> list[tuple[np.ndarray, Any]]:
        """Return what is kept, by groups: the numbers of configurations, and their parameters by seed.

        The parameters of trials that never began are NaN, or 0 where they are integers.
        """
        kept = []
        for group, unknown, params in zip(self.plan.groups, self._unknown, self._params, strict=True):
            if params is not None:
                kept.append((group.configs, _without(params, unknown)))
        return kept


class BestParams(KeptParams):
    """The latest parameters of the best configurations of each optimizer; of others only until that is known.

    A configuration can be compared when all its trials have ended. Until then its parameters stay, so that memory holds
    those of the best, and of configurations whose trials are under way. With a stop rule these are all until a rung,
    where the states of all trials are held, too.
    """

    def __init__(self, plan: Plan, most: int, status: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]):
        """Make an empty one.

        Args:
            plan: The plan that runs.
            most: How many configurations of each optimizer to keep.
            status: The status of each trial of the plan, as it changes.
            scores: Returns the score of each trial, lower is better, of the configurations with these numbers.

        """
        super().__init__(plan)
        self._most, self._status, self._scores = most, status, scores
        self._over = [np.zeros(shape, bool) for shape in self._shapes]
        self._rows: list[dict[int, Any]] = [{} for _ in plan.groups]  # parameters by seed, by row
        self._of_optimizer = {
            name: [n for n, group in enumerate(plan.groups) if group.optimizer == name]
            for name in dict.fromkeys(group.optimizer for group in plan.groups)
        }

    def add(self, chunk: Chunk) -> Chunk:
        number, columns = chunk.group, chunk.columns
        group, here, shape = self.plan.groups[number], self._rows[number], (1, len(self.plan.seeds))
        if chunk.first == self.plan.of(group).steps:
            self._over[number][np.ix_(chunk.rows, columns)] = True
        rows = chunk.rows if chunk.kept is None else chunk.kept
        for i, row in enumerate(rows.tolist()):
            if self.plan.stop is not None or self._ended(number, row)[columns].any():
                self._unknown[number][row, columns] = False
                own = jax.tree.map(lambda x, i=i: np.array(x[i : i + 1]), chunk.params)  # not the whole chunk's memory
                here[row] = scattered(shape, here.get(row), np.zeros(1, int), columns, own)
        self._drop(group.optimizer)
        stay = np.isin(rows, list(here))
        return dataclasses.replace(chunk, kept=rows[stay], params=jax.tree.map(lambda x: x[stay], chunk.params))

    def _ended(self, group: int, row: int) -> np.ndarray:
        """Return which trials of a configuration have ended, by seed."""
        return self._over[group][row] | (self._status[self.plan.groups[group].configs[row]] != Status.RUNNING)

    def _drop(self, optimizer: str) -> None:
        """Drop the parameters of configurations that are not among the best of those whose trials have all ended."""
        mine = [(n, row) for n in self._of_optimizer[optimizer] for row in self._rows[n]]
        found = [(n, row) for n, row in mine if self._ended(n, row).all()]
        if len(found) <= self._most:
            return
        numbers = np.asarray([self.plan.groups[n].configs[row] for n, row in found])
        order = np.lexsort((numbers, np.median(self._scores(numbers), axis=1)))  # the first of equals is the best
        for i in order[self._most :].tolist():
            n, row = found[i]
            del self._rows[n][row]

    def all(self) -> list[tuple[np.ndarray, Any]]:
        kept = []
        for optimizer in self._of_optimizer:
            self._drop(optimizer)
        for group, unknown, known in zip(self.plan.groups, self._unknown, self._rows, strict=True):
            if rows := sorted(known):
                params = jax.tree.map(lambda *of_rows: np.concatenate(of_rows), *(known[row] for row in rows))
                kept.append((group.configs[rows], _without(params, unknown[rows])))
        return kept


def scattered(shape: tuple[int, int], into: Any, rows: np.ndarray, columns: np.ndarray, values: Any) -> Any:
    """Write some trials' values into arrays with leading axes `shape`; make these where there are none yet."""
    if (len(rows), len(columns)) == shape:  # an accelerator's values are copies already
        return jax.tree.map(np.array, values) if devices()[0].platform == "cpu" else values
    if into is None:
        into = jax.tree.map(lambda x: np.empty((*shape, *x.shape[2:]), x.dtype), values)
    into = jax.tree.map(lambda x: x if x.flags.writeable else np.array(x), into)
    jax.tree.map(lambda kept, x: kept.__setitem__(np.ix_(rows, columns), x), into, values)
    return into


def _without(params: Any, unknown: np.ndarray) -> Any:
    """Overwrite the parameters of trials that never began, because the sweep was interrupted."""
    if unknown.any():
        jax.tree.map(lambda x: x.__setitem__(unknown, np.nan if x.dtype.kind in "fcV" else 0), params)
    return params
