"""A sweep's progress in words, and its sparklines: what terminals and notebooks show alike."""

import collections
from typing import NamedTuple

from jaxopt_lab.checking import printable
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.engine.standing import Seldom
from jaxopt_lab.formats import clock, compact, number
from jaxopt_lab.report.sparklines import BLOCKS, DIVERGED, Sparklines, of_progress

WINDOW = 10.0  # seconds over which the rate is averaged, since a program's chunks end in bursts
PLAIN_BEST = 3  # optimizers whose best is in a plain line


class Pace:
    """The rate of a sweep over the last seconds, in trial-steps per second."""

    def __init__(self):
        self._seen = collections.deque([(0.0, 0)])  # (seconds, trial-steps) of the last reports

    def __call__(self, p: Progress) -> float:
        """Return the rate at a report."""
        seen = self._seen
        seen.append((p.seconds, p.trial_steps))
        while len(seen) > 2 and seen[0][0] < p.seconds - WINDOW:
            seen.popleft()
        (began, before), (now, steps) = seen[0], seen[-1]
        return (steps - before) / (now - began) if now > began else 0.0


class Row(NamedTuple):
    """An optimizer in the display: its name, its best value, and its sensitivity as a sparkline."""

    optimizer: str
    best: str
    sparkline: str


class Standings:
    """Rows for a sweep's optimizers, best first. They are found seldom, since that may take long."""

    def __init__(self):
        none: Sparklines | None = None
        self._look = Seldom(lambda progress: of_progress(progress.sensitivity()), none)
        self._found = none

    def rows(self, p: Progress, most: int) -> list[Row]:
        """Return a row for each of at most `most` optimizers; none where no optimizer has a learning rate."""
        self._found = self._look(p)
        if self._found is None:
            return []
        names = [*p.best, *(name for name in self._found.lines if name not in p.best)]
        return [
            Row(
                printable(name),
                number(p.best[name]) if name in p.best else "-",
                printable(self._found.lines.get(name, "")),
            )
            for name in names[:most]
        ]

    def heads(self, p: Progress) -> Row:
        """Return the heads of the columns, in two lines."""
        assert self._found is not None
        lost = f", {DIVERGED} diverged" if any(DIVERGED in line for line in self._found.lines.values()) else ""
        scale = f"{BLOCKS[0]} {number(self._found.low)}, {BLOCKS[-1]} {number(self._found.high)}{lost}"
        return Row("\noptimizer", f"best\n{metric(p)}", f"by learning rate\n{scale}")


def counts(p: Progress) -> str:
    """Return how many trials have ended, and how many programs are compiled."""
    return f"{p.trials_done}/{p.trials} trials, {p.diverged} diverged, {p.programs_compiled}/{p.programs} compiled"


def ahead(p: Progress, rate: float) -> str:
    """Return the rate, and the time that is left."""
    left = clock(max(0, p.trial_steps_planned - p.trial_steps) / rate) if rate > 0 else "-:--"
    return f"{compact(rate)} trial-steps/s, {left} left"


def share(p: Progress) -> float:
    """Return the share of the work that is done. Trials that stop early reduce the planned steps, possibly to none."""
    return 1.0 if p.trials_done == p.trials else min(1.0, p.trial_steps / max(p.trial_steps_planned, 1))


def final(p: Progress) -> str:
    """Return the counts, the mean rate and the whole time of a sweep that has ended."""
    rate = p.trial_steps / p.seconds if p.seconds > 0 else 0.0
    return f"{counts(p)}, {compact(rate)} trial-steps/s, {clock(p.seconds)} in total"


def metric(p: Progress) -> str:
    """Return the name of the metric in words."""
    return printable(p.metric).replace("_", " ")


def best(p: Progress, most: int) -> str:
    """Return the best values of the `most` best optimizers; empty where none has a value yet."""
    if not p.best:
        return ""
    shown = [f"{printable(name)} {number(value)}" for name, value in list(p.best.items())[:most]]
    shown += [f"{len(p.best) - most} more"] if len(p.best) > most else []
    return f"best {metric(p)}: {', '.join(shown)}"


def beside(p: Progress) -> str:
    """Return the best values for the end of a plain line."""
    return f"; {best(p, PLAIN_BEST)}" if p.best else ""
