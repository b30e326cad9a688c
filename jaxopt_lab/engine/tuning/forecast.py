"""The forecast of a plan before it runs: programs, memory, time."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping

from jaxopt_lab import formats
from jaxopt_lab.cache_folder import cache_folder
from jaxopt_lab.engine.compile.cache import persistent
from jaxopt_lab.engine.compile.data import TaskData
from jaxopt_lab.engine.devices import device_name, devices, thread_count
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import params_bytes
from jaxopt_lab.engine.tuning.cutting import at_once, stage_sizes
from jaxopt_lab.engine.tuning.probe import choose
from jaxopt_lab.engine.tuning.sizing import (
    data_bytes,
    held_bytes,
    kept_batches_bytes,
    kept_params_bytes,
    read_bytes,
    results_bytes,
    side_by_side,
    state_bytes,
)
from jaxopt_lab.tasks.feeds import batch_bytes
from jaxopt_lab.tasks.rewriting import rules_of
from jaxopt_lab.tasks.streams import Stream
from jaxopt_lab.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class GroupForecast:
    """The forecast of one group of equal structure.

    Attributes:
        optimizer: The optimizer's name.
        static: The structural values, as text.
        trials: The number of trials.
        strategy: How they run, and how many at once.
        chunks: The number of chunks.
        rules: How many operations of the loss each rule of `jaxopt_lab.rewrite` has rewritten.
        chunk_bytes: The memory of one running chunk, from the compiled program.
        rate: Measured trial-steps per second, of all chunks that run at once.
        seconds: Predicted time to run, without compiling.
        compile_seconds: The time that compiling took just now (little where it was cached).

    """

    optimizer: str
    static: str
    trials: int
    strategy: Strategy
    chunks: int
    rules: Mapping[str, int]
    chunk_bytes: int
    rate: float
    seconds: float
    compile_seconds: float

    def cells(self) -> tuple[str, ...]:
        """Return the forecast as a row of text."""
        shape, rate = f"{self.strategy.seeds} x {self.strategy.configs}", formats.rounded(self.rate)
        counts = (f"{self.trials:,}", shape, f"{self.chunks:,}", self.strategy.loop, formats.size(self.chunk_bytes))
        name = f"{self.optimizer} {self.static}".strip()
        return (name, *counts, rate, formats.seconds(self.seconds), formats.seconds(self.compile_seconds))


@dataclasses.dataclass(frozen=True, repr=False)
class Forecast:
    """The forecast of a sweep: see `jl.plan`. `print` shows it.

    Attributes:
        groups: The forecasts by structure.
        device: The devices' name.
        at_once: The number of chunks that run in parallel.
        trials: The number of trials of the sweep.
        steps: The budget of each trial, in units.
        unit: "step" or "examples".
        trial_steps: The steps of all trials, minus those that the stop rule saves.
        seconds: Predicted time once all programs are compiled.
        compile_seconds: The time that compiling took just now.
        device_bytes: Predicted peak on the devices: data and running chunks.
        host_bytes: Predicted: curves, statuses, parameters, and states between rungs.
        peak_bytes: Predicted peak of the host's memory: all of it, on a CPU.
        results_bytes: The part of these that results keep, which is about their largest size on disk.
        folder_bytes: The largest size of a run folder on disk: results twice, and trials' states.
        budget: The memory budget in bytes.
        kept: What is kept of each trial, in words.

    """

    groups: tuple[GroupForecast, ...]
    device: str
    at_once: int
    trials: int
    steps: int
    unit: str
    trial_steps: int
    seconds: float
    compile_seconds: float
    device_bytes: int
    host_bytes: int
    peak_bytes: int
    results_bytes: int
    folder_bytes: int
    budget: int
    kept: str

    def __str__(self) -> str:
        titles = ("optimizer", "trials", "at once", "chunks", "loop", "a chunk", "trial-steps/s", "run", "compile")
        rows = [titles, *(group.cells() for group in self.groups)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        aligned = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        units = "steps" if self.unit == "step" else self.unit
        head = [
            f"{self.trials:,} trials of {self.steps:,} {units} on {self.device}, {self.at_once} chunks in parallel:",
            f"about {formats.seconds(self.seconds)} for {self.trial_steps:,} trial-steps, once compiled "
            f"({formats.seconds(self.compile_seconds)} just now).",
        ]
        foot = [
            f"Memory: {formats.size(self.device_bytes)} for data and running chunks, "
            f"{formats.size(self.host_bytes)} for results; the budget is {formats.size(self.budget)}.",
            f"A run folder takes at most {formats.size(self.folder_bytes)} on disk.",
            self.kept,
        ]
        return "\n".join([*head, "", *aligned, "", *foot, *self._rewritten()])

    __repr__ = __str__

    def _rewritten(self) -> list[str]:
        """Describe what is rewritten, if anything is."""
        rules = {name: count for group in self.groups for name, count in group.rules.items()}
        counted = ", ".join(f"{name} ({count})" for name, count in rules.items())
        return [f"Rewritten for this machine: {counted}. rewrite=False runs the loss as written."] if rules else []


def forecast(plan: Plan) -> Forecast:
    """Compile and time every group's program on its first trials; only the programs are kept."""
    most_bytes = kept_batches_bytes(plan)
    used, groups, loaded = devices(), [], dict[Task, TaskData]()
    side = thread_count(used)
    with persistent(plan.cache), contextlib.ExitStack() as opened:
        for number, group in enumerate(plan.groups):
            task = group.structure.task
            if task not in loaded:
                loaded[task] = opened.enter_context(contextlib.closing(TaskData.placed(task, most_bytes)))
            choice, program = choose(plan, group, loaded[task], measure=True)
            strategy, trials = choice.strategy, len(group.configs) * len(plan.seeds)
            chunks = math.ceil(len(group.configs) / strategy.configs) * math.ceil(len(plan.seeds) / strategy.seeds)
            running = side_by_side(plan, chunks, program.chunk_bytes)
            rate = choice.rate * min(at_once(plan), running)
            groups.append(
                GroupForecast(
                    optimizer=group.optimizer,
                    static=", ".join(f"{name}={value}" for name, value in group.structure.static),
                    trials=trials,
                    strategy=strategy,
                    chunks=chunks,
                    rules=rules_of(task) if strategy.rewrite else {},
                    chunk_bytes=program.chunk_bytes,
                    rate=rate,
                    seconds=trial_steps(plan, number) / rate,
                    compile_seconds=choice.compile_seconds + choice.probe_seconds,
                )
            )
    data = data_bytes(plan)
    running = max(side_by_side(plan, g.chunks, g.chunk_bytes) * g.chunk_bytes for g in groups)
    params = kept_params_bytes(plan)
    results = results_bytes(plan) + params
    held = held_bytes(plan)
    # States of running chunks, counted twice below: a new save exists before the one that it replaces is removed.
    standing = sum(
        state_bytes(plan, group) * min(side * g.strategy.trials, g.trials)
        for group, g in zip(plan.groups, groups, strict=True)
    )
    kept = f"{len(plan.record_steps)} training losses and {len(plan.eval_steps)} evaluations of each trial"
    kept += _kept_params(plan)
    folder = cache_folder() if plan.cache else None
    on_host = (data if used[0].platform == "cpu" else 0) + read_bytes(plan)
    meanwhile = _meanwhile(plan, groups, side) if used[0].platform == "cpu" else params
    return Forecast(
        groups=tuple(groups),
        device=device_name(used),
        at_once=side,
        trials=plan.trials,
        steps=plan.steps,
        unit=plan.unit,
        trial_steps=sum(trial_steps(plan, n) for n in range(len(plan.groups))),
        seconds=sum(g.seconds for g in groups),
        compile_seconds=sum(g.compile_seconds for g in groups),
        device_bytes=data + running,
        host_bytes=results + held,
        peak_bytes=max(on_host + results - params + meanwhile, results) + held,
        results_bytes=results,
        folder_bytes=2 * results + held + 2 * standing,
        budget=plan.memory,
        kept=f"Kept in memory: {kept} Compiled programs: " + (f"{folder}." if folder else "not kept on disk."),
    )


def _kept_params(plan: Plan) -> str:
    """Describe of which trials parameters are kept."""
    if plan.kept_configs is None:
        return ", and its final parameters."
    if not plan.kept_configs:
        return "; no final parameters."
    each = " of each optimizer" if len({group.optimizer for group in plan.groups}) > 1 else ""
    return f"; final parameters of the best {plan.kept_configs} configurations{each}."


def _meanwhile(plan: Plan, groups: list[GroupForecast], at_once: int) -> int:
    """Return the peak memory of running chunks on a CPU, with the parameters of those that have ended.

    The batches that they train on are among those that a stream keeps, and are counted there.
    """
    kept, worst = kept_params_bytes(plan), 0
    for group, g in zip(plan.groups, groups, strict=True):
        unfinished = params_bytes(group.structure.task) * min(at_once * g.strategy.trials, g.trials)
        running = side_by_side(plan, g.chunks, g.chunk_bytes)
        batches = 0
        if isinstance(feed := group.structure.task.feed, Stream):  # of this segment and the next
            in_use = 2 * running * g.strategy.seeds * plan.segment_length * batch_bytes(feed)
            batches = min(kept_batches_bytes(plan), in_use)
        worst = max(worst, running * g.chunk_bytes - batches + max(0, kept - unfinished))
    return worst


def trial_steps(plan: Plan, number: int) -> int:
    """Return the trial-steps of a group that the stop rule leaves, where no trial ends by itself."""
    stages = stage_sizes(plan, plan.groups[number])
    return sum(configs * steps for configs, steps in stages.items()) * len(plan.seeds)
