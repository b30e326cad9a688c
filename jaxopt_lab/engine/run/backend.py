"""Who runs chunks: a `Backend`. The one here runs them in this process, each on the thread that asks."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxopt_lab.engine.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import devices, on_devices, thread_count
from jaxopt_lab.engine.ledger import Unit
from jaxopt_lab.engine.plan import Plan, Stage
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.run.chunk import Control, run_chunk
from jaxopt_lab.engine.run.threads import Threads
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import Choice, choose, settled
from jaxopt_lab.engine.tuning.sizing import Room
from jaxopt_lab.errors import LedgerError
from jaxopt_lab.tasks.task import Task

Priority = tuple[int, ...]


class Job(NamedTuple):
    """A chunk to be taken to the end of its stage.

    Attributes:
        unit: What the ledger calls it.
        chunk: Where it stands.
        stage: How far it runs.
        strategy: How.

    """

    unit: Unit
    chunk: Chunk
    stage: Stage
    strategy: Strategy


class Done(NamedTuple):
    """What has come of a job.

    Attributes:
        chunk: Where it stands now.
        made: The trial-steps that it made.
        error: Why it does not stand where it should; None where it does, or was told to stop.
        compile_seconds: What compiling took before.

    """

    chunk: Chunk
    made: int
    error: Exception | None = None
    compile_seconds: float = 0.0


class Host(Protocol):
    """What a backend knows of the execution that it works for."""

    plan: Plan
    recorder: Recorder
    threads: Threads

    def made(self, trial_steps: int) -> None:
        """Be told of trial-steps as they are made; of a negative count where some were told of too early."""
        ...

    def due(self, unit: Unit) -> bool:
        """Whether to save where a unit's trials stand."""
        ...

    def save(self, job: Job, chunk: Chunk) -> None:
        """Save where a job's chunk stands."""
        ...

    def note(self, text: str) -> None:
        """Be told what the user should know."""
        ...


class Backend(Protocol):
    """Who chooses how the trials of a group run, and runs their chunks.

    Callbacks are called once each, on any of the host's threads, be it before the method returns.

    Attributes:
        threads: How many threads of this process it wants.

    """

    @property
    def threads(self) -> int: ...

    def open(self, host: Host) -> None:
        """Get ready for the host's plan. Called once, before anything else."""
        ...

    def choose(
        self, priority: Priority, number: int, known: Strategy | None, then: Callable[[Choice | Exception], None]
    ) -> None:
        """Choose how a group's trials run, or get ready for the strategy that an earlier process has settled."""
        ...

    def compile(self, number: int, strategy: Strategy) -> None:
        """Get ready for a further strategy of a group."""
        ...

    def run(self, priority: Priority, job: Job, then: Callable[[Done], None]) -> None:
        """Take a job's chunk to the end of its stage, or as far as it comes."""
        ...

    def close(self, interrupted: bool) -> None:
        """All is done; or the threads have been stopped, `interrupted` where a user wants what there is."""
        ...


class InProcess:
    """The backend that runs chunks in this process."""

    def __init__(self):
        self._programs: dict[tuple[int, Strategy], Program] = {}
        self._data: dict[Task, Any] = {}

    @property
    def threads(self) -> int:
        return thread_count(devices())

    def open(self, host: Host) -> None:
        self._host, self._room = host, Room(host.plan)
        tasks = {group.structure.task: None for group in host.plan.groups}
        self._data = {task: on_devices(task.data) for task in tasks}

    def choose(
        self, priority: Priority, number: int, known: Strategy | None, then: Callable[[Choice | Exception], None]
    ) -> None:
        plan, group, data = self._host.plan, self._host.plan.groups[number], self._data_of(number)
        try:
            choice = choose(plan, group, data) if known is None else settled(plan, group, known, data)
        except Exception as error:
            then(error)
        else:
            self._programs[number, choice.strategy] = choice.program
            then(choice)

    def compile(self, number: int, strategy: Strategy) -> None:
        group = self._host.plan.groups[number]
        self._programs[number, strategy] = compiled(self._host.plan, group, strategy, self._data_of(number))

    def run(self, priority: Priority, job: Job, then: Callable[[Done], None]) -> None:
        host, chunk, made = self._host, job.chunk, 0
        program = self._programs[chunk.group, job.strategy]

        def going_on(trial_steps: int) -> bool:
            nonlocal made
            made += trial_steps
            host.made(trial_steps)
            return not host.threads.cancelled.is_set()

        control = Control(going_on, lambda: host.due(job.unit), lambda standing: host.save(job, standing))
        error = None
        with self._room.taken(program.chunk_bytes):
            try:
                data, shape = self._data_of(chunk.group), job.strategy.shape
                chunk = run_chunk(host.plan, program, shape, chunk, job.stage, control, data, host.recorder)
            except LedgerError:
                raise
            except OutOfMemoryError as found:
                chunk, error = found.chunk, found
            except Exception as found:
                error = found
        then(Done(chunk, made, error))

    def close(self, interrupted: bool) -> None:
        pass

    def _data_of(self, number: int) -> Any:
        return self._data[self._host.plan.groups[number].structure.task]
