"""What will run: groups of equal structure, cut into chunks of one shape, and the steps at which the host looks."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_lab.engine.devices import devices, on_cores, worker_count
from jaxopt_lab.engine.stopping import StopRule
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory

SEGMENT_STEPS = 64  # at most so many steps between two looks of the host
CPU_CACHE_BYTES = 2**19  # what a chunk's parameters and moments may fill on a CPU: small chunks stay in cache
MOST_TRIALS = {"cpu": 512, "accelerator": 2**16}
STATE_COPIES = 16  # of a trial's parameters: a guess at all that a trial takes, before a compiled program tells
KEPT_CURVE_BYTES = 2**28
KEPT_PARAMS_BYTES = 2**28
LOOPS = ("scan", "steps")
STRATEGIES = ("scan", "steps", "scan_each", "steps_each")


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


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How the trials of one structure run.

    Attributes:
        loop: "scan": a segment is one compiled loop; "steps": the host calls a compiled step again and again, which
            costs a call a step, and pays where the compiler makes less of a loop's body than of the same code alone.
        seeds: Of a chunk.
        configs: Of a chunk. One seed and one configuration: each trial runs alone.

    """

    loop: str
    seeds: int
    configs: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.seeds, self.configs

    @property
    def trials(self) -> int:
        return self.seeds * self.configs

    def __str__(self) -> str:
        return f"{self.loop} of {self.seeds} x {self.configs}" if self.trials > 1 else f"{self.loop}, each trial alone"


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Configurations of one structure."""

    structure: Structure
    optimizer: str
    configs: np.ndarray  # their numbers in the whole sweep
    values: Mapping[str, np.ndarray]  # traced hyperparameters by name, one value a configuration


@dataclasses.dataclass(frozen=True)
class Segment:
    """Steps first to last - 1, run without a look of the host; `evaluate` afterwards?"""

    first: int
    last: int
    evaluate: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Configurations that a stop rule compares: all of one optimizer, or of one of its brackets.

    Attributes:
        rows: Of each group in it, by the group's number: positions in the group's configs.
        rungs: The steps at which the rule looks, all of them before the last step.

    """

    rows: Mapping[int, np.ndarray]
    rungs: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the engine needs to know.

    Attributes:
        groups: What to train.
        seeds: Each configuration is trained with every seed.
        steps: The budget of a trial.
        target, tolerance: See `trial.Stop`; minus infinity and None where there is none.
        record_steps, eval_steps: Where the training loss is kept, and where held-out data are evaluated.
        segment_length: The most steps between two looks of the host.
        keep_params: Whether final parameters are kept.
        stop: The rule that ends trials by comparing them, if any.
        compared: What it compares, and 1 where less is better, -1 where more is.
        strategy: One of STRATEGIES for every group, or None: whichever is measured to be fastest.
        chunk: Trials at once, or None: as memory and caches allow.
        memory: What the sweep may take, in bytes, on the accelerators (on the host where there are none).
        cache: Whether compiled programs and measured strategies are kept on disk.

    """

    groups: Sequence[Group]
    seeds: np.ndarray
    steps: int
    target: float
    tolerance: float | None
    record_steps: np.ndarray
    eval_steps: np.ndarray
    segment_length: int
    keep_params: bool
    stop: StopRule | None = None
    compared: tuple[str, int] = ("train_loss", 1)
    strategy: str | None = None
    chunk: int | None = None
    memory: int = 2**33
    cache: bool = True

    @property
    def configs(self) -> int:
        return sum(len(group.configs) for group in self.groups)

    @property
    def trials(self) -> int:
        return self.configs * len(self.seeds)

    @functools.cached_property
    def segments(self) -> list[Segment]:
        """From one evaluation to the next in pieces of at most `segment_length` steps."""
        segments = []
        for start, end in zip(self.eval_steps[:-1].tolist(), self.eval_steps[1:].tolist(), strict=True):
            for first in range(start, end, self.segment_length):
                last = min(first + self.segment_length, end)
                segments.append(Segment(first, last, last == end))
        return segments

    @functools.cached_property
    def pools(self) -> list[Pool]:
        """Without a rule that compares trials, every group runs on its own."""
        if self.stop is None:
            return [Pool({n: np.arange(len(g.configs))}, np.zeros(0, int)) for n, g in enumerate(self.groups)]
        pools = []
        for name in dict.fromkeys(group.optimizer for group in self.groups):
            numbers = [n for n, group in enumerate(self.groups) if group.optimizer == name]
            owner = np.concatenate([np.full(len(self.groups[n].configs), n) for n in numbers])
            row = np.concatenate([np.arange(len(self.groups[n].configs)) for n in numbers])
            for members, rungs in self.stop.brackets(len(owner), self.steps):
                rows = {n: row[members][owner[members] == n] for n in numbers}
                pools.append(Pool({n: r for n, r in rows.items() if len(r)}, rungs))
        return pools

    def first_strategy(self, group: Group) -> Strategy:
        """What to try first: as many trials at once as caches and memory allow, one compiled loop a segment.

        One seed where that fills a chunk: all its configurations then share its batch.
        """
        used = devices()
        configs, seeds = len(group.configs), len(self.seeds)
        if self.strategy is not None and self.strategy.endswith("_each"):
            return Strategy(self.strategy.removesuffix("_each"), 1, 1)
        size = max(params_bytes(group.structure.task), 1)
        if on_cores(used):  # something to do for every core
            trials = min(
                MOST_TRIALS["cpu"], CPU_CACHE_BYTES // (4 * size), math.ceil(configs * seeds / worker_count(used))
            )
        else:
            trials = MOST_TRIALS["accelerator"]
        trials = (
            min(trials, self.memory // (worker_count(used) * STATE_COPIES * size)) if self.chunk is None else self.chunk
        )
        return self.fitted(group, self.strategy or "scan", max(1, trials))

    def fitted(self, group: Group, loop: str, trials: int) -> Strategy:
        """A chunk of about `trials` trials that cuts the group evenly, and that the devices can share evenly."""
        configs = _even_share(len(group.configs), trials)
        seeds = _even_share(len(self.seeds), max(1, trials // configs))
        count = len(devices())
        if configs >= count or seeds == 1:
            configs = math.ceil(configs / count) * count
        else:
            seeds = math.ceil(seeds / count) * count
        return Strategy(loop, seeds, configs)


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
