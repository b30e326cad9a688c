"""A cohort: the trials that a stop rule compares, from rung to rung."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.chunk import Chunk, cut
from jaxopt_lab.engine.kept_params import scattered
from jaxopt_lab.engine.lineage import Lineage
from jaxopt_lab.engine.plan import Plan, Pool, Stage, steps_of
from jaxopt_lab.engine.recorder import Recorder, Trials
from jaxopt_lab.engine.stopping import Decision, Rung, StopRule
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.tasks.names import IN_FORCE, LOSS_CURVE
from jaxopt_lab.trial import STATUSES, Status


class Cohort:
    """The trials of one pool. Without a rule there are no rungs, and only one stage, to the end.

    Attributes:
        number: The cohort's number in the sweep.
        rung: The number of the next rung.
        waiting_for: How many groups must compile and chunks must run before all trials are at that rung.
        racing: For each group's number, which of its trials no rung has ended: bool (configurations, seeds).
        alive: The same, without those that have ended by themselves.

    """

    def __init__(self, plan: Plan, pool: Pool, number: int, bracket: int):
        self.plan, self.pool, self.number, self.bracket = plan, pool, number, bracket
        self.rung, self.waiting_for = 0, len(pool.rows)
        self.racing = {}
        for number, rows in pool.rows.items():
            self.racing[number] = np.zeros((len(plan.groups[number].configs), len(plan.seeds)), bool)
            self.racing[number][rows] = True
        self.alive = {number: racing.copy() for number, racing in self.racing.items()}
        self._held: dict[int, Any] = {}  # trials' states between two rungs, on the host
        self._history: list[np.ndarray] = []  # the compared metric at each rung

    @property
    def stage(self) -> Stage:
        """The stage to the next rung, or to the end, in the plan's units."""
        rungs = self.pool.rungs.tolist()
        final = self.rung == len(rungs)
        return Stage(rungs[self.rung - 1] if self.rung else 0, self.plan.steps if final else rungs[self.rung], final)

    def stage_of(self, number: int) -> Stage:
        """Return the stage in the steps of a group."""
        return self.stage.of(self.plan, self.plan.groups[number])

    @property
    def next_last(self) -> int:
        """Where the stage after this one ends, in the plan's units."""
        following = self.pool.rungs[self.rung + 1 :]
        return int(following[0]) if len(following) else self.plan.steps

    @property
    def trials(self) -> int:
        """The number of trials that are still running."""
        return sum(int(alive.sum()) for alive in self.alive.values())

    def trial_steps_after(self, rung: int) -> int:
        """Return how many steps the running trials have to make after a rung, which is in the plan's units."""
        left = 0
        for number, alive in self.alive.items():
            group = self.plan.groups[number]
            left += int(alive.sum()) * (self.plan.of(group).steps - int(steps_of(group, rung)))
        return left

    def chunks(self, number: int, strategy: Strategy) -> list[Chunk]:
        """Return the chunks of a group in this stage."""
        chunks = cut(number, self.alive[number], self.stage_of(number).first, strategy)
        if self.plan.kept_configs is not None:  # all seeds of a configuration together, so that it is soon known
            chunks.sort(key=lambda chunk: (chunk.rows[0], chunk.columns[0]))
        return [chunk.standing(self._held[number]) for chunk in chunks] if self.rung else chunks

    def most_survivors(self, number: int) -> int:
        """Return how many of a group's configurations may run in the next stage."""
        rows = int(self.alive[number].any(axis=1).sum())
        assert self.plan.stop is not None  # without a rule there is no next stage
        kept = self.plan.stop.kept(sum(int(racing.any(axis=1).sum()) for racing in self.racing.values()))
        return min(rows, kept)

    def hold(self, chunk: Chunk) -> None:
        """Keep the state of a chunk's trials until the next stage."""
        held = self._held.get(chunk.group)
        shape = (len(self.plan.groups[chunk.group].configs), len(self.plan.seeds))
        self._held[chunk.group] = scattered(shape, held, chunk.rows, chunk.columns, chunk.state)

    def judge(self, recorder: Recorder) -> None:
        """Apply the rule when all trials are at the rung: end some, restart some, and continue with the rest.

        Raises:
            ValueError: The rule's decision is invalid.

        """
        rule, outcome, stage = self.plan.stop, recorder.outcome, self.stage
        assert rule is not None
        groups, rows = self._members()
        configs, racing = np.zeros(len(rows), int), np.zeros((len(rows), len(self.plan.seeds)), bool)
        for number, at, own in self._by_group(groups, rows):
            configs[at], racing[at] = self.plan.groups[number].configs[own], self.racing[number][own]
        status = outcome.status[configs]
        running = racing & (status == Status.RUNNING)
        self._history.append(self._compared(recorder, configs, stage.last))
        rung = Rung(self.rung, stage.last, np.stack(self._history), racing, running, self._values(groups, rows))
        decision = checked(rule, rung, rule.decide(rung), groups)
        ends = decision.ends & racing
        cut_off = ends & running  # the others have already ended by themselves
        restarts = self._restarted(decision, groups, rows, ends)
        status[cut_off] = STATUSES.index(rule.status)
        status[restarts] = Status.RUNNING
        outcome.status[configs] = status
        outcome.rung[configs] = np.where(cut_off, self.rung, outcome.rung[configs])
        recorder.hold(Trials(np.ix_(configs, np.arange(len(self.plan.seeds))), self.plan), stage.last)
        self._note(recorder, racing, ends, cut_off, restarts)
        if decision.source is not None or rule.changes:
            lineage = recorder.outcome.lineage = recorder.outcome.lineage or Lineage(self.plan)
            going_on = racing & ~ends & (status == Status.RUNNING)
            lineage.note(stage.last, configs, decision.source, self._values(groups, rows), going_on)
        last = {name: values[configs] for name, values in outcome.last.items()}
        for number, at, own in self._by_group(groups, rows):
            self._go_on(number, own, ends[at], status[at], {name: values[at] for name, values in last.items()})
        self.rung += 1

    def _members(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the group and row of each configuration in the order of their numbers, by which ties are resolved."""
        groups = np.concatenate([np.full(len(rows), number) for number, rows in self.pool.rows.items()])
        rows = np.concatenate(list(self.pool.rows.values()))
        configs = np.concatenate([self.plan.groups[number].configs[rows] for number, rows in self.pool.rows.items()])
        order = np.argsort(configs, kind="stable")
        return groups[order], rows[order]

    def _by_group(self, groups: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield each group's number, the positions of its configurations among all, and their rows in the group."""
        for number in self.pool.rows:
            at = np.flatnonzero(groups == number)
            yield number, at, rows[at]

    def _values(self, groups: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the current numeric hyperparameters of each trial."""
        names = dict.fromkeys(name for number in self.pool.rows for name in self.plan.groups[number].values)
        found = {name: np.full((len(rows), len(self.plan.seeds)), np.nan) for name in names}
        for number, at, own in self._by_group(groups, rows):
            group, held = self.plan.groups[number], self._held.get(number)
            for name in group.values:
                found[name][at] = group.values[name][own][:, None] if held is None else held.values[name][own]
        return found

    def _restarted(self, decision: Decision, groups: np.ndarray, rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Copy states between trials and set new values; return which trials took over another's state (bool)."""
        restarts = np.zeros_like(ends)
        if decision.source is not None:
            restarts = ~ends & (decision.source != np.arange(len(rows))[:, None])
        for number, at, own in self._by_group(groups, rows):
            held = self._held.get(number)
            if held is None:
                continue
            if decision.source is not None:
                i, seed = np.nonzero(restarts[at])
                sources = rows[decision.source[at[i], seed]]
                jax.tree.map(lambda x, i=own[i], s=seed, j=sources: x.__setitem__((i, s), x[j, s]), held)
            i, seed = np.nonzero(~ends[at])
            for name in [name for name in decision.values if name in self.plan.groups[number].values]:
                new = np.asarray(decision.values[name])[at[i], seed]
                held.values[name][own[i], seed] = held.info[f"{name}{IN_FORCE}"][own[i], seed] = new
            if decision.values:
                taken = held.steps if held.skips is None else held.steps - held.skips.total
                for name, schedule in self.plan.groups[number].structure.in_force.items():
                    rates = jax.vmap(jax.vmap(lambda values, t, schedule=schedule: schedule(values)(t)))
                    now = np.asarray(rates(held.values, taken))
                    held.info[f"{name}{IN_FORCE}"][own[i], seed] = now[own[i], seed]
        return restarts

    def _note(self, recorder: Recorder, racing: Any, ends: Any, cut_off: Any, restarts: Any) -> None:
        """Record the decision."""
        decision = {"optimizer": self.pool.optimizer, "bracket": self.bracket, "rung": self.rung}
        decision |= {"step": self.stage.last, "compared": int(racing.sum()), "ended": int(cut_off.sum())}
        decision |= {"restarted": int(restarts.sum())} if restarts.any() else {}
        kept = self._history[-1][racing & ~ends]
        worst = _finite(self.plan.compared[1] * kept.max(initial=-math.inf))  # in the metric's own sense
        recorder.outcome.decisions.append(decision | {"worst_kept": worst})

    def _go_on(
        self, number: int, rows: np.ndarray, ends: np.ndarray, status: np.ndarray, last: dict[str, np.ndarray]
    ) -> None:
        """Remove trials of a group that have ended from the cohort.

        If such a trial shares a chunk with running ones, its status and last values stay as they are now.
        """
        over = status != Status.RUNNING
        self.racing[number][rows] &= ~ends
        self.alive[number][rows] = self.racing[number][rows] & ~over
        if number in self._held:  # a chunk may hold ended trials together with running ones
            held = self._held[number]
            held.status[rows] = np.where(over, status, held.status[rows])
            for name, values in held.info.items():
                values[rows] = np.where(over, last[name], values[rows])

    def _compared(self, recorder: Recorder, configs: np.ndarray, step: int) -> np.ndarray:
        """Return the values that the rule compares: lower is better, +inf where there is no value."""
        name, sign = self.plan.compared
        if name == LOSS_CURVE:
            losses = recorder.outcome.last[name][configs]
        else:
            point = int(np.searchsorted(self.plan.eval_steps, step))
            losses = recorder.outcome.evaluations[name][configs, :, point]
        return np.where(np.isnan(losses), np.inf, sign * losses).astype(float)


def cohorts_of(plan: Plan) -> list[Cohort]:
    """Make a cohort for each pool."""
    brackets: dict[str, int] = {}
    cohorts = []
    for number, pool in enumerate(plan.pools):
        brackets[pool.optimizer] = brackets.get(pool.optimizer, -1) + 1
        cohorts.append(Cohort(plan, pool, number, brackets[pool.optimizer]))
    return cohorts


def checked(rule: StopRule, rung: Rung, decision: Any, groups: np.ndarray) -> Decision:
    """Check that a rule's decision is valid, and return it; `groups` has each configuration's group.

    Raises:
        ValueError: It is not.

    """
    what = f"{type(rule).__name__}.decide"
    if not isinstance(decision, Decision):
        raise ValueError(f"{what} must return a jl.Decision, got {quoted(decision, 80)}.")
    for name, array, kinds in (("ends", decision.ends, "b"), ("source", decision.source, "iu")):
        if array is not None and (np.shape(array) != rung.racing.shape or np.asarray(array).dtype.kind not in kinds):
            wanted = "bools" if kinds == "b" else "integers"
            raise ValueError(f"{what}: {name} must be {wanted} of shape {rung.racing.shape}, got {quoted(array, 80)}.")
    for name, values in decision.values.items():
        if name not in rule.changes:
            raise ValueError(f"{what} gives {name!r} new values: name it in the rule's `changes`.")
        if np.shape(values) != rung.racing.shape:
            raise ValueError(f"{what}: values of {name} must be of shape {rung.racing.shape}, got {np.shape(values)}.")
        going_on = rung.racing & ~decision.ends & ~np.isnan(rung.values.get(name, np.full(rung.racing.shape, np.nan)))
        if not np.isfinite(np.asarray(values, float)[going_on]).all():
            raise ValueError(f"{what}: values of {name} must be finite.")
    if decision.source is not None:
        own = np.arange(len(groups))[:, None]
        moved = rung.racing & ~decision.ends & (decision.source != own)
        if not ((decision.source >= 0) & (decision.source < len(groups))).all():
            raise ValueError(f"{what}: source must be positions from 0 to {len(groups) - 1}.")
        sources = decision.source[moved], np.nonzero(moved)[1]
        if not rung.running[sources].all():
            raise ValueError(f"{what}: trials can only continue from one that is running.")
        if (groups[decision.source] != groups[:, None])[moved].any():
            raise ValueError(f"{what}: trials can only continue from one of the same structure.")
    return decision


def _finite(x: float) -> float | None:
    """Return None for infinity, which JSON lacks."""
    return float(x) if math.isfinite(x) else None
