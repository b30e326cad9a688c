"""Backends, which run chunks. The one here runs them in this process, each on the calling thread."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from jaxopt_lab.engine.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.compile.data import TaskData
from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import devices, thread_count
from jaxopt_lab.engine.ledger import Unit
from jaxopt_lab.engine.plan import Plan, Stage
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.run.chunk import Control, run_chunk
from jaxopt_lab.engine.run.threads import Threads
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import Choice, choose, settled
from jaxopt_lab.engine.tuning.sizing import Room, kept_batches_bytes
from jaxopt_lab.errors import LedgerError
from jaxopt_lab.tasks.task import Task

Priority = tuple[int, ...]


class Job(NamedTuple):
    """A chunk to run to the end of its stage.

    Attributes:
        unit: Its unit of work in the ledger.
        chunk: The chunk at its present state.
        stage: The stage to run.
        strategy: How its trials run.

    """

    unit: Unit
    chunk: Chunk
    stage: Stage
    strategy: Strategy


class Done(NamedTuple):
    """The result of a job.

    Attributes:
        chunk: The chunk at its new state.
        made: The trial-steps that it made.
        error: Why the chunk did not reach the end of its stage; None where it did, or was told to stop.
        compile_seconds: The time that compiling took before.
        seconds: The time that the steps took, of one core or accelerator.

    """

    chunk: Chunk
    made: int
    error: Exception | None = None
    compile_seconds: float = 0.0
    seconds: float = 0.0


class Host(Protocol):
    """The execution that a backend works for, as the backend sees it."""

    plan: Plan
    recorder: Recorder
    threads: Threads

    def made(self, trial_steps: int) -> None:
        """Count trial-steps as they are made; a negative count corrects an earlier one."""
        ...

    def due(self, unit: Unit) -> bool:
        """Return whether to save the state of a unit's trials."""
        ...

    def save(self, job: Job, chunk: Chunk) -> None:
        """Save the state of a job's chunk."""
        ...

    def note(self, text: str) -> None:
        """Pass a message to the user."""
        ...


class Backend(Protocol):
    """Chooses how the trials of a group run, and runs their chunks.

    Each callback is called once, on any of the host's threads, possibly before the method returns.

    Attributes:
        threads: The number of threads that it needs in this process.

    """

    @property
    def threads(self) -> int: ...

    def open(self, host: Host) -> None:
        """Prepare for the host's plan. Called once, before any other method."""
        ...

    def choose(
        self, priority: Priority, number: int, known: Strategy | None, then: Callable[[Choice | Exception], None]
    ) -> None:
        """Choose how a group's trials run, or prepare the strategy that an earlier process recorded."""
        ...

    def compile(self, number: int, strategy: Strategy) -> None:
        """Prepare a further strategy of a group."""
        ...

    def run(self, priority: Priority, job: Job, then: Callable[[Done], None]) -> None:
        """Run a job's chunk to the end of its stage, or as far as possible."""
        ...

    def close(self, interrupted: bool) -> None:
        """Release resources when all work is done or threads have stopped; `interrupted`: deliver partial results."""
        ...


class InProcess:
    """The backend that runs chunks in this process."""

    def __init__(self):
        self._programs: dict[tuple[int, Strategy], Program] = {}
        self._data: dict[Task, TaskData] = {}

    @property
    def threads(self) -> int:
        return thread_count(devices())

    def open(self, host: Host) -> None:
        self._host, self._room = host, Room(host.plan)
        tasks = {group.structure.task: None for group in host.plan.groups}
        self._data = {task: TaskData.placed(task, kept_batches_bytes(host.plan), host.plan.seeds) for task in tasks}

    def choose(
        self, priority: Priority, number: int, known: Strategy | None, then: Callable[[Choice | Exception], None]
    ) -> None:
        plan, group, data = self._host.plan, self._host.plan.groups[number], self._data_of(number)
        try:
            choice, program = choose(plan, group, data) if known is None else settled(plan, group, known, data)
        except Exception as error:
            then(error)
        else:
            self._programs[number, choice.strategy] = program
            then(choice)

    def compile(self, number: int, strategy: Strategy) -> None:
        group = self._host.plan.groups[number]
        self._programs[number, strategy] = compiled(self._host.plan, group, strategy, self._data_of(number).arrays)

    def run(self, priority: Priority, job: Job, then: Callable[[Done], None]) -> None:
        host, chunk, made = self._host, job.chunk, 0
        program = self._programs[chunk.group, job.strategy]

        def going_on(trial_steps: int) -> bool:
            nonlocal made
            made += trial_steps
            host.made(trial_steps)
            return not host.threads.cancelled.is_set()

        control = Control(going_on, lambda: host.due(job.unit), lambda standing: host.save(job, standing))
        error, began = None, 0.0
        with self._room.taken(program.chunk_bytes):
            began = time.perf_counter()
            try:
                data, shape = self._data_of(chunk.group), job.strategy.shape
                chunk = run_chunk(host.plan, program, shape, chunk, job.stage, control, data, host.recorder)
            except LedgerError:
                raise
            except OutOfMemoryError as found:
                chunk, error = found.chunk, found
            except Exception as found:
                error = found
        then(Done(chunk, made, error, seconds=time.perf_counter() - began))

    def close(self, interrupted: bool) -> None:
        for data in self._data.values():
            data.close()

    def _data_of(self, number: int) -> TaskData:
        return self._data[self._host.plan.groups[number].structure.task]
