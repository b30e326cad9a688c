"""A race: the trials that a stop rule compares, on their way from rung to rung."""

import math
from typing import Any

import numpy as np

from jaxopt_lab.engine.plan import Plan, Pool
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.run.chunk import Chunk, cut
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.trial import RUNNING, STATUSES


class Race:
    """The trials of one pool. Without a rule there are no rungs, and the race is one stage to the end.

    Attributes:
        number: Which of the sweep's races it is.
        rung: The number of the next rung.
        waiting_for: Groups to be compiled and chunks to be run before all trials are at that rung.
        racing: Of each group, by its number, which of its trials no rung has ended: bool (configurations, seeds).
        alive: The same without those that have ended by themselves.

    """

    def __init__(self, plan: Plan, pool: Pool, number: int, bracket: int):
        self.plan, self.pool, self.number, self.bracket = plan, pool, number, bracket
        self.rung, self.waiting_for = 0, len(pool.rows)
        self.racing = {}
        for number, rows in pool.rows.items():
            self.racing[number] = np.zeros((len(plan.groups[number].configs), len(plan.seeds)), bool)
            self.racing[number][rows] = True
        self.alive = {number: racing.copy() for number, racing in self.racing.items()}
        self._held: dict[int, Any] = {}  # where trials stand between two rungs, on the host
        self._history: list[np.ndarray] = []  # what the rule compares, rung by rung

    @property
    def first(self) -> int:
        """The step at which this stage begins."""
        return int(self.pool.rungs[self.rung - 1]) if self.rung else 0

    @property
    def last(self) -> int:
        """The step at which it ends."""
        return self.plan.steps if self.final else int(self.pool.rungs[self.rung])

    @property
    def next_last(self) -> int:
        """The step at which the stage after this one ends."""
        following = self.pool.rungs[self.rung + 1 :]
        return int(following[0]) if len(following) else self.plan.steps

    @property
    def final(self) -> bool:
        """Whether no rung is left."""
        return self.rung == len(self.pool.rungs)

    @property
    def trials(self) -> int:
        """How many still run."""
        return sum(int(alive.sum()) for alive in self.alive.values())

    def chunks(self, number: int, strategy: Strategy) -> list[Chunk]:
        """The stage's work on a group."""
        chunks = cut(number, self.alive[number], self.first, strategy)
        return [chunk.standing(self._held[number]) for chunk in chunks] if self.rung else chunks

    def most_survivors(self, number: int) -> int:
        """How many of a group's configurations may run in the next stage."""
        rows = int(self.alive[number].any(axis=1).sum())
        assert self.plan.stop is not None  # without a rule there is no next stage
        kept = self.plan.stop.kept(sum(int(racing.any(axis=1).sum()) for racing in self.racing.values()))
        return min(rows, kept)

    def hold(self, chunk: Chunk, recorder: Recorder) -> None:
        """Keep where a chunk's trials stand until the next stage."""
        held = self._held.get(chunk.group)
        self._held[chunk.group] = recorder.scattered(chunk.group, held, chunk.rows, chunk.columns, chunk.state)

    def judge(self, recorder: Recorder) -> None:
        """All are at the rung: end what the rule ends, and go on with the rest."""
        rule, outcome, step = self.plan.stop, recorder.outcome, self.last
        assert rule is not None
        configs = np.concatenate([self.plan.groups[n].configs[rows] for n, rows in self.pool.rows.items()])
        order = np.argsort(configs, kind="stable")  # ties go to the lower number
        configs = configs[order]
        racing = np.concatenate([self.racing[n][rows] for n, rows in self.pool.rows.items()])[order]
        self._history.append(self._compared(recorder, configs, step))
        ends = rule.ends(np.stack(self._history), racing) & racing
        status = outcome.status[configs]
        cut_off = ends & (status == RUNNING)  # the others had ended by themselves
        status[cut_off] = STATUSES.index(rule.status)
        outcome.status[configs] = status
        outcome.rung[configs] = np.where(cut_off, self.rung, outcome.rung[configs])
        recorder.hold(np.ix_(configs, np.arange(len(self.plan.seeds))), step)
        kept = self._history[-1][racing & ~ends]
        optimizer = self.plan.groups[next(iter(self.pool.rows))].optimizer
        decision = {"optimizer": optimizer, "bracket": self.bracket, "rung": self.rung, "step": step}
        decision |= {"compared": int(racing.sum()), "ended": int(cut_off.sum())}
        worst = _finite(self.plan.compared[1] * kept.max(initial=-math.inf))  # in the metric's own sense
        outcome.decisions.append(decision | {"worst_kept": worst})
        as_grouped = np.argsort(order)
        self._go_on(ends[as_grouped], status[as_grouped], outcome.last_loss[configs][as_grouped])

    def _go_on(self, ends: np.ndarray, status: np.ndarray, losses: np.ndarray) -> None:
        """Take what has ended out of the race; all in the order of the pool's groups.

        Where such a trial shares a chunk with others, its status and last training loss stay what they are here.
        """
        at = 0
        for number, rows in self.pool.rows.items():
            own = slice(at, at := at + len(rows))
            self.racing[number][rows] &= ~ends[own]
            self.alive[number][rows] = self.racing[number][rows] & (status[own] == RUNNING)
            if number in self._held:  # a chunk may hold a trial that has ended beside others that have not
                held, over = self._held[number], status[own] != RUNNING
                held.status[rows] = np.where(over, status[own], held.status[rows])
                held.loss[rows] = np.where(over, losses[own], held.loss[rows])
        self.rung += 1

    def _compared(self, recorder: Recorder, configs: np.ndarray, step: int) -> np.ndarray:
        """What the rule compares: least is best, +inf where there is nothing to compare."""
        name, sign = self.plan.compared
        if name == "train_loss":
            losses = recorder.outcome.last_loss[configs]
        else:
            point = int(np.searchsorted(self.plan.eval_steps, step))
            losses = recorder.outcome.evaluations[name][configs, :, point]
        return np.where(np.isnan(losses), np.inf, sign * losses).astype(float)


def start_races(plan: Plan) -> list[Race]:
    """One for each pool."""
    brackets: dict[str, int] = {}
    races = []
    for number, pool in enumerate(plan.pools):
        optimizer = plan.groups[next(iter(pool.rows))].optimizer
        brackets[optimizer] = brackets.get(optimizer, -1) + 1
        races.append(Race(plan, pool, number, brackets[optimizer]))
    return races


def _finite(x: float) -> float | None:
    """For JSON, which has no infinity."""
    return float(x) if math.isfinite(x) else None
