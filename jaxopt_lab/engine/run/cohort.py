"""A cohort: the trials that a stop rule compares, from rung to rung, and the programs that fit their number."""

import math
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.chunk import Chunk, cut
from jaxopt_lab.engine.plan import Plan, Pool, Stage
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.stopping import Decision, Rung, StopRule
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.cutting import at_once, fitted, step_seconds
from jaxopt_lab.engine.tuning.probe import COMPILE_SECONDS
from jaxopt_lab.trial import IN_FORCE, LOSS_CURVE, STATUSES, Status


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
        """The stage to the next rung, or to the end."""
        rungs = self.pool.rungs.tolist()
        final = self.rung == len(rungs)
        return Stage(rungs[self.rung - 1] if self.rung else 0, self.plan.steps if final else rungs[self.rung], final)

    @property
    def next_last(self) -> int:
        """The step at which the stage after this one ends."""
        following = self.pool.rungs[self.rung + 1 :]
        return int(following[0]) if len(following) else self.plan.steps

    @property
    def trials(self) -> int:
        """The number of trials that are still running."""
        return sum(int(alive.sum()) for alive in self.alive.values())

    def chunks(self, number: int, strategy: Strategy) -> list[Chunk]:
        """Return the chunks of a group in this stage."""
        chunks = cut(number, self.alive[number], self.stage.first, strategy)
        return [chunk.standing(self._held[number]) for chunk in chunks] if self.rung else chunks

    def most_survivors(self, number: int) -> int:
        """Return how many of a group's configurations may run in the next stage."""
        rows = int(self.alive[number].any(axis=1).sum())
        assert self.plan.stop is not None  # without a rule there is no next stage
        kept = self.plan.stop.kept(sum(int(racing.any(axis=1).sum()) for racing in self.racing.values()))
        return min(rows, kept)

    def hold(self, chunk: Chunk, recorder: Recorder) -> None:
        """Keep the state of a chunk's trials until the next stage."""
        held = self._held.get(chunk.group)
        self._held[chunk.group] = recorder.scattered(chunk.group, held, chunk.rows, chunk.columns, chunk.state)

    def judge(self, recorder: Recorder) -> None:
        """Apply the rule when all trials are at the rung: end some, restart some, and continue with the rest.

        Raises:
            ValueError: The rule's decision is invalid.

        """
        rule, outcome, stage = self.plan.stop, recorder.outcome, self.stage
        assert rule is not None
        members = self._members()
        configs = np.asarray([self.plan.groups[number].configs[row] for number, row in members])
        racing = np.stack([self.racing[number][row] for number, row in members])
        status = outcome.status[configs]
        running = racing & (status == Status.RUNNING)
        self._history.append(self._compared(recorder, configs, stage.last))
        values = self._values(members)
        rung = Rung(self.rung, stage.last, np.stack(self._history), racing, running, values)
        decision = checked(rule, rung, rule.decide(rung), [number for number, _ in members])
        ends = decision.ends & racing
        cut_off = ends & running  # the others have already ended by themselves
        restarts = self._restarted(decision, members, ends)
        status[cut_off] = STATUSES.index(rule.status)
        status[restarts] = Status.RUNNING
        outcome.status[configs] = status
        outcome.rung[configs] = np.where(cut_off, self.rung, outcome.rung[configs])
        recorder.hold(np.ix_(configs, np.arange(len(self.plan.seeds))), stage.last)
        self._note(recorder, racing, ends, cut_off, restarts)
        self._go_on(members, ends, status, {name: last[configs] for name, last in outcome.last.items()})

    def _members(self) -> list[tuple[int, int]]:
        """Return the group and row of each configuration in the order of their numbers, by which ties are resolved."""
        members = [(number, row) for number, rows in self.pool.rows.items() for row in rows.tolist()]
        return sorted(members, key=lambda member: self.plan.groups[member[0]].configs[member[1]])

    def _values(self, members: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        """Return the current numeric hyperparameters of each trial."""
        names = dict.fromkeys(name for number in self.pool.rows for name in self.plan.groups[number].values)
        found = {name: np.full((len(members), len(self.plan.seeds)), np.nan) for name in names}
        for position, (number, row) in enumerate(members):
            group, held = self.plan.groups[number], self._held.get(number)
            for name in group.values:
                found[name][position] = group.values[name][row] if held is None else held.values[name][row]
        return found

    def _restarted(self, decision: Decision, members: list[tuple[int, int]], ends: np.ndarray) -> np.ndarray:
        """Copy states between trials and set new values; return which trials took over another's state (bool)."""
        restarts = np.zeros_like(ends)
        before = {number: jax.tree.map(np.copy, held) for number, held in self._held.items()}
        for position, (number, row) in enumerate(members):
            for seed in np.flatnonzero(~ends[position]):
                source = position if decision.source is None else int(decision.source[position, seed])
                if source != position:
                    restarts[position, seed] = True
                    other = members[source][1]
                    put = lambda now, old, at=(row, seed), place=(other, seed): now.__setitem__(at, old[place])
                    jax.tree.map(put, self._held[number], before[number])
                for name, values in decision.values.items():
                    if name in self.plan.groups[number].values and number in self._held:
                        held = self._held[number]
                        held.values[name][row, seed] = values[position, seed]
                        held.info[f"{name}{IN_FORCE}"][row, seed] = values[position, seed]
        return restarts

    def _note(self, recorder: Recorder, racing: Any, ends: Any, cut_off: Any, restarts: Any) -> None:
        """Record the decision."""
        optimizer = self.plan.groups[next(iter(self.pool.rows))].optimizer
        decision = {"optimizer": optimizer, "bracket": self.bracket, "rung": self.rung, "step": self.stage.last}
        decision |= {"compared": int(racing.sum()), "ended": int(cut_off.sum())}
        decision |= {"restarted": int(restarts.sum())} if restarts.any() else {}
        kept = self._history[-1][racing & ~ends]
        worst = _finite(self.plan.compared[1] * kept.max(initial=-math.inf))  # in the metric's own sense
        recorder.outcome.decisions.append(decision | {"worst_kept": worst})

    def _go_on(
        self, members: list[tuple[int, int]], ends: np.ndarray, status: np.ndarray, last: dict[str, np.ndarray]
    ) -> None:
        """Remove trials that have ended from the cohort.

        If such a trial shares a chunk with running ones, its status and last values stay as they are now.
        """
        for position, (number, row) in enumerate(members):
            over = status[position] != Status.RUNNING
            self.racing[number][row] &= ~ends[position]
            self.alive[number][row] = self.racing[number][row] & ~over
            if number in self._held:  # a chunk may hold ended trials together with running ones
                held = self._held[number]
                held.status[row] = np.where(over, status[position], held.status[row])
                for name, values in held.info.items():
                    values[row] = np.where(over, last[name][position], values[row])
        self.rung += 1

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
        optimizer = plan.groups[next(iter(pool.rows))].optimizer
        brackets[optimizer] = brackets.get(optimizer, -1) + 1
        cohorts.append(Cohort(plan, pool, number, brackets[optimizer]))
    return cohorts


def checked(rule: StopRule, rung: Rung, decision: Any, groups: list[int]) -> Decision:
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
        if (np.asarray(groups)[decision.source] != np.asarray(groups)[:, None])[moved].any():
            raise ValueError(f"{what}: trials can only continue from one of the same structure.")
    return decision


# Survivors of a rung run in programs that fit their number. Rules of thumb, not measurements, decide which program runs
# them and whether a smaller one is worth compiling, so that every run of a plan cuts the same chunks.


def fittest(plan: Plan, cohort: Cohort, number: int, made: list[Strategy]) -> Strategy:
    """Return, of the strategies compiled for a group (its first comes first), the one with the least padding."""
    survivors = int(cohort.alive[number].any(axis=1).sum())
    known = [strategy for strategy in made if strategy.trials <= made[0].trials]  # the first may have shrunk since
    return min(known, key=lambda s: (_padded(plan, s, survivors), -s.trials))


def smaller_program(plan: Plan, cohort: Cohort, number: int, strategy: Strategy) -> Strategy | None:
    """Return a smaller strategy for the next stage, if it saves more time than it takes to compile."""
    survivors = cohort.most_survivors(number)
    if not survivors or strategy.trials == 1:
        return None
    wanted = survivors * len(plan.seeds)
    most = _power_of_two(math.ceil(wanted / at_once(plan)))
    smaller = fitted(plan, plan.groups[number], strategy, most, {survivors: 1})
    saved = _padded(plan, strategy, survivors) - _padded(plan, smaller, survivors)
    seconds = saved * (cohort.next_last - cohort.stage.last) * step_seconds(plan.groups[number])
    return smaller if smaller.trials < strategy.trials and seconds > COMPILE_SECONDS else None


def _padded(plan: Plan, strategy: Strategy, configs: int) -> int:
    """Return the time for so many configurations, in trials, including padding and idle cores."""
    chunks = math.ceil(configs / strategy.configs) * math.ceil(len(plan.seeds) / strategy.seeds)
    return math.ceil(chunks / at_once(plan)) * strategy.trials


def _power_of_two(n: int) -> int:
    """Round up to a power of two, so that there are few sizes, and few programs."""
    return 1 << max(0, n - 1).bit_length()


def _finite(x: float) -> float | None:
    """Return None for infinity, which JSON lacks."""
    return float(x) if math.isfinite(x) else None
