"""A task's data as chunks get them: arrays on the devices, and the batches of those that the host reads."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_lab.engine.compile.axes import Axes
from jaxopt_lab.engine.compile.program import Program
from jaxopt_lab.engine.devices import devices, on_devices, thread_count
from jaxopt_lab.engine.plan import Segment
from jaxopt_lab.tasks.feeds import Reader, joined, stacked
from jaxopt_lab.tasks.stream_reader import StreamReader
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.settings import enter, of_this_thread


@dataclasses.dataclass(frozen=True, eq=False)
class TaskData:
    """A task's data for one execution.

    Attributes:
        task: The task.
        arrays: `task.data` on the devices.
        reader: Reads the training data on the host; None where programs have them.
        ahead: Threads that read while devices compute.
        seeds: The seeds in the order in which chunks begin.

    """

    task: Task
    arrays: Any
    reader: Reader | None = None
    ahead: concurrent.futures.Executor | None = None
    seeds: tuple[int, ...] = ()

    @classmethod
    def placed(cls, task: Task, most_bytes: int, seeds: Any = ()) -> "TaskData":
        """Copy the data to the devices, and open what the host reads, which keeps at most so many bytes of batches."""
        arrays = on_devices(task.data)
        if task.feed is None:
            return cls(task, arrays)
        pool = concurrent.futures.ThreadPoolExecutor(
            thread_count(devices()), "jaxopt-lab-reads", enter, (of_this_thread(),)
        )
        return cls(task, arrays, task.feed.open(task.name, most_bytes), pool, tuple(map(int, seeds)))

    def expect(self, seeds: Any, first: int, last: int) -> None:
        """Read ahead what a chunk of the seeds that come next begins with: nothing else would hide that."""
        if self.reader is None or self.ahead is None or not isinstance(self.reader, StreamReader):
            return
        after = self.seeds.index(int(np.asarray(seeds)[-1])) + 1 if self.seeds else 0
        for seed in self.seeds[after : after + len(seeds)] if after else ():
            self.ahead.submit(self.reader.read, seed, first, last - first)

    def draws(self, program: Program, seeds: Any, first: int, last: int, length: int) -> Any:
        """Return the draws of a segment's batches, and batches that the host reads: see `Program.draw`."""
        return self.with_batches(
            program, program.draw(seeds, np.int32(first)), self.batches(seeds, first, last, length)
        )

    def batches(self, seeds: Any, first: int, last: int, length: int) -> Any:
        """Read a segment's batches, with axes (seeds, steps), padded to `length` steps; None without a reader."""
        if self.reader is None:
            return None
        found = [self.reader.read(int(seed), first, last - first) for seed in np.asarray(seeds)]
        missing = length - (last - first)
        pad = lambda x: np.pad(x, [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)]) if missing else x
        return jax.tree.map(lambda *x: pad(x[0][None] if len(x) == 1 else stacked(x)), *found)

    def with_batches(self, program: Program, draws: Any, batches: Any) -> Any:
        """Return the draws with the batches that the host has read."""
        if self.reader is None:
            return draws
        drawn, keys = draws
        (batches,) = program.place((batches,), (Axes.SEED,))
        return joined(self.task, drawn, batches), keys

    def at(self, program: Program, seeds: Any, step: int) -> Any:
        """Return the data for an evaluation after `step` steps: where the host reads them, the batch of that step."""
        if self.reader is None:
            return self.arrays
        batches = jax.tree.map(lambda x: x[:, 0], self.batches(seeds, step, step + 1, 1))
        return (*program.place((batches,), (Axes.SEED,)), *self.arrays[1:])

    def close(self) -> None:
        """Release what is open."""
        if self.ahead is not None:
            self.ahead.shutdown(cancel_futures=True)
        if self.reader is not None:
            self.reader.close()


class Feeding:
    """The draws of a chunk's segments, in order; the host reads a segment's batches while the one before runs."""

    def __init__(self, data: TaskData, program: Program, seeds: Any, length: int, segments: Sequence[Segment]):
        self._data, self._program, self._seeds, self._length = data, program, seeds, length
        self._following, self._first = dict(itertools.pairwise(segments)), segments[0] if segments else None
        self._read: tuple[Segment, concurrent.futures.Future] | None = None

    def draws(self, segment: Segment) -> Any:
        draws = self._program.draw(self._seeds, np.int32(segment.first))
        if self._data.ahead is None:
            return draws
        found = self._read[1].result() if self._read and self._read[0] == segment else self._batches(segment)
        following = self._following.get(segment)
        self._read = None if following is None else (following, self._data.ahead.submit(self._batches, following))
        if following is None and self._first is not None:
            self._data.expect(self._seeds, self._first.first, self._first.last)
        return self._data.with_batches(self._program, draws, found)

    def _batches(self, segment: Segment) -> Any:
        return self._data.batches(self._seeds, segment.first, segment.last, self._length)
