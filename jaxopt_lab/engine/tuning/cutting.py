"""How trials are cut: how many run at once, in chunks of which shape, and how long segments are.

By rules that give the same in every process, not by measurement; what is measured is in `probe`.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jaxopt_lab.engine.devices import devices, on_cores, thread_count
from jaxopt_lab.engine.plan import Group, Plan
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import traced_step

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


def first_strategy(plan: Plan, group: Group) -> Strategy:
    """What to try first: as many trials at once as caches and memory allow, one compiled loop a segment.

    One seed where that fills a chunk: all its configurations then share its batch, which pays for small models.
    """
    used = devices()
    configs, seeds = len(group.configs), len(plan.seeds)
    if plan.strategy is not None and plan.strategy.endswith("_each"):
        return each_alone(plan, group, plan.strategy.removesuffix("_each"))
    if plan.chunk is not None:
        trials = plan.chunk
    else:
        trials, each = MOST_TRIALS["accelerator"], working_bytes(group)
        if on_cores(used):  # what is used again and again stays in cache, and every core has something to do
            trials = min(MOST_TRIALS["cpu"], CPU_CACHE_BYTES // each)
        trials = min(trials, math.ceil(configs * seeds / at_once(plan)))
        trials = min(trials, plan.memory // (thread_count(used) * STATE_COPIES // WORKING_COPIES * each))
    own = owns(group, trials)
    return fitted(plan, group, Strategy(plan.strategy or "scan", 1, 1, own, _one_core(plan, 0)), max(1, trials))


def stage_sizes(plan: Plan, group: Group) -> Mapping[int, int]:
    """For how many steps the stop rule leaves how many of the group's configurations, where none ends by itself."""
    number, found = plan.groups.index(group), collections.Counter[int]()
    for pool in (pool for pool in plan.pools if number in pool.rows):
        rows, everyone = len(pool.rows[number]), sum(map(len, pool.rows.values()))
        at, left = 0, everyone
        for rung in (*pool.rungs.tolist(), plan.steps):
            found[round(rows * left / everyone)] += rung - at
            at, left = rung, plan.stop.kept(left) if plan.stop else left
    return found


def fitted(plan: Plan, group: Group, like: Strategy, most: int, stages: Mapping[int, int] | None = None) -> Strategy:
    """The strategy with chunks of at most `most` trials, as take the least time, padding and idle cores included.

    Of all stages: what is left of a cohort pays for chunks that were too large for it. Devices share a chunk evenly,
    for which it may be larger by less than one trial each.
    """
    sharing, side_by_side = 1 if plan.actors else len(devices()), at_once(plan)
    stages, best = stage_sizes(plan, group) if stages is None else stages, None
    ways = 5 if len(stages) == 1 else max(5, 8 * math.ceil(max(stages) / most))  # of a cohort, down to an eighth
    for configs in _pieces(max(stages), most, ways):
        for seeds in _pieces(len(plan.seeds), max(1, most // configs), 5):
            shape = _shared(configs, seeds, sharing)
            columns = math.ceil(len(plan.seeds) / shape[0])
            turns = (math.ceil(math.ceil(n / shape[1]) * columns / side_by_side) * steps for n, steps in stages.items())
            cost = sum(turns) * (shape[0] * shape[1] + STEP_TRIALS)
            chunks = math.ceil(len(group.configs) / shape[1]) * columns
            found = cost, shape, like.one_core if plan.actors else _one_core(plan, chunks)
            best = min(best or found, found)
    assert best is not None
    (seeds, configs), own = best[1], like.own and best[1][1] > 1
    return dataclasses.replace(like, seeds=seeds, configs=configs, own=own, one_core=best[2])


def each_alone(plan: Plan, group: Group, loop: str) -> Strategy:
    """Chunks of one trial."""
    return Strategy(loop, 1, 1, one_core=_one_core(plan, len(group.configs) * len(plan.seeds)))


def at_once(plan: Plan) -> int:
    """Chunks that run side by side without sharing what computes them: those of one accelerator share it."""
    if plan.actors:
        return plan.actors
    return thread_count(devices()) if on_cores(devices()) else 1


def _one_core(plan: Plan, chunks: int) -> bool:
    """Whether so many chunks leave no core idle that keep to one each; an actor elsewhere has no other."""
    return on_cores(devices()) and (bool(plan.actors) or 1 < at_once(plan) <= chunks)


def _shared(configs: int, seeds: int, count: int) -> tuple[int, int]:
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
