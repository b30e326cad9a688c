"""The progress of a search: that of its rounds so far and of the one that runs, as one sweep's."""

import dataclasses
from collections.abc import Callable

from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import Progress

SUMS = ("trials_done", "programs", "programs_compiled", "trial_steps", "diverged")


class Whole:
    """Reports rounds to the display of the search.

    Args:
        report: Called with the progress of the whole search.
        trials: How many trials its budget is.

    """

    def __init__(self, report: Callable[[Progress], None], trials: int):
        self._report, self._trials = report, trials
        self._done = Progress(trials, 0)  # the rounds before
        self._plan: Plan | None = None
        self._latest: Progress | None = None

    def begin(self, plan: Plan) -> Callable[[Progress], None]:
        """Return what to call with the progress of the round of this plan."""
        self._plan, self._latest = plan, None
        return self._told

    def end(self) -> None:
        """Add the round, whose last figures come after its last report."""
        if self._latest is None:  # a round that a run folder has
            assert self._plan is not None
            self._done.trials_done += self._plan.trials
        else:
            self._told(self._latest)
            self._done = self._sum(self._latest)

    def _told(self, progress: Progress) -> None:
        self._latest = progress
        self._report(self._sum(progress))

    def _sum(self, now: Progress) -> Progress:
        done, plan = self._done, self._plan
        assert plan is not None
        sums = {name: getattr(done, name) + getattr(now, name) for name in SUMS}
        left = max(0, self._trials - sums["trials_done"] - now.trials + now.trials_done)
        sign = plan.selects_by[1]
        best = {name: sign * x for name, x in done.best.items()}
        for name, x in now.best.items():
            best[name] = min(best.get(name, sign * x), sign * x)
        notes = [*done.notes, *(note for note in now.notes if note not in done.notes)]
        return dataclasses.replace(
            now,
            trials=self._trials,
            trial_steps_planned=done.trial_steps + now.trial_steps_planned + left * plan.trial_steps // plan.trials,
            seconds=done.seconds + now.seconds,
            notes=notes,
            best={name: sign * best[name] for name in sorted(best, key=lambda name: best[name])},
            **sums,
        )
