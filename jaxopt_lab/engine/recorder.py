"""The outcome of a plan: arrays with a row for every trial, in which threads write disjoint rows."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.chunk import Chunk
from jaxopt_lab.engine.kept_params import BestParams, KeptParams
from jaxopt_lab.engine.lineage import Lineage
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.standing import LEFT_OUT, Sensitivity, Standing
from jaxopt_lab.trial import Seen, Status

ENDS = ("status", "steps", "skipped")  # fields of an outcome with one value per trial


def no_sensitivity() -> Sensitivity:
    """Return the sensitivity of a sweep that has no optimizers."""
    return Sensitivity({}, float("nan"), False)


@dataclasses.dataclass
class Progress:
    """The progress of a sweep, for display.

    Attributes:
        notes: Messages to the user, each given once: that memory ran out, for example.
        metric: The metric that the sweep selects by: the task's main one on validation data, else the training loss.
        best: By optimizer, best first: the best value of this metric over its trials, each at its latest evaluation
            (for the training loss, at its latest recorded step). Trials that have diverged or failed, or that a rule
            has stopped, are left out, as are optimizers without a finite value. It is updated at most once a second
            (less often with millions of trials), and when the sweep ends: then it is the best of the results' last
            values.
        sensitivity: Returns how the optimizers depend on the learning rate so far: `sensitivity().optimizers` has for
            each one `rates`, the configurations' learning rates, their `medians` of this metric over seeds, and whether
            they have `diverged`. It looks at all trials at each call, so call it seldom.

    """

    trials: int
    programs: int
    trials_done: int = 0
    programs_compiled: int = 0
    trial_steps: int = 0
    trial_steps_planned: int = 0
    diverged: int = 0
    seconds: float = 0.0
    notes: list[str] = dataclasses.field(default_factory=list)
    metric: str = "train_loss"
    best: dict[str, float] = dataclasses.field(default_factory=dict)
    sensitivity: Callable[[], Sensitivity] = dataclasses.field(default=no_sensitivity, repr=False, compare=False)


@dataclasses.dataclass
class Outcome:
    """The outcome of a plan. Arrays have leading axes (configuration, seed).

    Attributes:
        status: A `trial.Status`.
        steps: Steps made, including skipped ones; for a diverged trial, the number of its first bad step.
        skipped: How many of these were skipped.
        rung: The number of the rung at which the stop rule ended the trial; -1 where it did not.
        curves: By name, along recorded steps: training loss, the loss's further scalars, diagnostics, hyperparameters
            in force; NaN for trials whose task has no such curve.
        last: The curves' values at the trial's last evaluation, by name.
        evaluations: Losses and metrics on held-out splits by name, by evaluated step.
        params: The parameters that are kept, of configurations of one structure at a time: their numbers, and a tree
            with leading axes (these configurations, seed).
        decisions: The stop rule's decisions, in the order in which cohorts reached their rungs.
        lineage: From whom trials continued at rungs, and with which values; None where no rule changed that.
        strategies: How each group ran: see `probe.Choice`; with the seconds of a step of one trial, as measured.
        notes: See `Progress`.
        compile_seconds: Summed over programs, some of which compile in parallel.
        probe_seconds: The time spent measuring other strategies, summed in the same way.
        run_seconds: Wall time of the whole execution.
        interrupted: Whether Ctrl-C ended it.

    """

    status: np.ndarray
    steps: np.ndarray
    skipped: np.ndarray
    rung: np.ndarray
    curves: dict[str, np.ndarray]
    last: dict[str, np.ndarray]
    evaluations: dict[str, np.ndarray]
    params: list[tuple[np.ndarray, Any]]
    decisions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    lineage: Lineage | None = None
    strategies: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    compile_seconds: float = 0.0
    probe_seconds: float = 0.0
    run_seconds: float = 0.0
    interrupted: bool = False


class Trials(NamedTuple):
    """Some trials of a plan.

    Attributes:
        at: Their index in an outcome's arrays.
        plan: The plan in their steps.

    """

    at: Any
    plan: Plan


class Recorder:
    """Writes the results of chunks into an outcome."""

    def __init__(self, plan: Plan):
        self.plan, self.standing = plan, Standing(plan)
        self.spent = np.zeros((len(plan.groups), 2))  # seconds and trial-steps of each group
        shape, dtype = (plan.configs, len(plan.seeds)), jnp.result_type(float)
        curves = lambda points: np.full((*shape, len(points)), np.nan, dtype)
        self.outcome = Outcome(
            status=np.full(shape, Status.RUNNING, np.int8),
            steps=np.zeros(shape, np.int32),
            skipped=np.zeros(shape, np.int32),
            rung=np.full(shape, -1, np.int16),
            curves={name: curves(plan.record_steps) for name in curve_names(plan)},
            last={name: np.full(shape, np.nan, dtype) for name in curve_names(plan)},
            evaluations={name: curves(plan.eval_steps) for name in evaluation_names(plan)},
            params=[],
            strategies=[{} for _ in plan.groups],
        )
        most, self._keeping = plan.kept_configs, threading.Lock()
        self._kept = KeptParams(plan) if most is None else BestParams(plan, most, self.outcome.status, self._scores)

    def trials(self, group: int, rows: np.ndarray, columns: np.ndarray) -> Trials:
        """Return the trials of a group's configurations `rows` by the seeds `columns`."""
        own = self.plan.groups[group]
        return Trials(np.ix_(own.configs[rows], columns), self.plan.of(own))

    def record(self, trials: Trials, first: int, last: int, curves: dict[str, np.ndarray]) -> None:
        """Record the curves of steps first to last - 1, along the last axis."""
        recorded = trials.plan.record_steps
        points = np.flatnonzero((recorded >= first) & (recorded < last))
        if len(points):
            where = (*trials.at, slice(points[0], points[-1] + 1))
            for name, values in curves.items():
                self.outcome.curves[name][where] = values[..., recorded[points] - first]
                self._see(name, trials.at, points[-1])

    def evaluation(self, trials: Trials, step: int, seen: Seen) -> None:
        """Record an evaluation after `step` steps, which is one of the evaluated steps."""
        point = int(np.searchsorted(trials.plan.eval_steps, step))
        for name, values in seen.held_out.items():
            self.outcome.evaluations[name][(*trials.at, point)] = values
            self._see(name, trials.at, point)
        for name, values in seen.info.items():
            self.outcome.last[name][trials.at] = values
            if step == trials.plan.steps:
                self.outcome.curves[name][(*trials.at, -1)] = values
                self._see(name, trials.at, -1)
        self.outcome.status[trials.at] = seen.status

    def reached(self, trials: Trials, step: int, running: np.ndarray) -> None:
        """Record that the `running` trials have made `step` steps; other trials' counts come when their chunk ends."""
        self.outcome.steps[trials.at] = np.where(running, step, self.outcome.steps[trials.at])

    def counts(self, trials: Trials, known: dict[str, np.ndarray]) -> None:
        """Record the steps that trials have made, and skipped, by name."""
        for name, values in known.items():
            getattr(self.outcome, name)[trials.at] = values

    def complete(self, trials: Trials) -> None:
        """Mark trials that are still running as completed: they have used up their budget."""
        status = self.outcome.status[trials.at]
        self.outcome.status[trials.at] = np.where(status == Status.RUNNING, Status.COMPLETED, status)

    def hold(self, trials: Trials, step: int) -> None:
        """Extend the values seen after `step` steps to all later points, for trials that ended by themselves."""
        configs, seeds = np.broadcast_arrays(*trials.at)
        ended = ~np.isin(self.outcome.status[trials.at], (Status.RUNNING, Status.STOPPED, Status.FAILED))
        where = configs[ended], seeds[ended]
        point = int(np.searchsorted(trials.plan.eval_steps, step))
        for name, array in self.outcome.evaluations.items():
            array[(*where, slice(point, None))] = array[(*where, point)][:, None]
            self._see(name, where, -1)
        start = int(np.searchsorted(trials.plan.record_steps, step))
        for name, array in self.outcome.curves.items():
            array[(*where, slice(start, None))] = self.outcome.last[name][where][:, None]
            self._see(name, where, -1)

    def taken(self, trials: Trials, first: int, step: int) -> dict[str, np.ndarray]:
        """Copy what is known of trials from step `first` to `step`, for `restore`."""
        known = {}
        for kind, name, array, at in self._known(trials.plan, first, step):
            known[f"{kind}/{name}"] = array[trials.at] if at is None else array[(*trials.at, at)]
        return known

    def restore(self, trials: Trials, first: int, step: int, known: dict[str, np.ndarray]) -> None:
        """Restore what `taken` returned, possibly in another process, possibly with only some of the names."""
        for kind, name, array, at in self._known(trials.plan, first, step):
            if (values := known.get(f"{kind}/{name}")) is not None:
                array[trials.at if at is None else (*trials.at, at)] = values
                if at is not None and at.stop > at.start:
                    self._see(name, trials.at, at.stop - 1)

    def _see(self, name: str, at: Any, point: int) -> None:
        """Note the value at a point of a curve as its trials' latest, if the sweep selects by this curve."""
        if name == self.standing.metric:
            self.standing.latest[at] = self._selects_by()[(*at, point)]

    def _selects_by(self) -> np.ndarray:
        """Return the curves of the metric that the sweep selects by."""
        name = self.standing.metric
        return self.outcome.evaluations[name] if name in self.outcome.evaluations else self.outcome.curves[name]

    def progress(self) -> Progress:
        """Return the progress of a sweep that begins."""
        look = lambda: self.standing.sensitivity(self.outcome.status, self._selects_by()[..., 0])
        plan = self.plan
        return Progress(plan.trials, len(plan.groups), trial_steps_planned=plan.trial_steps, sensitivity=look)

    def _known(self, plan: Plan, first: int, step: int) -> Iterator[tuple[str, str, np.ndarray, slice | None]]:
        """Yield each array's kind, name, the array, and its points that are known between two steps of a plan."""
        outcome, (recorded, evaluated) = self.outcome, _points(plan, first, step)
        yield from (("curves", name, array, recorded) for name, array in outcome.curves.items())
        yield from (("evaluations", name, array, evaluated) for name, array in outcome.evaluations.items())
        yield from (("last", name, array, None) for name, array in outcome.last.items())
        yield from (("ends", name, getattr(outcome, name), None) for name in ENDS)

    def fail(self, trials: Trials) -> None:
        """Mark trials as failed; they keep what they have reached."""
        self.outcome.status[trials.at] = Status.FAILED

    def params(self, chunk: Chunk) -> Chunk:
        """Record the parameters of a chunk's trials; return the chunk with those that may be needed in the end."""
        with self._keeping:
            return chunk if chunk.params is None else self._kept.add(chunk)

    def _scores(self, configs: np.ndarray) -> np.ndarray:
        """Return what results select these configurations by, of each trial: lower is better."""
        (metric, sign), status = self.plan.selects_by, self.outcome.status[configs]
        if self.plan.keep == "best":
            values, left_out = self.outcome.evaluations[metric][configs], (Status.FAILED,)
            values = np.where(np.isfinite(values), sign * values, np.inf).min(axis=-1)
        else:
            values, left_out = sign * self.outcome.last.get(metric, self.standing.latest)[configs], LEFT_OUT
        return np.where(np.isfinite(values) & ~np.isin(status, left_out), values, np.inf)

    def count(self, progress: Progress, last: bool = False) -> None:
        """Update the counts of ended trials, and at most once a second, or for the `last` time, the best ones."""
        progress.trials_done = int((self.outcome.status != Status.RUNNING).sum())
        progress.diverged = int((self.outcome.status == Status.DIVERGED).sum())
        progress.metric, progress.best = self.standing.metric, self.standing.best(self.outcome.status, now=last)

    def finish(self, progress: Progress) -> Outcome:
        """Bring the progress up to date, mark trials that are still running as interrupted, and return the outcome."""
        self.count(progress, last=True)
        status = self.outcome.status
        status[status == Status.RUNNING] = Status.INTERRUPTED
        self.outcome.params = self._kept.all()
        for strategy, (seconds, made) in zip(self.outcome.strategies, self.spent.tolist(), strict=True):
            strategy |= {"step_seconds": float(f"{seconds / made:.4g}")} if made else {}
        return self.outcome


def _points(plan: Plan, first: int, step: int) -> tuple[slice, slice]:
    """Return the recorded and evaluated points that are known between two steps."""
    known = lambda points, at, side: int(np.searchsorted(points, at, side))
    # Each step comes with its info; the last info, which has no step, comes with the evaluation there.
    recorded = known(plan.record_steps, first, "left"), known(plan.record_steps, step, "left")
    evaluated = known(plan.eval_steps, first, "right") if first else 0, known(plan.eval_steps, step, "right")
    return slice(recorded[0], recorded[1] + (step == plan.steps)), slice(*evaluated)


def curve_names(plan: Plan) -> list[str]:
    """Return the names of the curves of all groups in the plan, the training loss first."""
    return list(dict.fromkeys(name for group in plan.groups for name in plan.curves(group)))


def evaluation_names(plan: Plan) -> list[str]:
    """Return the names of losses and metrics on held-out splits of all tasks in the plan."""
    names = {}
    for task in {group.structure.task: None for group in plan.groups}:
        for split in ("validation", "test"):
            if getattr(task, split) is not None:
                names |= dict.fromkeys([f"{split}_loss", *(f"{split}_{metric}" for metric in task.metrics)])
    return list(names)


def in_a_line(error: Exception) -> str:
    """Return the error's message in one line: for a callback's error, which holds a traceback, the last line."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[-1 if "Traceback" in str(error) else 0]
