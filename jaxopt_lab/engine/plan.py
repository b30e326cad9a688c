"""What will run: groups of equal structure, cut into chunks of one shape, and the steps at which the host looks."""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import MOST, check_count
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.devices import devices, on_cores, worker_count
from jaxopt_lab.engine.stopping import StopRule
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import Structure, traced_step
from jaxopt_lab.trial import RISE, Stop

MOST_SEGMENT_STEPS = 512  # between two looks of the host, which take time
LEAST_SEGMENT_STEPS = 16  # of steps that take long: so many are wanted at once, since a program takes a moment to begin
SEGMENT_SECONDS = 0.05  # of a CPU at the most, as roughly foreseen: who shows progress or stops a sweep is waiting
CPU_CACHE_BYTES = 2**22  # what a chunk works on at once may fill on a CPU: a share of its last cache; measured
OWN_BYTES = 2**23  # up to this, trials of an accelerator's chunk have copies of the batch: where starting work is dear
STEP_TRIALS = 2.5  # what a chunk's step costs beside its trials, in trials: measured with small networks
WORKING_COPIES = 4  # of a trial's parameters and of its largest intermediate result: what a step works on at once
BYTES_PER_SECOND = {"cpu": 1e10, "accelerator": 1e12}  # that a step gets through, on one core or on all devices
MOST_TRIALS = {"cpu": 512, "accelerator": 2**16}
STATE_COPIES = 16  # of the same: a guess at all that a trial takes, before a compiled program tells
KEPT_CURVE_BYTES = 2**28
KEPT_PARAMS_BYTES = 2**28


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
        tables: The configurations of each optimizer, by name, in the order of their numbers.
        seeds: Each configuration is trained with every seed.
        steps: The budget of a trial.
        target, tolerance: See `trial.Stop`; minus infinity and None where there is none.
        diverged_above: A training loss above it is divergence; "auto": so is one that has risen by `trial.RISE`, see
            `trial.Stop`; None: no finite loss is.
        nonfinite: How many steps in a row with a loss or gradient that is not finite are skipped.
        record_steps, eval_steps: Where the training loss is kept, and where held-out data are evaluated.
        segment_length: The most steps between two looks of the host.
        keep_params: Whether final parameters are kept.
        stop: The rule that ends trials by comparing them, if any.
        compared: What it compares, and 1 where less is better, -1 where more is.
        strategy: One of STRATEGIES for every group, or None: whichever is measured to be fastest.
        chunk: Trials at once, or None: as memory and caches allow.
        memory: What the sweep may take, in bytes, on the accelerators (on the host where there are none).
        cache: Whether compiled programs and measured strategies are kept on disk.
        workers: Processes elsewhere, of one core or accelerator each, that run chunks; None: this one runs them.

    """

    groups: Sequence[Group]
    tables: Mapping[str, Configurations]
    seeds: np.ndarray
    steps: int
    target: float
    tolerance: float | None
    record_steps: np.ndarray
    eval_steps: np.ndarray
    segment_length: int
    keep_params: bool
    diverged_above: float | str | None = "auto"
    nonfinite: int = 0
    stop: StopRule | None = None
    compared: tuple[str, int] = ("train_loss", 1)
    strategy: str | None = None
    chunk: int | None = None
    memory: int = 2**33
    cache: bool = True
    workers: int | None = None

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

    @property
    def ending(self) -> Stop:
        """When trials end before their budget, as arguments of programs."""
        number = jnp.result_type(float).type
        above = self.diverged_above
        return Stop(
            target=number(self.target),
            tolerance=None if self.tolerance is None else number(self.tolerance),
            rise=number(RISE if above == "auto" else np.inf),
            ceiling=number(above if isinstance(above, float) else np.inf),
            skips=np.int32(self.nonfinite) if self.nonfinite else None,
        )

    @property
    def uneven(self) -> bool:
        """Whether some segments are shorter than others."""
        return any(segment.last - segment.first != self.segment_length for segment in self.segments)

    @functools.cached_property
    def pools(self) -> list[Pool]:
        """Without a rule that compares trials, every group runs on its own."""
        if self.stop is None:
            return [Pool({n: np.arange(len(g.configs))}, np.zeros(0, int)) for n, g in enumerate(self.groups)]
        pools = []
        for name in dict.fromkeys(group.optimizer for group in self.groups):
            numbers = [n for n, group in enumerate(self.groups) if group.optimizer == name]
            order = np.argsort(np.concatenate([self.groups[n].configs for n in numbers]))
            owner = np.concatenate([np.full(len(self.groups[n].configs), n) for n in numbers])[order]
            row = np.concatenate([np.arange(len(self.groups[n].configs)) for n in numbers])[order]
            for members, rungs in self.stop.brackets(len(owner), self.steps):
                rows = {n: row[members][owner[members] == n] for n in numbers}
                pools.append(Pool({n: r for n, r in rows.items() if len(r)}, rungs))
        return pools

    def first_strategy(self, group: Group) -> Strategy:
        """What to try first: as many trials at once as caches and memory allow, one compiled loop a segment.

        One seed where that fills a chunk: all its configurations then share its batch, which pays for small models.
        """
        used = devices()
        configs, seeds = len(group.configs), len(self.seeds)
        if self.strategy is not None and self.strategy.endswith("_each"):
            return self.each_alone(group, self.strategy.removesuffix("_each"))
        if self.chunk is not None:
            trials = self.chunk
        else:
            trials, each = MOST_TRIALS["accelerator"], working_bytes(group)
            if on_cores(used):  # what is used again and again stays in cache, and every core has something to do
                trials = min(MOST_TRIALS["cpu"], CPU_CACHE_BYTES // each)
            trials = min(trials, math.ceil(configs * seeds / self.at_once))
            trials = min(trials, self.memory // (worker_count(used) * STATE_COPIES // WORKING_COPIES * each))
        own = owns(group, trials)
        return self.fitted(group, Strategy(self.strategy or "scan", 1, 1, own, self._one_core(0)), max(1, trials))

    def stages(self, group: Group) -> Mapping[int, int]:
        """For how many steps the stop rule leaves how many of the group's configurations, where none ends by itself."""
        number, found = self.groups.index(group), collections.Counter[int]()
        for pool in (pool for pool in self.pools if number in pool.rows):
            rows, everyone = len(pool.rows[number]), sum(map(len, pool.rows.values()))
            at, left = 0, everyone
            for rung in (*pool.rungs.tolist(), self.steps):
                found[round(rows * left / everyone)] += rung - at
                at, left = rung, self.stop.kept(left) if self.stop else left
        return found

    def fitted(self, group: Group, like: Strategy, most: int, stages: Mapping[int, int] | None = None) -> Strategy:
        """The strategy with chunks of at most `most` trials, as take the least time, padding and idle cores included.

        Of all stages: what is left of a race pays for chunks that were too large for it. Devices share a chunk evenly,
        for which it may be larger by less than one trial each.
        """
        sharing, at_once = 1 if self.workers else len(devices()), self.at_once
        stages, best = self.stages(group) if stages is None else stages, None
        ways = 5 if len(stages) == 1 else max(5, 8 * math.ceil(max(stages) / most))  # of a race, down to an eighth
        for configs in _pieces(max(stages), most, ways):
            for seeds in _pieces(len(self.seeds), max(1, most // configs), 5):
                shape = self._shared(configs, seeds, sharing)
                columns = math.ceil(len(self.seeds) / shape[0])
                turns = (math.ceil(math.ceil(n / shape[1]) * columns / at_once) * steps for n, steps in stages.items())
                cost = sum(turns) * (shape[0] * shape[1] + STEP_TRIALS)
                chunks = math.ceil(len(group.configs) / shape[1]) * columns
                found = cost, shape, like.one_core if self.workers else self._one_core(chunks)
                best = min(best or found, found)
        assert best is not None
        (seeds, configs), own = best[1], like.own and best[1][1] > 1
        return dataclasses.replace(like, seeds=seeds, configs=configs, own=own, one_core=best[2])

    def each_alone(self, group: Group, loop: str) -> Strategy:
        """Chunks of one trial."""
        return Strategy(loop, 1, 1, one_core=self._one_core(len(group.configs) * len(self.seeds)))

    @property
    def at_once(self) -> int:
        """Chunks that run side by side without sharing what computes them: those of one accelerator share it."""
        if self.workers:
            return self.workers
        return worker_count(devices()) if on_cores(devices()) else 1

    def _one_core(self, chunks: int) -> bool:
        """Whether so many chunks leave no core idle that keep to one each; a worker elsewhere has no other."""
        return on_cores(devices()) and (bool(self.workers) or 1 < self.at_once <= chunks)

    def _shared(self, configs: int, seeds: int, count: int) -> tuple[int, int]:
        """The shape (seeds, configurations), one of them padded to a multiple of the devices."""
        if configs >= count or seeds == 1:
            return seeds, math.ceil(configs / count) * count
        return math.ceil(seeds / count) * count, configs


def working_bytes(group: Group) -> int:
    """Roughly what a step of one trial works on at once."""
    traced = traced_step(group.structure, group.optimizer)
    return WORKING_COPIES * (max(traced.params_bytes, 1) + traced.largest_bytes)


def step_seconds(group: Group) -> float:
    """Roughly what a trial-step takes, and rather less: what it works on, once through memory or a cache."""
    return working_bytes(group) / BYTES_PER_SECOND["cpu" if devices()[0].platform == "cpu" else "accelerator"]


def may_own(group: Group) -> bool:
    """Whether trials can have a copy of their batch: of examples, not of what costs to make, nor of all data."""
    task = group.structure.task
    return task.batch_size is not None and not callable(task.train)


def owns(group: Group, trials: int) -> bool:
    """Whether so many trials at once do where nothing else was measured: a few on an accelerator."""
    used = devices()
    return may_own(group) and not on_cores(used) and trials * working_bytes(group) <= OWN_BYTES * len(used)


def steps_at(stride: int | None, steps: int, most: int) -> np.ndarray:
    """0, stride, 2 stride, ... and always the last; by default the smallest stride that gives at most `most` points."""
    stride = math.ceil(steps / max(1, most - 1)) if stride is None else stride
    check_count(f"The points of a curve of {steps} steps, one every {stride},", math.ceil(steps / stride), most=MOST)
    return np.append(np.arange(0, steps, stride), steps).astype(np.int32)


def segment_length(plan: Plan, platform: str | None = None) -> int:
    """One length for all segments of a plan: the longest way between two evaluations, cut into equal pieces.

    As suits the platform, by default that of this process: "cpu", or anything else.
    """
    most, longest = MOST_SEGMENT_STEPS, int(np.diff(plan.eval_steps).max())
    if (platform or devices()[0].platform) == "cpu":  # by what is the same in every process: not by free memory
        seconds = max(step_seconds(group) for group in plan.groups) * (plan.chunk or 1)
        most = int(np.clip(SEGMENT_SECONDS / seconds, LEAST_SEGMENT_STEPS, MOST_SEGMENT_STEPS))
    return math.ceil(longest / math.ceil(longest / most))


def _pieces(n: int, most: int, ways: int) -> list[int]:
    """Sizes, at most `most`, that cut n things into the fewest pieces of about one size, one more, and so on."""
    fewest = math.ceil(n / most)
    return list(dict.fromkeys(math.ceil(n / count) for count in range(fewest, min(n, fewest + ways - 1) + 1)))
