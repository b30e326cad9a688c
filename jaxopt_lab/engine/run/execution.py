"""One execution of a plan: groups are compiled ahead of their chunks, chunks run in parallel, stop rules decide."""

import collections
import functools
import threading
import time
from collections.abc import Callable

import numpy as np

from jaxopt_lab.engine.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.compile.cache import persistent
from jaxopt_lab.engine.ledger import Ledger, Unit, counts, misfit, recorded, restored, unit_of
from jaxopt_lab.engine.plan import Plan, state_shapes
from jaxopt_lab.engine.recorder import Outcome, Progress, Recorder, Trials, in_a_line
from jaxopt_lab.engine.run.backend import Backend, Done, InProcess, Job
from jaxopt_lab.engine.run.cohort import Cohort, cohorts_of
from jaxopt_lab.engine.run.fitting import fittest, smaller_program
from jaxopt_lab.engine.run.lapack import one_core_each
from jaxopt_lab.engine.run.threads import Threads
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.cutting import first_strategy, fitted, reused
from jaxopt_lab.engine.tuning.probe import Choice
from jaxopt_lab.errors import ActorsLostError, StreamError
from jaxopt_lab.trial import Status


def execute(
    plan: Plan,
    report: Callable[[Progress], None] = lambda _: None,
    ledger: Ledger | None = None,
    backend: Backend | None = None,
) -> Outcome:
    """Run every trial of the plan; Ctrl-C ends it at the next segment, with partial results.

    If a chunk fails, its trials are marked as failed, with a note; if all fail, the first error is raised.

    Args:
        plan: The plan to run.
        report: Called from this thread several times a second.
        ledger: Saves the plan's work, and returns work that is already done; by default saves nothing.
        backend: Runs the chunks; by default in this process.

    """
    began = time.perf_counter()
    with persistent(plan.cache), one_core_each(plan):
        run = Execution(plan, Ledger() if ledger is None else ledger, InProcess() if backend is None else backend)

        def tell():
            run.recorder.count(run.progress, last=run.threads.cancelled.is_set())
            run.progress.seconds = time.perf_counter() - began
            report(run.progress)

        try:
            run.threads.run(tell)
        except KeyboardInterrupt:
            run.outcome.interrupted = True
        finally:
            run.backend.close(run.outcome.interrupted)
    if run.failed is not None and (run.outcome.status == Status.FAILED).all():
        raise run.failed
    run.outcome.run_seconds = time.perf_counter() - began
    return run.recorder.finish(run.progress)


class Execution:
    """The shared state of one execution."""

    def __init__(self, plan: Plan, ledger: Ledger, backend: Backend):
        self.plan, self.ledger, self.backend = plan, ledger, backend
        self.recorder = Recorder(plan)
        self.outcome = self.recorder.outcome
        self.progress = self.recorder.progress()
        self.outcome.notes = self.progress.notes
        ledger.begin(self.outcome)
        self.lock, self.shrinking = threading.Lock(), threading.Lock()
        self.chosen: dict[int, Strategy] = {}  # by group
        self.ready: set[tuple[int, Strategy]] = set()  # groups and strategies that the backend has prepared
        self.smaller: dict[tuple[int, int], list[Strategy]] = collections.defaultdict(list)  # by cohort and group
        self.failed: Exception | None = None  # the first error
        self.columns = np.arange(len(plan.seeds))
        self.cohorts = cohorts_of(plan)
        self.threads = Threads(backend.threads)
        backend.open(self)
        for number in range(len(plan.groups)):
            # By its priority, one group ahead of the one whose chunks run: see `submit`.
            self.threads.submit((2 * number - 1,), functools.partial(self.prepare, number))

    # The backend's interface: see `Host`

    def made(self, trial_steps: int) -> None:
        """Count trial-steps."""
        with self.lock:
            self.progress.trial_steps += trial_steps

    def due(self, unit: Unit) -> bool:
        """Return whether to save the state of a unit's trials."""
        return self.ledger.due(unit)

    def note(self, text: str) -> None:
        """Pass a message to the user, once."""
        if text not in self.progress.notes:
            self.progress.notes.append(text)

    def save(self, job: Job, chunk: Chunk) -> None:
        """Save a chunk to the ledger."""
        if self.ledger.keeps:
            self.ledger.save(job.unit, recorded(self.recorder, chunk, job.stage), chunk.first >= job.stage.last)

    # From group to chunks, from rung to rung

    def prepare(self, number: int) -> None:
        """Have the backend prepare a group, and then let its chunks run."""
        known = reused(self.plan, self.plan.groups[number])
        if self.ledger.knows((number,)):
            first = functools.partial(first_strategy, self.plan, self.plan.groups[number])
            known = self.ledger.settled((number,), first)
        self.backend.choose((2 * number - 1,), number, known, functools.partial(self.prepared, number))

    def prepared(self, number: int, choice: Choice | Exception) -> None:
        """Let a group's chunks run with the chosen strategy; if choosing failed, its trials fail."""
        cohorts = [cohort for cohort in self.cohorts if number in cohort.alive]
        if isinstance(choice, Exception):
            trials = self.recorder.trials(number, np.arange(len(self.plan.groups[number].configs)), self.columns)
            self.fail(number, trials, choice)
        else:
            strategy = choice.strategy
            self.ledger.settled((number,), lambda: strategy)
            with self.lock:
                self.chosen[number] = strategy
                self.ready.add((number, strategy))
                self.outcome.compile_seconds += choice.compile_seconds
                self.outcome.probe_seconds += choice.probe_seconds
                self.outcome.strategies[number] = choice.described()
                self.progress.programs_compiled += 1
            for cohort in cohorts:
                self.enqueue(cohort, number)
        for cohort in cohorts:
            self.arrived(cohort)

    def enqueue(self, cohort: Cohort, number: int) -> None:
        """Let a group's chunks run to the next rung, and compile the next stage's program meanwhile where that pays."""
        if not cohort.alive[number].any():
            return
        own = self.smaller[cohort.number, number]
        best = lambda: fittest(self.plan, cohort, number, [self.chosen[number], *own])
        strategy = self.ledger.settled((number, cohort.number, cohort.rung), best)
        if (number, strategy) not in self.ready:  # recorded by an earlier process, which compiled it a stage before
            self.compile(number, strategy)
        chunks = cohort.chunks(number, strategy)
        with self.lock:
            cohort.waiting_for += len(chunks)
        for chunk in chunks:
            self.submit(cohort, chunk, strategy)
        smaller = None if cohort.stage.final else smaller_program(self.plan, cohort, number, strategy)
        if smaller is not None and smaller not in own:
            with self.lock:
                cohort.waiting_for += 1
            self.threads.submit((2 * number,), functools.partial(self.compile_smaller, cohort, number, smaller))

    def submit(self, cohort: Cohort, chunk: Chunk, strategy: Strategy) -> None:
        self.threads.submit((2 * chunk.group + 2,), functools.partial(self.run, cohort, chunk, strategy))

    def run(self, cohort: Cohort, chunk: Chunk, strategy: Strategy) -> None:
        """Run a chunk to the end of its stage, from the state saved in the ledger."""
        stage, chunk = cohort.stage_of(chunk.group), self.recalled(cohort, chunk)
        if chunk.first < stage.last:
            if strategy.trials > self.chosen[chunk.group].trials:  # memory has run out since it was cut
                strategy = self.chosen[chunk.group]
            chunk, *others = chunk.parts(strategy)
            with self.lock:
                cohort.waiting_for += len(others)
            for other in others:
                self.submit(cohort, other, strategy)
            if others:
                chunk = self.recalled(cohort, chunk)
        if chunk.first < stage.last:
            job = Job(unit_of(cohort.number, cohort.rung, chunk), chunk, stage, strategy)
            self.backend.run((2 * chunk.group + 2,), job, functools.partial(self.ran, cohort, job))
        else:
            self.keep(cohort, self.recorder.params(chunk))
            self.arrived(cohort)

    def ran(self, cohort: Cohort, job: Job, done: Done) -> None:
        """Keep a job's results, or let its trials continue in other chunks after an error."""
        with self.lock:
            self.outcome.compile_seconds += done.compile_seconds
            self.recorder.spent[job.chunk.group] += done.seconds, done.made
        if isinstance(done.error, StreamError):  # no other chunk could go on
            raise done.error
        if isinstance(done.error, OutOfMemoryError):
            self.shrink(cohort, done.chunk, done.error, job.strategy)
        elif done.error is not None:
            self.isolate(cohort, job.chunk, job.strategy, done.error)
            with self.lock:
                self.progress.trial_steps_planned += done.made  # these are made again, or are lost
        else:
            chunk = self.recorder.params(done.chunk)
            if chunk.first > job.chunk.first:
                self.save(job, chunk)
            self.keep(cohort, chunk)
            with self.lock:  # trials that end early reduce the planned steps
                self.progress.trial_steps_planned -= job.chunk.trials * (job.stage.last - job.chunk.first) - done.made
        self.arrived(cohort)

    def recalled(self, cohort: Cohort, chunk: Chunk) -> Chunk:
        """Return the chunk at the state saved in the ledger; unchanged where that is not further on."""
        stage, unit = cohort.stage_of(chunk.group), unit_of(cohort.number, cohort.rung, chunk)
        record = self.ledger.find(unit)
        if record is None or record.step <= chunk.first:
            return chunk
        shapes = state_shapes(self.plan, self.plan.groups[chunk.group])
        trials = self.recorder.trials(chunk.group, chunk.rows, chunk.columns)
        results = self.recorder.taken(trials, stage.first, record.step)
        if wrong := misfit(record, trials.plan, stage, chunk, results, shapes):
            self.ledger.damaged(unit, wrong)
            return chunk
        with self.lock:
            self.progress.trial_steps_planned -= chunk.trials * (min(record.step, stage.last) - chunk.first)
        return restored(self.recorder, chunk, stage.first, record, shapes)

    def fail(self, number: int, trials: Trials, error: Exception) -> None:
        """Mark trials as failed; the others continue."""
        group = self.plan.groups[number]
        with self.lock:
            self.failed = self.failed or error
            self.recorder.fail(trials)
            self.note(f"{group.optimizer} on {group.structure.task.name}: trials failed: {in_a_line(error)}")

    def isolate(self, cohort: Cohort, chunk: Chunk, strategy: Strategy, error: Exception) -> None:
        """Run the halves of a failed chunk again, down to the trials that fail by themselves; the others continue."""
        if chunk.trials == 1 or isinstance(error, ActorsLostError):
            self.fail(chunk.group, self.recorder.trials(chunk.group, chunk.rows, chunk.columns), error)
            return
        halves = chunk.halves()
        with self.lock:
            cohort.waiting_for += len(halves)
        for half in halves:
            self.submit(cohort, half, strategy)

    def keep(self, cohort: Cohort, chunk: Chunk) -> None:
        """Keep a chunk's results."""
        trials = self.recorder.trials(chunk.group, chunk.rows, chunk.columns)
        if chunk.state is not None:
            self.recorder.counts(trials, counts(chunk.state))
        with self.lock:
            if not cohort.stage.final:
                cohort.hold(chunk)
        if chunk.first == trials.plan.steps:
            self.recorder.complete(trials)

    def arrived(self, cohort: Cohort) -> None:
        """Count one less to wait for; the last one takes the cohort to its next stage."""
        with self.lock:
            cohort.waiting_for -= 1
            if cohort.waiting_for or cohort.stage.final or self.threads.cancelled.is_set():
                return
            rung = cohort.stage.last
            before = cohort.trial_steps_after(rung)
            cohort.judge(self.recorder)
            self.progress.trial_steps_planned -= before - cohort.trial_steps_after(rung)
            cohort.waiting_for = 1  # until all chunks are queued
        for number in cohort.alive:
            self.enqueue(cohort, number)
        if cohort.trials:
            self.arrived(cohort)

    def compile_smaller(self, cohort: Cohort, number: int, smaller: Strategy) -> None:
        """Compile a smaller program while the current stage runs."""
        self.compile(number, smaller)
        with self.lock:
            self.smaller[cohort.number, number].append(smaller)
        self.arrived(cohort)

    def compile(self, number: int, strategy: Strategy) -> None:
        began = time.perf_counter()
        self.backend.compile(number, strategy)
        with self.lock:
            self.ready.add((number, strategy))
            self.outcome.compile_seconds += time.perf_counter() - began

    def shrink(self, cohort: Cohort, chunk: Chunk, error: OutOfMemoryError, strategy: Strategy) -> None:
        """Continue a chunk from its last segment in chunks of half the size, as all later chunks of its group."""
        group = self.plan.groups[chunk.group]
        with self.shrinking:
            if self.chosen[chunk.group].trials >= strategy.trials:  # no other chunk has shrunk it before
                smaller = fitted(self.plan, group, strategy, max(1, strategy.trials // 2))
                if smaller.trials >= strategy.trials:
                    raise MemoryError(
                        f"{strategy.trials} trials of {group.optimizer} on {group.structure.task.name!r} do not fit "
                        f"into memory, and fewer at once are not possible. ({error})"
                    ) from error
                self.compile(chunk.group, smaller)
                self.chosen[chunk.group] = smaller
                out = f"{group.optimizer}: {strategy.trials} trials at once ran out of memory"
                self.note(f"{out}; continuing with {smaller.trials}.")
            strategy = self.chosen[chunk.group]
        with self.lock:
            cohort.waiting_for += 1
        self.submit(cohort, chunk, strategy)
