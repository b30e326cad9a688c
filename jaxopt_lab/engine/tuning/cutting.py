"""Cutting trials into chunks and steps into segments: how many trials run at once, in which shape, for how many steps.

It uses rules that give the same result in every process, not measurements, which are in `probe`.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jaxopt_lab.engine.devices import devices, on_cores, thread_count
from jaxopt_lab.engine.plan import Group, Plan, steps_of
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import Traced, traced_step
from jaxopt_lab.tasks.feeds import batch_bytes

MOST_SEGMENT_STEPS = 512  # longer segments gain nothing: the host's work between two is small by then
LEAST_SEGMENT_STEPS = 16  # even for slow steps, since starting a program takes time
SEGMENT_SECONDS = 0.05  # rough upper limit on a CPU, since progress and interruptions wait for a segment's end
CPU_CACHE_BYTES = 2**22  # limit of a chunk's working set on a CPU: a share of its last-level cache; measured
FEWEST_TOGETHER = 4  # trials; where fewer fit into that, each runs alone: measured with a transformer, 3 % faster
OWN_BYTES = 2**23  # limit of the working set up to which an accelerator's trials have own batches: launches dominate
READ_BYTES = 2**25  # of a seed's batches in a segment, where the host reads them
READ_STEPS = 256  # of such a segment at most: a chunk waits for its first one, before reading and training overlap
MOST_PADDING = 4  # how many times as many configurations a program may be for before another one is compiled
STEP_TRIALS = 2.5  # fixed cost of a chunk's step, in trials: measured with small networks
WORKING_COPIES = 4  # a step's working set, in copies of a trial's parameters and its largest intermediate result
BYTES_PER_SECOND = {"cpu": 1e10, "accelerator": 1e12}  # throughput of a step, on one core or on all devices
MOST_TRIALS = {"cpu": 512, "accelerator": 2**16}
STATE_COPIES = 16  # a trial's whole memory, in the same copies: a guess until a compiled program says


def first_strategy(plan: Plan, group: Group) -> Strategy:
    """Return the strategy to try first: as many trials at once as caches and memory allow, one loop per segment.

    A chunk has one seed where that fills it: all its configurations then share a batch, which pays for small models.
    """
    used = devices()
    configs, seeds = len(group.configs), len(plan.seeds)
    if plan.strategy is not None and plan.strategy.endswith("_each"):
        return each_alone(plan, group, plan.strategy.removesuffix("_each"))
    if plan.chunk is not None:
        trials = plan.chunk
    else:
        trials, each = MOST_TRIALS["accelerator"], working_bytes(group)
        if on_cores(used):  # so that the working set stays in cache, and every core has work
            trials = min(MOST_TRIALS["cpu"], CPU_CACHE_BYTES // each)
            trials = trials if trials >= FEWEST_TOGETHER else 1
        trials = min(trials, math.ceil(configs * seeds / at_once(plan)))
        trials = min(trials, plan.memory // (thread_count(used) * STATE_COPIES // WORKING_COPIES * each))
    own = owns(group, trials)
    return fitted(
        plan, group, Strategy(plan.strategy or "scan", 1, 1, own, _one_core(plan, 0), rewrites(group)), max(1, trials)
    )


def reused(plan: Plan, group: Group) -> Strategy | None:
    """Return the strategy of an earlier plan whose program is worth using again; None where a new one is."""
    count = len(group.configs)
    far = {one.strategy: abs(math.log(count / one.configs)) for one in plan.reused if one.structure == group.structure}
    near = min(far, key=lambda strategy: far[strategy], default=None)
    return near if near is not None and far[near] <= math.log(MOST_PADDING) else None


def stage_sizes(plan: Plan, group: Group) -> Mapping[int, int]:
    """Return for how many steps the stop rule leaves how many of the group's configurations, if none ends by itself."""
    number, found = plan.groups.index(group), collections.Counter[int]()
    for pool in (pool for pool in plan.pools if number in pool.rows):
        rows, everyone = len(pool.rows[number]), sum(map(len, pool.rows.values()))
        at, left = 0, everyone
        for rung in steps_of(group, [*pool.rungs.tolist(), plan.steps]).tolist():
            found[round(rows * left / everyone)] += rung - at
            at, left = rung, plan.stop.kept(left) if plan.stop else left
    return found


def fitted(plan: Plan, group: Group, like: Strategy, most: int, stages: Mapping[int, int] | None = None) -> Strategy:
    """Fit the strategy's chunks to at most `most` trials, in the least total time, including padding and idle cores.

    The time is that of all stages, since chunks that are too large for a cohort's survivors are padded. Devices share a
    chunk evenly, for which it may exceed `most` by less than one trial per device.
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
    """Return the strategy with chunks of one trial."""
    return Strategy(loop, 1, 1, False, _one_core(plan, len(group.configs) * len(plan.seeds)), rewrites(group))


def at_once(plan: Plan) -> int:
    """Return how many chunks run in parallel on separate hardware: chunks on one accelerator share it."""
    if plan.actors:
        return plan.actors
    return thread_count(devices()) if on_cores(devices()) else 1


def _one_core(plan: Plan, chunks: int) -> bool:
    """Return whether chunks should use one core each: there are enough for all cores, or each worker has only one."""
    return on_cores(devices()) and (bool(plan.actors) or 1 < at_once(plan) <= chunks)


def _shared(configs: int, seeds: int, count: int) -> tuple[int, int]:
    """Return the shape (seeds, configurations), with one of them padded to a multiple of the devices."""
    if configs >= count or seeds == 1:
        return seeds, math.ceil(configs / count) * count
    return math.ceil(seeds / count) * count, configs


def rewrites(group: Group) -> bool:
    """Return whether the task's functions are rewritten here: the gains are known for CPUs."""
    return group.structure.rewrite and on_cores(devices())


def step_of(group: Group) -> Traced:
    """Return the traced step as it runs here."""
    return traced_step(dataclasses.replace(group.structure, rewrite=rewrites(group)), group.optimizer)


def working_bytes(group: Group) -> int:
    """Estimate the working set of one trial's step."""
    traced = step_of(group)
    return WORKING_COPIES * (max(traced.params_bytes, 1) + traced.largest_bytes)


def step_seconds(group: Group) -> float:
    """Estimate the time of a trial-step, on the low side: its working set, once through memory or a cache."""
    return working_bytes(group) / BYTES_PER_SECOND["cpu" if devices()[0].platform == "cpu" else "accelerator"]


def may_own(group: Group) -> bool:
    """Return whether trials can have their own batches: of stored examples, not generated ones, nor all data."""
    task = group.structure.task
    return task.batch_size is not None and not callable(task.train) and task.feed is None


def owns(group: Group, trials: int) -> bool:
    """Return whether that many trials have own batches unless measured otherwise: only a few on an accelerator do."""
    used = devices()
    return may_own(group) and not on_cores(used) and trials * working_bytes(group) <= OWN_BYTES * len(used)


def segment_length(plan: Plan, platform: str | None = None) -> int:
    """Return one length for all segments of a plan: the longest interval between evaluations, cut into equal pieces.

    It depends on the platform, by default that of this process: "cpu", or anything else.
    """
    most, longest = MOST_SEGMENT_STEPS, max(int(np.diff(plan.of(group).eval_steps).max()) for group in plan.groups)
    if (platform or devices()[0].platform) == "cpu":  # by what is the same in every process: not by free memory
        seconds = max(step_seconds(group) for group in plan.groups) * (plan.chunk or 1)
        most = int(np.clip(SEGMENT_SECONDS / seconds, LEAST_SEGMENT_STEPS, MOST_SEGMENT_STEPS))
    for feed in filter(None, (group.structure.task.feed for group in plan.groups)):
        most = max(1, min(most, READ_STEPS, READ_BYTES // max(1, batch_bytes(feed))))
    return math.ceil(longest / math.ceil(longest / most))


def _pieces(n: int, most: int, ways: int) -> list[int]:
    """Return sizes, at most `most`, that cut n items into the fewest equal pieces, one more, and so on."""
    fewest = math.ceil(n / most)
    return list(dict.fromkeys(math.ceil(n / count) for count in range(fewest, min(n, fewest + ways - 1) + 1)))
