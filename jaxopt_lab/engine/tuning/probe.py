"""The choice of a strategy: measure which one runs a structure's trials fastest on this machine, where that pays."""

import dataclasses
import hashlib
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.compile.axes import Axes
from jaxopt_lab.engine.compile.cache import recall, remember
from jaxopt_lab.engine.compile.data import TaskData
from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import device_name, devices, on_cores, thread_count
from jaxopt_lab.engine.plan import Group, Plan
from jaxopt_lab.engine.strategy import LOOPS, Strategy
from jaxopt_lab.engine.structure import with_convolutions
from jaxopt_lab.engine.tuning.cutting import at_once, each_alone, first_strategy, fitted, may_own, rewrites, step_of
from jaxopt_lab.engine.tuning.sizing import BudgetError, fitting
from jaxopt_lab.tracing.settings import settings

SHARE = 0.1  # the share of the predicted run that measuring may cost
LOOK_SECONDS = 0.05  # the least duration of one timing, where the segment is that long
GAIN = 1.05  # how much faster another strategy must be measured to be before it replaces the best
ROUNDS = 3
_glances: dict[tuple[str, Strategy], float] = {}  # seconds per trial-step, as this process has measured once
COMPILE_SECONDS = 2.0  # the assumed time to compile another program, where the first came from a cache


@dataclasses.dataclass
class Choice:
    """How the trials of a group run, and how that was chosen.

    Attributes:
        strategy: How trials run.
        rate: Trial-steps per second of one chunk that runs alone; a rough value from one call where `tried` is empty;
            NaN where even that call would have taken too much of the run.
        compile_seconds: The time to compile the first program.
        probe_seconds: The time to measure, and to compile other programs.
        tried: Measured rates by strategy.
        remembered: Whether an earlier sweep measured the strategy.

    """

    strategy: Strategy
    rate: float
    compile_seconds: float
    probe_seconds: float
    tried: dict[str, float]
    remembered: bool = False

    def described(self) -> dict[str, Any]:
        """Return the choice as plain values, for results."""
        return dataclasses.asdict(self.strategy) | {
            "trial_steps_per_second": None if math.isnan(self.rate) else round(self.rate),
            "tried": self.tried,
            "remembered": self.remembered,
        }


def choose(plan: Plan, group: Group, data: TaskData, measure: bool = False) -> tuple[Choice, Program]:
    """Compile the group's program; measure other strategies where that costs at most a tenth of the predicted run.

    Args:
        plan: The plan.
        group: A group of the plan.
        data: The task's data.
        measure: Time the program accurately even where there is no other to compare it with.

    Returns:
        The choice, and the program compiled for it.

    """
    try:
        return _measured(plan, group, data, measure)
    except Exception as error:
        if measure or isinstance(error, BudgetError):
            raise
    # A timed trial failed. Running the trials will show which one; the others must run.
    began = time.perf_counter()
    strategy, program = fitting(plan, group, candidates_for(plan, group)[0], data.arrays)
    return Choice(strategy, math.nan, time.perf_counter() - began, 0.0, {}), program


def settled(plan: Plan, group: Group, strategy: Strategy, data: TaskData) -> tuple[Choice, Program]:
    """Compile a program for a strategy that an earlier process recorded."""
    began = time.perf_counter()
    program = compiled(plan, group, strategy, data.arrays)
    return Choice(strategy, math.nan, time.perf_counter() - began, 0.0, {}, remembered=True), program


def _measured(plan: Plan, group: Group, data: TaskData, measure: bool) -> tuple[Choice, Program]:
    candidates, key = candidates_for(plan, group), _key(plan, group)
    known, seen = _known(key, candidates) if plan.cache and len(candidates) > 1 else (None, {})
    if known is not None:  # strategies that were too costly for an earlier sweep to measure may be measured now
        candidates = [known, *(way for way in candidates if str(way) not in seen)]
    began = time.perf_counter()
    strategy, program = fitting(plan, group, candidates[0], data.arrays)
    compile_seconds = time.perf_counter() - began
    found = Choice(strategy, math.nan, compile_seconds, 0.0, {}, known is not None)
    began = time.perf_counter()
    spent = lambda: time.perf_counter() - began
    trial_steps = len(group.configs) * len(plan.seeds) * plan.of(group).steps
    compiling = min(compile_seconds, program.compile_seconds)  # of what another strategy does not share
    another = max(compiling, COMPILE_SECONDS) + 2 * (1 + ROUNDS) * LOOK_SECONDS  # the cost of one more
    pays = lambda seconds: spent() + another < SHARE * seconds * trial_steps / at_once(plan)
    best, glance = None, _glances.get((key, strategy))
    if glance is None and (measure or plan.stop is not None or _may_glance(plan, group, strategy)):
        best = _candidate(plan, group, candidates[0], (strategy, program), data)
        glance = _glances[key, strategy] = best.glance()
    if not measure and (glance is None or len(candidates) == 1 or not pays(glance)):
        found.rate, found.probe_seconds = 1 / glance if glance else math.nan, spent()
        return found, program
    best = best or _candidate(plan, group, candidates[0], (strategy, program), data)
    tried = {best: best.seconds()}
    for way in candidates[1:]:
        if not pays(tried[best]):
            break
        try:
            fit = fitting(plan, group, way, data.arrays)
        except BudgetError:
            continue
        candidate = _candidate(plan, group, way, fit, data)
        tried[candidate] = candidate.seconds()
        if tried[candidate] < 2 * tried[best]:  # close, so compare them in alternation
            for _ in range(ROUNDS):
                for one in (best, candidate):
                    tried[one] = min(tried[one], one.seconds())
        if tried[candidate] * GAIN < tried[best]:
            best = candidate
    found.strategy, found.rate = best.strategy, 1 / tried[best]
    found.tried = {str(one.way): round(1 / seconds) for one, seconds in tried.items()}
    found.probe_seconds = spent()
    if len(tried) > 1 and plan.cache:
        remember(key, {"fastest": dataclasses.asdict(best.way), "tried": seen | found.tried})
    return found, best.program


def candidates_for(plan: Plan, group: Group) -> list[Strategy]:
    """Return the strategies worth trying, the most promising first."""
    first = first_strategy(plan, group)
    if plan.strategy is not None:
        return [first]
    stepped, alone = dataclasses.replace(first, loop="steps"), [each_alone(plan, group, loop) for loop in LOOPS]
    if on_cores(devices()) and step_of(group).convolves:
        # XLA has fast convolutions for a CPU, but neither inside a loop nor with separate filters for each trial.
        ways = [alone[1], stepped, alone[0]]
    else:
        other = fitted(plan, group, dataclasses.replace(first, own=not first.own), first.trials)
        ways = [first, *([other] if may_own(group) else []), stepped, *alone]
    if plan.chunk is not None:
        ways = [way for way in ways if way.trials == first.trials]
    else:
        ways[2:2] = [fitted(plan, group, ways[0], n) for n in (2 * first.trials, first.trials // 2) if n > 1]
    if rewrites(group):  # a rewritten program may be slower than the program as written
        convolves = with_convolutions(group.structure, group.optimizer).convolves
        ways.insert(1, dataclasses.replace(alone[1] if convolves else first, rewrite=False))
    return list(dict.fromkeys(way for way in ways if len(devices()) == 1 or way.trials >= len(devices())))


@dataclasses.dataclass(eq=False)
class _Candidate:
    """A compiled program with a chunk to time it on: the strategy `way`, reduced to `strategy` to fit memory."""

    way: Strategy
    strategy: Strategy
    program: Program
    arguments: tuple[Any, ...]
    state: Any
    length: int
    steps: int

    def seconds(self) -> float:
        """Return the seconds per trial-step, timed over more and more steps until they take long enough."""
        while self.glance() * self.steps * self.strategy.trials < LOOK_SECONDS and self.steps < self.length:
            self.steps = min(self.length, 4 * self.steps)
        return self.glance()

    def glance(self) -> float:
        """Return the seconds per trial-step, from one call for `steps` steps."""
        began = time.perf_counter()
        draws, first, *rest = self.arguments
        last = np.int32(self.steps)
        self.state, *_ = jax.block_until_ready(self.program.advance(self.state, draws, first, last, *rest))
        return (time.perf_counter() - began) / (self.steps * self.strategy.trials)


def _candidate(plan: Plan, group: Group, way: Strategy, fit: tuple[Strategy, Program], data: TaskData) -> _Candidate:
    """Make a candidate, warmed up by one call, to be timed on the group's first trials."""
    strategy, program = fit
    seeds, number = np.resize(plan.seeds, strategy.seeds).astype(np.int32), jnp.result_type(float).type
    values = {name: np.resize(v, strategy.configs).astype(number) for name, v in group.values.items()}
    values, seeds, stop = program.place((values, seeds, plan.ending), (Axes.CONFIG, Axes.SEED, Axes.NONE))
    length = plan.segment_length
    draws = data.draws(program, seeds, 0, min(length, plan.of(group).steps), length)
    arguments = (draws, np.int32(0), stop, data.arrays)
    state = program.start(program.initial(seeds), values)
    steps = 1 if _any_count(strategy) else plan.segment_length
    one = _Candidate(way, strategy, program, arguments, state, plan.segment_length, steps)
    one.glance()
    return one


def _any_count(strategy: Strategy) -> bool:
    """Return whether a call can make a single step: an accelerator's loop makes all steps of a segment."""
    return strategy.loop == "steps" or devices()[0].platform == "cpu"


def _may_glance(plan: Plan, group: Group, strategy: Strategy) -> bool:
    """Return whether two calls, the first to warm up, take a small part of the whole run."""
    chunks = math.ceil(len(group.configs) / strategy.configs) * math.ceil(len(plan.seeds) / strategy.seeds)
    return _any_count(strategy) or SHARE * chunks * len(plan.of(group).segments) > 2


def _key(plan: Plan, group: Group) -> str:
    """Return a measurement's key: the step's mathematics and shapes, JAX's settings, the machine and the versions.

    Closed-over values are not part of it: time does not depend on them, nor on data.
    """
    used, traced = devices(), step_of(group)
    sizes = (len(group.configs), len(plan.seeds), plan.segment_length, plan.chunk)
    described = (
        (traced.fingerprint.form, traced.params_bytes, traced.largest_bytes),
        settings(),
        sizes,
        device_name(used),
        thread_count(used),
        jax.__version__,
        *((x.name, x.stride, x.per_step) for x in plan.diagnostics_of(group)),
    )
    return hashlib.sha256(repr(described).encode()).hexdigest()


def _known(key: str, candidates: list[Strategy]) -> tuple[Strategy | None, dict[str, float]]:
    """Return the strategy that earlier sweeps measured to be fastest, and all rates that they measured."""
    record = recall(key) or {}
    fastest, tried = record.get("fastest"), record.get("tried")
    for strategy in candidates:
        if fastest == dataclasses.asdict(strategy) and isinstance(tried, dict):
            return strategy, tried
    return None, {}
