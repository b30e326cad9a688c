"""A worker process of a cluster: it keeps the plan, its data and compiled programs, and runs chunks rung to rung."""

import contextlib
import dataclasses
import hashlib
import os
import pickle
import platform
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_lab.engine.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.compile.cache import persistent
from jaxopt_lab.engine.compile.data import TaskData
from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import default_budget, devices
from jaxopt_lab.engine.ledger import Record, leaves, misfit, recorded, restored
from jaxopt_lab.engine.plan import Group, Plan, Stage, state_shapes
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.run.chunk import Control, run_chunk
from jaxopt_lab.engine.run.lapack import one_core_each
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import Choice, choose
from jaxopt_lab.engine.tuning.sizing import kept_batches_bytes
from jaxopt_lab.errors import RunError
from jaxopt_lab.store.budget import Budget
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.identity import versions
from jaxopt_lab.store.pack import listed, packed, unpacked
from jaxopt_lab.tasks.task import Task

TOKEN = "token"  # a file by which a worker recognises the driver's folder
SAVING_SHARE = 0.01  # the most that saving trials' states may take of a worker's time


class Settings(NamedTuple):
    """The settings that a worker must share with the driver.

    Attributes:
        environment: Environment variables, set where the machine does not already set them.
        config: JAX's settings by name.
        versions: Versions of the packages that results depend on.
        memory: The memory budget of the worker's trials in bytes; None: a share of free memory.
        shared: A folder or URL where trials' states may be saved, if the worker can reach it, and its token.
        every: Seconds between two such saves; None: as often as a small share of the time allows.

    """

    environment: dict[str, str]
    config: dict[str, Any]
    versions: dict[str, str]
    memory: int | None
    shared: tuple[str, bytes] | None
    every: float | None


class Work(NamedTuple):
    """A chunk and its stage: see `Chunk`, `Stage` and `Unit`. `state` has the leaves of the trials' states."""

    unit: str
    group: int
    rows: np.ndarray
    columns: np.ndarray
    first: int
    state: list[np.ndarray] | None
    last: int
    final: bool
    strategy: Strategy

    @property
    def stage(self) -> Stage:
        return Stage(self.first, self.last, self.final)


class Reply(NamedTuple):
    """The result of some work.

    Attributes:
        record: The record from the work's start to its present state; None where it made no step.
        error: Why the work is not complete, if it is not.
        out_of_memory: Whether that is because the device ran out of memory.
        made: The number of trial-steps made.
        seconds: The time that they took.
        compile_seconds: The time that compiling took before.

    """

    record: Record | None
    error: Exception | None = None
    out_of_memory: bool = False
    made: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0


class Worker:
    """An actor. Its methods return exceptions, in a form that travels, and raise none of the user's."""

    def __init__(self, settings: Settings):
        for name, value in settings.environment.items():  # before anything uses a device
            os.environ.setdefault(name, value)
        for name, value in settings.config.items():
            jax.config.update(name, value)
        self._settings, self._stopping, self._made = settings, False, 0
        self._data: dict[Task, TaskData] = {}

    def load(self, plan: bytes) -> Exception | None:
        """Load the plan; return the error where that fails."""
        try:
            if others := sorted(set(versions().items()) - set(self._settings.versions.items())):
                said = ", ".join(f"{name} {version}" for name, version in others)
                return RuntimeError(f"{platform.node()} has {said}, unlike the driver: install the same versions.")
            found = pickle.loads(plan)
            memory = self._settings.memory or default_budget(devices())
            self._plan = dataclasses.replace(found, memory=memory)
            self._standing = _Standing.reached(self._settings)
            self._cache = contextlib.ExitStack()  # never closed: it lasts as long as the process
            self._cache.enter_context(persistent(found.cache))
        except Exception as error:
            return _portable(error)
        return None

    def choose(self, numbers: list[int]) -> list[Choice | Exception]:
        """Choose strategies for groups, measured here; the programs stay here."""
        return [self._choose(number) for number in numbers]

    def run(self, works: list[Work]) -> list[Reply]:
        """Run works, one after another."""
        self._made = 0
        return [self._run(work) for work in works]

    def made(self) -> int:
        """Return the trial-steps made so far in the present call of `run`."""
        return self._made

    def stop(self) -> None:
        """Let works end at their next segment."""
        self._stopping = True

    def _choose(self, number: int) -> Choice | Exception:
        try:
            group = self._plan.groups[number]
            return choose(self._plan, group, self._placed(group.structure.task))[0]
        except Exception as error:
            return _portable(error)

    def _run(self, work: Work) -> Reply:
        made, began, compile_seconds = 0, time.perf_counter(), 0.0

        def going_on(trial_steps: int) -> bool:
            nonlocal made
            made += trial_steps
            self._made += trial_steps
            return not self._stopping

        def reply(record: Record | None, error: Exception | None = None, out_of_memory: bool = False) -> Reply:
            return Reply(record, error, out_of_memory, made, time.perf_counter() - began, compile_seconds)

        recorder, chunk = None, None
        try:
            plan, chunk, group = self._own(work)
            data = self._placed(group.structure.task)
            program = compiled(self._plan, group, work.strategy, data.arrays)
            compile_seconds, began = time.perf_counter() - began, time.perf_counter()
            recorder = Recorder(plan)
            chunk = self._resumed(work, plan, chunk, recorder, program)
            control = Control(going_on, self._due, lambda standing: self._keep(work, recorder, standing))
            if chunk.first < work.last:
                shape = work.strategy.shape
                with one_core_each(plan):
                    chunk = run_chunk(plan, program, shape, chunk, work.stage, control, data, recorder)
            return reply(self._recorded(work, recorder, chunk))
        except OutOfMemoryError as error:
            assert recorder is not None
            return reply(self._recorded(work, recorder, error.chunk), MemoryError(str(error)), True)
        except Exception as error:
            return reply(None, _portable(error))

    def _own(self, work: Work) -> tuple[Plan, Chunk, Group]:
        """Make a plan of only the chunk's trials, so that only these take memory; return it, chunk and group."""
        group, plan = self._plan.groups[work.group], self._plan
        values = {name: x[work.rows] for name, x in group.values.items()}
        own = dataclasses.replace(group, configs=np.arange(len(work.rows)), values=values)
        part = dataclasses.replace(plan, groups=[own], seeds=plan.seeds[work.columns])
        return part, Chunk(0, np.arange(len(work.rows)), np.arange(len(work.columns)), work.first), group

    def _resumed(self, work: Work, plan: Plan, chunk: Chunk, recorder: Recorder, program: Program) -> Chunk:
        """Return the chunk at the state that the driver sent, or at a later one that another worker saved."""
        state, shapes = None, state_shapes(plan, plan.groups[0])
        if work.state is not None:
            state = jax.tree.unflatten(jax.tree.structure(program.shapes), work.state)
        chunk = dataclasses.replace(chunk, state=state)
        found = None if self._standing is None else self._standing.find(work)
        if found is None:
            return chunk
        trials = recorder.trials(0, chunk.rows, chunk.columns)
        expected = recorder.taken(trials, work.first, found.step)
        if misfit(found, trials.plan, work.stage, chunk, expected, shapes):
            return chunk
        return restored(recorder, chunk, work.first, found, shapes)

    def _recorded(self, work: Work, recorder: Recorder, chunk: Chunk) -> Record | None:
        if chunk.first == work.first:
            return None
        record = recorded(recorder, chunk, work.stage)
        return record._replace(params=None if chunk.params is None else leaves(chunk.params))

    def _due(self) -> bool:
        return self._standing is not None and self._standing.budget.allows()

    def _keep(self, work: Work, recorder: Recorder, chunk: Chunk) -> None:
        if self._standing is not None:
            self._standing.save(work, recorded(recorder, chunk, work.stage))

    def _placed(self, task: Task) -> TaskData:
        """Return the task's data on the device."""
        if task not in self._data:
            self._data[task] = TaskData.placed(task, kept_batches_bytes(self._plan), self._plan.seeds)
        return self._data[task]


class _Standing:
    """Saves trials' states in a folder that outlives this process."""

    def __init__(self, folder: Any, every: float | None):
        self._folder, self.budget = folder, Budget(SAVING_SHARE, every)

    @classmethod
    def reached(cls, settings: Settings) -> "_Standing | None":
        """Open the driver's folder; None where it has none, or it cannot be reached from here."""
        if settings.shared is None:
            return None
        where, token = settings.shared
        try:
            folder = Folder(where)
            return cls(folder, settings.every) if folder.read(TOKEN) == token else None
        except Exception:  # a missing or unsupported file system may raise anything
            return None

    def save(self, work: Work, record: Record) -> None:
        """Save a record; if the folder cannot be written, nothing is saved, and the work continues."""
        arrays = {"at": np.asarray([work.first, record.step])}
        arrays |= {f"results/{name}": x for name, x in record.results.items()}
        arrays |= {f"state/{i}": x for i, x in enumerate(record.state or [])}
        content = packed(arrays)
        with self.budget.spending(), contextlib.suppress(RunError):
            self._folder.write(work.unit, hashlib.sha256(content).digest() + content)

    def find(self, work: Work) -> Record | None:
        """Return what is saved of a work with the same start as this one; None where there is nothing, or damage."""
        try:
            content = self._folder.read(work.unit)
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            arrays = unpacked(content[32:])
            first, step = arrays["at"].tolist()
            state = listed(arrays, "state/")
        except Exception:  # reading a missing or untrusted file may raise anything
            return None
        if first != work.first:
            return None
        results = {name.removeprefix("results/"): x for name, x in arrays.items() if name.startswith("results/")}
        return Record(step, results, None, state)


def _portable(error: Exception) -> Exception:
    """Return the exception, or one with the same message where it cannot be pickled."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
