"""What will run: groups of equal structure, cut into chunks of one shape, and the steps at which the host looks."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory

SEGMENT_STEPS = 64  # at most so many steps between two looks of the host
CPU_CACHE_BYTES = 2**19  # what a chunk's parameters and moments may fill on a CPU: small chunks stay in cache
DEVICE_BYTES = 2**33  # the same on an accelerator, where only memory limits a chunk
MOST_TRIALS = {"cpu": 512, "accelerator": 2**16}
KEPT_CURVE_BYTES = 2**28
KEPT_PARAMS_BYTES = 2**28


@dataclasses.dataclass(frozen=True)
class Structure:
    """All that a program is compiled for; trials of one structure differ in numbers only."""

    factory: OptimizerFactory
    static: tuple[tuple[str, type, Any], ...]  # with the types, for 1 and True are equal
    names: tuple[str, ...]  # traced hyperparameters
    task: Task

    def optimizer(self, values: Mapping[str, Any]) -> Any:
        """What the factory makes of the structural values and these numbers."""
        return self.factory(**{name: value for name, _, value in self.static}, **values)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Configurations of one structure."""

    structure: Structure
    optimizer: str
    configs: np.ndarray  # their numbers in the whole sweep
    values: Mapping[str, np.ndarray]  # traced hyperparameters by name, one value a configuration


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """Trials that run together: some configurations of a group by some seeds, padded to the group's chunk shape."""

    group: int
    rows: np.ndarray  # positions in the group's configs
    columns: np.ndarray  # positions in the seeds


@dataclasses.dataclass(frozen=True)
class Segment:
    """Steps first to last - 1, run without a look of the host; `evaluate` afterwards?"""

    first: int
    last: int
    evaluate: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the engine needs to know."""

    groups: Sequence[Group]
    seeds: np.ndarray
    steps: int
    target: float
    tolerance: float | None
    record_steps: np.ndarray
    eval_steps: np.ndarray
    segment_length: int
    keep_params: bool

    @property
    def configs(self) -> int:
        return sum(len(group.configs) for group in self.groups)

    @property
    def trials(self) -> int:
        return self.configs * len(self.seeds)

    @property
    def segments(self) -> list[Segment]:
        """From one evaluation to the next in pieces of at most `segment_length` steps."""
        segments = []
        for start, end in zip(self.eval_steps[:-1].tolist(), self.eval_steps[1:].tolist(), strict=True):
            for first in range(start, end, self.segment_length):
                last = min(first + self.segment_length, end)
                segments.append(Segment(first, last, last == end))
        return segments

    def chunk_shape(self, group: Group) -> tuple[int, int]:
        """(seeds, configurations) of a chunk. One seed where that fills it: all configurations then share its batch."""
        cpu = default_device().platform == "cpu"
        most = MOST_TRIALS["cpu" if cpu else "accelerator"]
        room = (CPU_CACHE_BYTES if cpu else DEVICE_BYTES) // (4 * max(params_bytes(group.structure.task), 1))
        trials = max(1, min(most, room))
        if cpu:  # something to do for every core
            trials = min(trials, max(1, math.ceil(len(group.configs) * len(self.seeds) / worker_count())))
        configs = _even_share(len(group.configs), trials)
        return _even_share(len(self.seeds), max(1, trials // configs)), configs

    def chunks(self, number: int) -> list[Chunk]:
        """The chunks of group `number`."""
        group = self.groups[number]
        seeds, configs = self.chunk_shape(group)
        pieces = lambda n, size: [np.arange(i, min(i + size, n)) for i in range(0, n, size)]
        return [
            Chunk(number, r, c) for c in pieces(len(self.seeds), seeds) for r in pieces(len(group.configs), configs)
        ]


def default_device() -> Any:
    """Where JAX puts what it is not told to put elsewhere."""
    return next(iter(jnp.zeros([]).devices()))


def worker_count() -> int:
    """How many chunks run at once: one a core on a CPU, one on an accelerator."""
    if default_device().platform != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def params_bytes(task: Task) -> int:
    """Size of one trial's parameters."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def steps_at(stride: int | None, steps: int, most: int) -> np.ndarray:
    """0, stride, 2 stride, ... and always the last; by default the smallest stride that gives at most `most` points."""
    stride = math.ceil(steps / max(1, most - 1)) if stride is None else stride
    return np.unique([*range(0, steps, stride), steps]).astype(np.int32)


def segment_length(eval_steps: np.ndarray) -> int:
    """One length for all segments: the longest way between two evaluations, cut into equal pieces."""
    longest = int(np.diff(eval_steps).max())
    return math.ceil(longest / math.ceil(longest / SEGMENT_STEPS))


def _even_share(n: int, most: int) -> int:
    """The smallest chunk of n things that makes no more chunks than chunks of `most` would."""
    return math.ceil(n / math.ceil(n / most))
