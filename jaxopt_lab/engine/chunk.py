"""Chunks: trials that run together."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.trial import TrialState


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """Some configurations of a group by some seeds, at one step; padded to the program's shape when they run.

    Attributes:
        group: The group's number.
        rows: Positions in the group's configs.
        columns: Positions in the seeds.
        first: Steps that the trials have made.
        state: The trials' states on the host, with leading axes (configurations, seeds); None before the first step.
        params: The trials' parameters: see `trial.answer`. None where they are not kept.
        kept: Those of `rows` which `params` are of; None: all of them.

    """

    group: int
    rows: np.ndarray
    columns: np.ndarray
    first: int = 0
    state: TrialState | None = None
    params: Any = None
    kept: np.ndarray | None = None

    @property
    def trials(self) -> int:
        return len(self.rows) * len(self.columns)

    def part(self, rows: slice, columns: slice) -> "Chunk":
        """Return some of its configurations by some of its seeds."""
        state = jax.tree.map(lambda x: x[rows, columns], self.state)
        return dataclasses.replace(self, rows=self.rows[rows], columns=self.columns[columns], state=state)

    def parts(self, strategy: Strategy) -> list["Chunk"]:
        """Divide the chunk into pieces that fit the strategy's shape; the chunk itself where it fits."""
        pieces = lambda n, size: [slice(i, i + size) for i in range(0, n, size)]
        rows, columns = pieces(len(self.rows), strategy.configs), pieces(len(self.columns), strategy.seeds)
        return [self] if len(rows) == len(columns) == 1 else [self.part(r, c) for c in columns for r in rows]

    def halves(self) -> list["Chunk"]:
        """Divide the chunk into two: by seeds where it has several, else by configurations."""
        rows, columns = len(self.rows), len(self.columns)
        whole = slice(None)
        if columns > 1:
            return [self.part(whole, half) for half in (slice(columns // 2), slice(columns // 2, None))]
        return [self.part(half, whole) for half in (slice(rows // 2), slice(rows // 2, None))]

    def standing(self, held: Any) -> "Chunk":
        """Return the chunk with its trials' states from `held`, which has those of all trials of the group."""
        return dataclasses.replace(self, state=jax.tree.map(lambda x: x[np.ix_(self.rows, self.columns)], held))


class OutOfMemoryError(Exception):
    """A device ran out of memory; `chunk` has the trials' last known states."""

    def __init__(self, chunk: Chunk, cause: BaseException):
        super().__init__(str(cause))
        self.chunk = chunk


def cut(group: int, alive: np.ndarray, first: int, strategy: Strategy) -> list[Chunk]:
    """Cut all trials marked in `alive` (configurations, seeds) into chunks of at most the strategy's shape."""
    chunks = []
    for at in range(0, alive.shape[1], strategy.seeds):
        columns = np.arange(at, min(at + strategy.seeds, alive.shape[1]))
        rows = np.flatnonzero(alive[:, columns].any(axis=1))
        count = -(-len(rows) // strategy.configs)
        chunks += [Chunk(group, piece, columns, first) for piece in np.array_split(rows, count)] if count else []
    return chunks
