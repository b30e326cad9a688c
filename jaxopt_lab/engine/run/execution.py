"""One execution of a plan: groups are compiled ahead of their chunks, chunks run side by side, rules judge at rungs."""

import collections
import dataclasses
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import devices, on_devices, worker_count
from jaxopt_lab.engine.ledger import Ledger, Unit, counts, misfit, recorded, restored, unit_of
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import Progress, Recorder, in_a_line
from jaxopt_lab.engine.run import compaction
from jaxopt_lab.engine.run.chunk import Chunk, OutOfMemoryError, Stage, run_chunk
from jaxopt_lab.engine.run.cohort import Race, start_races
from jaxopt_lab.engine.run.threads import Workers
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import Choice, choose, settled
from jaxopt_lab.engine.tuning.sizing import Room
from jaxopt_lab.errors import ActorsLostError, LedgerError
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.trial import TrialState


class Execution:
    """The shared state of one execution, whose chunks run in this process."""

    def __init__(self, plan: Plan, ledger: Ledger):
        self.plan, self.ledger = plan, ledger
        self.recorder = Recorder(plan)
        self.outcome = self.recorder.outcome
        self.progress = Progress(plan.trials, len(plan.groups), trial_steps_planned=plan.trials * plan.steps)
        self.outcome.notes = self.progress.notes
        ledger.begin(self.outcome)
        self.lock, self.shrinking = threading.Lock(), threading.Lock()
        self.choices: dict[int, Choice] = {}
        self.failed: Exception | None = None  # what failed first
        self.programs: dict[tuple[int, Strategy], Program] = {}
        self.compacted: dict[tuple[int, int], list[Strategy]] = collections.defaultdict(list)  # by race and group
        self.columns = np.arange(len(plan.seeds))
        self.data: dict[Task, Any] = {}
        self.races, self.room = start_races(plan), Room(plan)
        self.workers = self.hire()
        for number in range(len(plan.groups)):
            # One group ahead of the one whose chunks run: see `submit`.
            self.workers.submit((2 * number - 1,), functools.partial(self.prepare, number))

    def hire(self) -> Workers:
        """Who runs the jobs of this process; and the data that they take."""
        tasks = {group.structure.task: None for group in self.plan.groups}
        self.data = {task: on_devices(task.data) for task in tasks}
        return Workers(worker_count(devices()))

    def close(self) -> None:
        """All is done, or the workers have been stopped."""

    def prepare(self, number: int) -> None:
        """Compile a group's program and let its chunks run."""
        self.prepared(number, functools.partial(self.chosen, number))

    def prepared(self, number: int, chosen: Callable[[], Choice]) -> None:
        """Let a group's chunks run as is chosen; where nothing is, since that raises, its trials fail."""
        group, races = self.plan.groups[number], [race for race in self.races if number in race.alive]
        try:
            choice = chosen()
        except Exception as error:
            self.fail(number, self.recorder.trials(number, np.arange(len(group.configs)), self.columns), error)
        else:
            with self.lock:
                self.choices[number] = choice
                self.programs[number, choice.strategy] = choice.program
                self.outcome.compile_seconds += choice.compile_seconds
                self.outcome.probe_seconds += choice.probe_seconds
                self.outcome.strategies[number] = choice.described()
                self.progress.programs_compiled += 1
            for race in races:
                self.enqueue(race, number)
        for race in races:
            self.arrived(race)

    def chosen(self, number: int) -> Choice:
        """How the group's trials run: as an earlier process has settled it, or as is best."""
        group, data = self.plan.groups[number], self.data[self.plan.groups[number].structure.task]
        if not self.ledger.knows((number,)):
            choice = choose(self.plan, group, data)
            self.ledger.settled((number,), lambda: choice.strategy)
            return choice
        strategy = self.ledger.settled((number,), lambda: self.plan.first_strategy(group))
        return settled(self.plan, group, strategy, data)

    def enqueue(self, race: Race, number: int) -> None:
        """Let a group's chunks run to the next rung, and make the next stage's program meanwhile where that pays."""
        if not race.alive[number].any():
            return
        about = (number, race.number, race.rung)
        own = self.compacted[race.number, number]
        fittest = lambda: compaction.fittest(self.plan, race, number, [self.choices[number].strategy, *own])
        strategy = self.ledger.settled(about, fittest)
        if (number, strategy) not in self.programs:  # settled by a process that had made it a stage before
            self.programs[number, strategy] = self.compile(number, strategy)
        chunks = race.chunks(number, strategy)
        with self.lock:
            race.waiting_for += len(chunks)
        for chunk in chunks:
            self.submit(race, chunk, strategy)
        smaller = None if race.final else compaction.foreseen(self.plan, race, number, strategy)
        if smaller is not None and smaller not in own:
            with self.lock:
                race.waiting_for += 1
            self.workers.submit((2 * number,), functools.partial(self.compact, race, number, smaller))

    def submit(self, race: Race, chunk: Chunk, strategy: Strategy) -> None:
        self.workers.submit((2 * chunk.group + 2,), functools.partial(self.run, race, chunk, strategy))

    def run(self, race: Race, chunk: Chunk, strategy: Strategy) -> None:
        """Take a chunk to the end of its stage, from wherever the ledger knows it to be."""
        chunk = self.recalled(race, chunk)
        if chunk.first < race.last:
            if strategy.trials > self.choices[chunk.group].strategy.trials:  # memory ran out since it was cut
                strategy = self.choices[chunk.group].strategy
            chunk, *others = chunk.parts(strategy)
            with self.lock:
                race.waiting_for += len(others)
            for other in others:
                self.submit(race, other, strategy)
            if others:
                chunk = self.recalled(race, chunk)
        if chunk.first < race.last:
            self.perform(race, chunk, strategy)
        else:
            self.keep(race, chunk)
            self.arrived(race)

    def perform(self, race: Race, chunk: Chunk, strategy: Strategy) -> None:
        """Run a chunk, and conclude it."""
        program, made = self.programs[chunk.group, strategy], 0
        data, unit = self.data[self.plan.groups[chunk.group].structure.task], unit_of(race.number, race.rung, chunk)

        def going_on(trial_steps: int) -> bool:
            nonlocal made
            with self.lock:
                made += trial_steps
                self.progress.trial_steps += trial_steps
            return not self.workers.cancelled.is_set()

        due, keep = lambda: self.ledger.due(unit), lambda c: self.save(race, unit, c)
        stage = Stage(race.last, not race.final, going_on, due, keep)
        run = lambda: run_chunk(self.plan, program, strategy.shape, chunk, stage, data, self.recorder)
        with self.room.taken(program.chunk_bytes):
            self.conclude(race, chunk, strategy, run, lambda: made)

    def conclude(
        self, race: Race, chunk: Chunk, strategy: Strategy, run: Callable[[], Chunk], made: Callable[[], int]
    ) -> None:
        """Keep what comes of a chunk, where `run` takes it, by so many trial-steps made, or why it does not."""
        unit = unit_of(race.number, race.rung, chunk)
        try:
            done = run()
        except OutOfMemoryError as error:
            self.shrink(race, error, strategy)
        except LedgerError:
            raise
        except Exception as error:
            self.isolate(race, chunk, strategy, error)
            with self.lock:
                self.progress.trial_steps_planned += made()  # which are made again, or were in vain
        else:
            if done.first > chunk.first:
                self.save(race, unit, done)
            self.keep(race, done)
            with self.lock:  # trials that end early take their steps out of the plan
                self.progress.trial_steps_planned -= chunk.trials * (race.last - chunk.first) - made()
        self.arrived(race)

    def save(self, race: Race, unit: Unit, chunk: Chunk) -> None:
        """Tell the ledger where a chunk stands."""
        if not self.ledger.keeps:
            return
        record = recorded(self.recorder, chunk, race.first, race.last, race.final)
        self.ledger.save(unit, record, chunk.first >= race.last)

    def recalled(self, race: Race, chunk: Chunk) -> Chunk:
        """The chunk where the ledger knows it to stand; itself where it knows nothing, or less."""
        unit = unit_of(race.number, race.rung, chunk)
        record = self.ledger.find(unit)
        if record is None or record.step <= chunk.first:
            return chunk
        shapes = self.shapes(chunk.group)
        trials = self.recorder.trials(chunk.group, chunk.rows, chunk.columns)
        wrong = misfit(record, race, chunk, self.recorder.taken(trials, race.first, record.step), shapes)
        if wrong:
            self.ledger.damaged(unit, wrong)
            return chunk
        with self.lock:
            known = chunk.trials * (min(record.step, race.last) - chunk.first)
            self.progress.trial_steps_planned -= known
        return restored(self.recorder, chunk, race.first, record, shapes)

    def shapes(self, number: int) -> TrialState:
        """Of where trials of a group stand, with leading axes that any of its programs has."""
        return next(program for (group, _), program in self.programs.items() if group == number).shapes

    def fail(self, number: int, trials: Any, error: Exception) -> None:
        """Mark trials that cannot go on; the others do."""
        group = self.plan.groups[number]
        with self.lock:
            self.failed = self.failed or error
            self.recorder.fail(trials)
            note = f"{group.optimizer} on {group.structure.task.name}: trials failed: {in_a_line(error)}"
            if note not in self.progress.notes:
                self.progress.notes.append(note)

    def isolate(self, race: Race, chunk: Chunk, strategy: Strategy, error: Exception) -> None:
        """Run a chunk that failed again by halves, down to the trials that fail by themselves: the others go on."""
        if chunk.trials == 1 or isinstance(error, ActorsLostError):
            self.fail(chunk.group, self.recorder.trials(chunk.group, chunk.rows, chunk.columns), error)
            return
        halves = chunk.halves()
        with self.lock:
            race.waiting_for += len(halves)
        for half in halves:
            self.submit(race, half, strategy)

    def keep(self, race: Race, chunk: Chunk) -> None:
        """Take from a chunk what outlives it."""
        trials = self.recorder.trials(chunk.group, chunk.rows, chunk.columns)
        if chunk.state is not None:
            self.recorder.counts(trials, counts(chunk.state))
        with self.lock:
            if chunk.params is not None:
                self.recorder.params(chunk.group, chunk.rows, chunk.columns, chunk.params)
            if not race.final:
                race.hold(chunk, self.recorder)
        if chunk.first == self.plan.steps:
            self.recorder.complete(trials)

    def arrived(self, race: Race) -> None:
        """One less to wait for; the last one takes the race on."""
        with self.lock:
            race.waiting_for -= 1
            if race.waiting_for or race.final or self.workers.cancelled.is_set():
                return
            before = race.trials
            race.judge(self.recorder)
            self.progress.trial_steps_planned -= (before - race.trials) * (self.plan.steps - race.first)
            race.waiting_for = 1  # until all are queued
        for number in race.alive:
            self.enqueue(race, number)
        if race.trials:
            self.arrived(race)

    def compact(self, race: Race, number: int, smaller: Strategy) -> None:
        """Compile a smaller program while the rung before it runs."""
        program = self.compile(number, smaller)
        with self.lock:
            self.programs[number, smaller] = program
            self.compacted[race.number, number].append(smaller)
        self.arrived(race)

    def compile(self, number: int, strategy: Strategy) -> Program:
        plan, group, began = self.plan, self.plan.groups[number], time.perf_counter()
        program = compiled(plan, group, strategy, self.data[group.structure.task])
        with self.lock:
            self.outcome.compile_seconds += time.perf_counter() - began
        return program

    def shrink(self, race: Race, error: OutOfMemoryError, strategy: Strategy) -> None:
        """Go on from a chunk's last segment in chunks of half the size, this one and all of its group that follow."""
        chunk, group = error.chunk, self.plan.groups[error.chunk.group]
        with self.shrinking:
            choice = self.choices[chunk.group]
            if choice.strategy.trials >= strategy.trials:  # no other chunk has met with it before
                smaller = self.plan.fitted(group, strategy, max(1, strategy.trials // 2))
                if smaller.trials >= strategy.trials:
                    raise MemoryError(
                        f"{strategy.trials} trials of {group.optimizer} on {group.structure.task.name!r} do not fit "
                        f"into memory, and fewer at once are not possible. ({error})"
                    ) from error
                self.programs[chunk.group, smaller] = self.compile(chunk.group, smaller)
                self.choices[chunk.group] = dataclasses.replace(choice, strategy=smaller)
                text = f"{group.optimizer}: {strategy.trials} trials at once ran out of memory; going on with"
                self.progress.notes.append(f"{text} {smaller.trials}.")
            strategy = self.choices[chunk.group].strategy
        with self.lock:
            race.waiting_for += 1
        self.submit(race, chunk, strategy)
