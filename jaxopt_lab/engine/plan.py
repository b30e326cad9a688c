"""Plans: what will run, in groups of equal structure, and the steps at which the host records and compares."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import MOST, check_count
from jaxopt_lab.diagnostics import LEARNING_RATE, Diagnostic
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.keeping import with_best
from jaxopt_lab.engine.stopping import StopRule, brackets_of, compares_across
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import Structure
from jaxopt_lab.tasks.seeding import initial
from jaxopt_lab.trial import RISE, Stop, TrialState
from jaxopt_lab.types import random_key

KEPT_CURVE_BYTES = 2**28
KEPT_STATES_BYTES = 2**28  # of all trials' final states, in a run folder, so that it can be extended
KEPT_PARAMS_BYTES = 2**28
ALL = "all"  # in place of an optimizer's name, where a rule compares all of them


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Configurations of one structure."""

    structure: Structure
    optimizer: str
    configs: np.ndarray  # their numbers in the whole sweep
    values: Mapping[str, np.ndarray]  # traced hyperparameters by name, one value per configuration
    per_step: int = 1  # how many of the plan's units a step takes


@dataclasses.dataclass(frozen=True)
class Segment:
    """Steps first to last - 1, run without the host; `evaluate` says whether held-out data are evaluated afterwards."""

    first: int
    last: int
    evaluate: bool


class Stage(NamedTuple):
    """What is between one rung of a stop rule and the next.

    Attributes:
        first, last: Where it begins and ends, in the plan's units or in steps; held-out data are evaluated at both.
        final: Whether trials end there, rather than continue in another stage.

    """

    first: int
    last: int
    final: bool

    def of(self, plan: "Plan", group: Group) -> "Stage":
        """Return the stage, which is in the plan's units, in the group's steps."""
        if plan.unit == "step":
            return self
        return Stage(int(steps_of(group, self.first)), int(steps_of(group, self.last)), self.final)


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Configurations that a stop rule compares: all of one optimizer (or of all of them), or of one of its brackets.

    Attributes:
        rows: Positions in each group's configs, by the group's number.
        rungs: Where the rungs are, in the plan's units, all before the last one.
        optimizer: Whose configurations these are; ALL where the rule compares those of all optimizers.

    """

    rows: Mapping[int, np.ndarray]
    rungs: np.ndarray
    optimizer: str


class Reused(NamedTuple):
    """A strategy of an earlier plan, for so many configurations of a structure."""

    structure: Structure
    configs: int
    strategy: Strategy


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the engine needs to know.

    Its budget and points are in steps, or in training examples, of which a step of each group takes another number;
    `of` gives the plan in a group's own steps.

    Attributes:
        groups: What to train.
        tables: The configurations of each optimizer, by name, in the order of their numbers.
        seeds: Each configuration is trained with every seed.
        steps: The budget of a trial, in units.
        unit: "step" or "examples".
        target, tolerance: See `trial.Stop`; minus infinity and None where there is none.
        diverged_above: A training loss above this is divergence; "auto": a loss that has risen by `trial.RISE` is (see
            `trial.Stop`); None: no finite loss is.
        nonfinite: How many successive steps with a non-finite loss or gradient are skipped.
        record_steps, eval_steps: Where training curves are recorded, and held-out data are evaluated, in units.
        segment_length: The most steps that run without the host.
        kept_configs: Of how many configurations of each optimizer, the best, parameters are kept; None: of all.
        stop: The rule that ends trials by comparing them, if any.
        compared: The metric that it compares, and 1 where less is better, -1 where more is.
        selects_by: The metric that configurations are selected by, and likewise.
        strategy: One of STRATEGIES for every group, or None: whichever is measured to be fastest.
        chunk: The most trials at once, or None: as many as memory and caches allow.
        memory: The memory budget in bytes, of the accelerators (of the host where there are none).
        cache: Whether compiled programs and measured strategies are kept on disk.
        keep: Which parameters of a trial are kept: of its "last" step, or of its "best" by `selects_by`.
        keep_states: Whether the final states of trials are saved with a run, so that it can be extended.
        begun: Steps, in units, that all trials have made before: those of a run that is extended.
        actors: The number of workers of a cluster, of one core or accelerator each, that run chunks; None: this process
            runs them.
        reused: Strategies of earlier plans, whose programs are compiled: see `Reused`.
        diagnostics: What is measured in the steps of trials beside their loss, each at its stride, in units.

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
    kept_configs: int | None
    unit: str = "step"
    diverged_above: float | str | None = "auto"
    nonfinite: int = 0
    stop: StopRule | None = None
    compared: tuple[str, int] = ("train_loss", 1)
    selects_by: tuple[str, int] = ("train_loss", 1)
    strategy: str | None = None
    chunk: int | None = None
    memory: int = 2**33
    cache: bool = True
    keep: str = "last"
    keep_states: bool = False
    begun: int = 0
    actors: int | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    reused: tuple[Reused, ...] = ()

    @property
    def units(self) -> str:
        """The plan's units in words."""
        return "steps" if self.unit == "step" else self.unit

    @property
    def keep_params(self) -> bool:
        """Whether parameters of any trial are kept."""
        return self.kept_configs != 0

    @property
    def configs(self) -> int:
        return sum(len(group.configs) for group in self.groups)

    @property
    def trials(self) -> int:
        return self.configs * len(self.seeds)

    def of(self, group: Group) -> "Plan":
        """Return the plan in the group's own steps."""
        if self.unit == "step":
            return self
        if group.per_step not in self._in_steps:
            own = dataclasses.replace(
                self,
                steps=int(steps_of(group, self.steps)),
                record_steps=steps_of(group, self.record_steps),
                eval_steps=steps_of(group, self.eval_steps),
                begun=int(steps_of(group, self.begun)),
                unit="step",
            )
            self._in_steps[group.per_step] = own
        return self._in_steps[group.per_step]

    @functools.cached_property
    def _in_steps(self) -> "dict[int, Plan]":
        """The plan in steps, by how many units a step takes."""
        return {}

    @property
    def trial_steps(self) -> int:
        """The steps of all trials, where none ends before its budget."""
        return sum(len(group.configs) * self.of(group).steps for group in self.groups) * len(self.seeds)

    @functools.cached_property
    def segments(self) -> list[Segment]:
        """The steps to make, from one evaluation to the next, in pieces of at most `segment_length` steps."""
        segments = []
        for start, end in zip(self.eval_steps[:-1].tolist(), self.eval_steps[1:].tolist(), strict=True):
            for first in range(max(start, self.begun), end, self.segment_length):
                last = min(first + self.segment_length, end)
                segments.append(Segment(first, last, last == end))
        return segments

    @property
    def ending(self) -> Stop:
        """When trials end before their budget, as arguments for programs."""
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
    def changes(self) -> tuple[str, ...]:
        """The numeric hyperparameters that the stop rule may change while trials run."""
        return () if self.stop is None else tuple(self.stop.changes)

    @property
    def shown(self) -> tuple[str, ...]:
        """The numeric hyperparameters that have a curve: those that may change, and the learning rate if asked for."""
        asked = any(one.name == LEARNING_RATE for one in self.diagnostics)
        return (*self.changes, *([LEARNING_RATE] if asked and LEARNING_RATE not in self.changes else []))

    def diagnostics_of(self, group: Group) -> tuple[Diagnostic, ...]:
        """Return the diagnostics with what a step of the group takes of their strides."""
        return tuple(dataclasses.replace(one, per_step=group.per_step) for one in self.diagnostics)

    def curves(self, group: Group) -> tuple[str, ...]:
        """Return the names of the curves of a group's trials."""
        return group.structure.curves(self.shown, self.diagnostics_of(group))

    @property
    def uneven(self) -> bool:
        """Whether some segments are shorter than others."""
        return any(segment.last - segment.first != self.segment_length for segment in self.segments)

    @functools.cached_property
    def pools(self) -> list[Pool]:
        """The pools that the stop rule compares; without a rule, one for every group."""
        if self.stop is None:
            none = np.zeros(0, int)
            return [Pool({n: np.arange(len(g.configs))}, none, g.optimizer) for n, g in enumerate(self.groups)]
        pools, across = [], compares_across(self.stop)
        for name in dict.fromkeys(ALL if across else group.optimizer for group in self.groups):
            numbers = [n for n, group in enumerate(self.groups) if across or group.optimizer == name]
            order = np.argsort(np.concatenate([self.groups[n].configs for n in numbers]))
            owner = np.concatenate([np.full(len(self.groups[n].configs), n) for n in numbers])[order]
            row = np.concatenate([np.arange(len(self.groups[n].configs)) for n in numbers])[order]
            for members, rungs in brackets_of(self.stop, len(owner), self.steps):
                rows = {n: row[members][owner[members] == n] for n in numbers}
                pools.append(Pool({n: r for n, r in rows.items() if len(r)}, rungs, name))
        return pools


def steps_at(stride: int | None, steps: int, most: int) -> np.ndarray:
    """Return 0, stride, 2 stride, ... and the last step; by default at most `most` points, as dense as possible."""
    stride = math.ceil(steps / max(1, most - 1)) if stride is None else stride
    check_count(f"The points of a curve of {steps} steps, one every {stride},", math.ceil(steps / stride), most=MOST)
    return np.append(np.arange(0, steps, stride), steps).astype(np.int32)


def steps_of(group: Group, at: Any) -> Any:
    """Return how many of the group's steps it takes to reach `at` of the plan's units."""
    return -(-np.asarray(at) // group.per_step)


def state_shapes(plan: Plan, group: Group) -> TrialState:
    """Return the shapes and types of one trial's state."""
    structure = group.structure
    values = dict.fromkeys(structure.names, jax.ShapeDtypeStruct((), jnp.result_type(float)))

    def start(values):
        trial = structure.trial(values, plan.ending, plan.shown, plan.diagnostics_of(group))
        state = trial.start(*initial(structure.task, random_key(0)), values)
        return with_best(state) if plan.keep == "best" else state

    return jax.eval_shape(start, values)
