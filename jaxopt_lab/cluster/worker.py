"""A process of a cluster: it keeps the plan, its data and compiled programs, and takes chunks from rung to rung."""

import contextlib
import dataclasses
import hashlib
import os
import pickle
import platform
import time
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from jaxopt_lab.engine.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.compile.cache import persistent
from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import default_budget, devices, on_devices
from jaxopt_lab.engine.ledger import Record, leaves, misfit, recorded, restored
from jaxopt_lab.engine.plan import Group, Plan, Stage, state_shapes
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.run.chunk import Control, run_chunk
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import Choice, choose
from jaxopt_lab.errors import RunError
from jaxopt_lab.store.budget import Budget
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.identity import versions
from jaxopt_lab.store.pack import listed, packed, unpacked
from jaxopt_lab.tasks.task import Task

TOKEN = "token"  # a file by which a worker knows that the folder is the driver's
SAVING_SHARE = 0.01  # of a worker's time, at the most: what saving where trials stand may take


class Settings(NamedTuple):
    """What a worker must have as the driver has it.

    Attributes:
        environment: Variables that are set where the machine does not say otherwise.
        config: JAX's settings by name.
        versions: Of the packages that figures depend on.
        memory: Bytes that trials may take where the process runs; None: a share of what is free there.
        shared: A folder or URL where trials' states may be kept, if the worker reaches it; and what its token says.
        every: Seconds between two such saves; None: as often as takes little of the time.

    """

    environment: dict[str, str]
    config: dict[str, Any]
    versions: dict[str, str]
    memory: int | None
    shared: tuple[str, bytes] | None
    every: float | None


class Work(NamedTuple):
    """A chunk and its stage: see `Chunk`, `Stage` and `Unit`. `state` has the leaves of where its trials stand."""

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
    """What has come of a work.

    Attributes:
        record: From where it began to where it stands now; None where it made no step.
        error: Why it stands there, if that is not where it should.
        out_of_memory: Whether that is because the device ran out of memory.
        made: Trial-steps.
        seconds: What they took.
        compile_seconds: What compiling took before.

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
        for name, value in settings.environment.items():  # before anything asks for a device
            os.environ.setdefault(name, value)
        for name, value in settings.config.items():
            jax.config.update(name, value)
        self._settings, self._stopping, self._made = settings, False, 0
        self._data: dict[Task, Any] = {}

    def load(self, plan: bytes) -> Exception | None:
        """Get ready; says why it cannot."""
        try:
            if others := sorted(set(versions().items()) - set(self._settings.versions.items())):
                said = ", ".join(f"{name} {version}" for name, version in others)
                return RuntimeError(f"{platform.node()} has {said}, which this process has not: install the same.")
            found = pickle.loads(plan)
            memory = self._settings.memory or default_budget(devices())
            self._plan = dataclasses.replace(found, memory=memory)
            self._standing = _Standing.reached(self._settings)
            self._cache = contextlib.ExitStack()  # as long as the process lives
            self._cache.enter_context(persistent(found.cache))
        except Exception as error:
            return _portable(error)
        return None

    def choose(self, numbers: list[int]) -> list[Choice | Exception]:
        """How groups' trials run, measured here; the programs stay here."""
        return [self._choose(number) for number in numbers]

    def run(self, works: list[Work]) -> list[Reply]:
        """One after another."""
        self._made = 0
        return [self._run(work) for work in works]

    def made(self) -> int:
        """Trial-steps that the works at hand have come to."""
        return self._made

    def stop(self) -> None:
        """Works end at their next segment."""
        self._stopping = True

    def _choose(self, number: int) -> Choice | Exception:
        try:
            group, gone = self._plan.groups[number], cast(Program, None)
            return dataclasses.replace(choose(self._plan, group, self._placed(group.structure.task)), program=gone)
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
            program = compiled(self._plan, group, work.strategy, data)
            compile_seconds, began = time.perf_counter() - began, time.perf_counter()
            recorder = Recorder(plan)
            chunk = self._resumed(work, plan, chunk, recorder, program)
            control = Control(going_on, self._due, lambda standing: self._keep(work, recorder, standing))
            if chunk.first < work.last:
                shape = work.strategy.shape
                chunk = run_chunk(plan, program, shape, chunk, work.stage, control, data, recorder)
            return reply(self._recorded(work, recorder, chunk))
        except OutOfMemoryError as error:
            assert recorder is not None
            return reply(self._recorded(work, recorder, error.chunk), MemoryError(str(error)), True)
        except Exception as error:
            return reply(None, _portable(error))

    def _own(self, work: Work) -> tuple[Plan, Chunk, Group]:
        """A plan of the chunk's trials alone, so that only their results take memory; the chunk in it; its group."""
        group, plan = self._plan.groups[work.group], self._plan
        values = {name: x[work.rows] for name, x in group.values.items()}
        own = dataclasses.replace(group, configs=np.arange(len(work.rows)), values=values)
        part = dataclasses.replace(plan, groups=[own], seeds=plan.seeds[work.columns])
        return part, Chunk(0, np.arange(len(work.rows)), np.arange(len(work.columns)), work.first), group

    def _resumed(self, work: Work, plan: Plan, chunk: Chunk, recorder: Recorder, program: Program) -> Chunk:
        """The chunk where the driver says that it stands, or further on, where another worker has left it."""
        state, shapes = None, state_shapes(plan, plan.groups[0])
        if work.state is not None:
            state = jax.tree.unflatten(jax.tree.structure(program.shapes), work.state)
        chunk = dataclasses.replace(chunk, state=state)
        found = None if self._standing is None else self._standing.find(work)
        if found is None:
            return chunk
        trials = recorder.trials(0, chunk.rows, chunk.columns)
        expected = recorder.taken(trials, work.first, found.step)
        if misfit(found, plan, work.stage, chunk, expected, shapes):
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

    def _placed(self, task: Task) -> Any:
        """The task's data on the device."""
        if task not in self._data:
            self._data[task] = on_devices(task.data)
        return self._data[task]


class _Standing:
    """Where trials stand, kept in a folder that outlives this process."""

    def __init__(self, folder: Any, every: float | None):
        self._folder, self.budget = folder, Budget(SAVING_SHARE, every)

    @classmethod
    def reached(cls, settings: Settings) -> "_Standing | None":
        """None where the driver has no such folder, or it cannot be reached from here."""
        if settings.shared is None:
            return None
        where, token = settings.shared
        try:
            folder = Folder(where)
            return cls(folder, settings.every) if folder.read(TOKEN) == token else None
        except Exception:  # whatever a file system, or the lack of one, has to say
            return None

    def save(self, work: Work, record: Record) -> None:
        """Keep it; a folder that cannot be written keeps nothing, and the work goes on."""
        arrays = {"at": np.asarray([work.first, record.step])}
        arrays |= {f"results/{name}": x for name, x in record.results.items()}
        arrays |= {f"state/{i}": x for i, x in enumerate(record.state or [])}
        content = packed(arrays)
        with self.budget.spending(), contextlib.suppress(RunError):
            self._folder.write(work.unit, hashlib.sha256(content).digest() + content)

    def find(self, work: Work) -> Record | None:
        """What is kept of a work that began where this one does; None where that is nothing, or damaged."""
        try:
            content = self._folder.read(work.unit)
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            arrays = unpacked(content[32:])
            first, step = arrays["at"].tolist()
            state = listed(arrays, "state/")
        except Exception:  # whatever a missing or a stranger's file does to who reads it
            return None
        if first != work.first:
            return None
        results = {name.removeprefix("results/"): x for name, x in arrays.items() if name.startswith("results/")}
        return Record(step, results, None, state)


def _portable(error: Exception) -> Exception:
    """The exception, or one that says the same, where it cannot be sent."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
