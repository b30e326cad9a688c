"""The same plan on a Ray cluster: chunks go to processes of one core or accelerator each, and records come back.

The processes are actors, since one that stays keeps its card, the data and compiled programs. This process runs races,
rungs and the ledger as ever; what it sends is a chunk and its stage, or several where they are short.
"""

import contextlib
import dataclasses
import functools
import logging
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.cluster.pool import Crew
from jaxopt_lab.cluster.worker import TOKEN, Reply, Settings, Work
from jaxopt_lab.engine.compile.cache import VARIABLE
from jaxopt_lab.engine.ledger import WORKERS, Ledger, Unit, leaves, restored, unit_of
from jaxopt_lab.engine.plan import Plan, segment_length
from jaxopt_lab.engine.run.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.run.cohort import Race
from jaxopt_lab.engine.run.execution import Execution
from jaxopt_lab.engine.run.threads import Workers
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.probe import Choice
from jaxopt_lab.errors import ClusterError
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.identity import versions
from jaxopt_lab.tracing.settings import by_name
from jaxopt_lab.trial import Trial, TrialState, initial_params
from jaxopt_lab.types import random_key

CONNECT_SECONDS = 10.0
DRIVER_THREADS = 2  # none of which ever waits for a chunk


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        kind: Ray's name for what a worker gets one of, "GPU" where there are any, else "CPU".

    """

    kind: str

    def slots(self) -> int:
        """How many workers find room now; ClusterError where not even this process's own node is left."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not alive:
            raise ClusterError("The Ray cluster has ended: none of its nodes is alive any more.")
        return sum(int(resources.get(self.kind, 0)) for resources in alive)

    def planned(self, plan: Plan, given: bool) -> tuple[Plan, Callable[[Plan, Ledger], Execution]]:
        """The plan for as many workers as there are, and what makes its execution.

        Its memory holds for where workers are if it is `given`; else they take a share of what is free there.
        """
        length = segment_length(plan, self.kind.lower())
        plan = dataclasses.replace(plan, workers=self.slots(), segment_length=length)
        return plan, functools.partial(ClusterExecution, self, plan.memory if given else None)

    def settings(self, memory: int | None, shared: tuple[str, bytes] | None, every: float | None) -> Settings:
        """What workers must have as this thread has it."""
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # others may have something on the card
        if VARIABLE in os.environ:
            environment[VARIABLE] = os.environ[VARIABLE]
        config = by_name()
        if self.kind == "CPU":
            environment["NPROC"] = "1"  # XLA's threads: the other cores have workers of their own
            config["jax_platforms"] = "cpu"
        return Settings(environment, config, versions(), memory, shared, every)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """A connection to a Ray cluster, the process's own where it has one already.

    Args:
        address: "auto", or where Ray's head is: "host:port", or "ray://host:port"; None: there is none.

    Raises:
        ImportError: Ray is not installed.
        ClusterError: There is no such cluster.

    """
    if address is None:
        yield None
        return
    try:
        import ray
    except ImportError:
        raise ImportError("A cluster needs Ray: python -m pip install 'jaxopt_lab[ray]'.") from None
    # Before this process first asks for a device: a worker may be on the same card.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    ours = not ray.is_initialized()
    try:
        if ours:
            try:
                _answers(address)
                with _signals_as_before():
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise ClusterError(
                    f"No Ray cluster answers at {address!r}: {reason} Start one by `ray start --head`, and name the "
                    "address that it prints."
                ) from error
        named: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
        on_cpu = "cpu" in (named, getattr(named, "platform", None))
        cluster = Cluster("CPU" if on_cpu or not Cluster("GPU").slots() else "GPU")
        if not cluster.slots():
            raise ClusterError(f"The Ray cluster at {address!r} has neither a CPU nor a GPU to offer.")
        yield cluster
    finally:
        if ours:
            ray.shutdown()


def _answers(address: str) -> None:
    """OSError where nothing listens at "host:port", which Ray takes minutes to see."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextlib.contextmanager
def _signals_as_before() -> Iterator[None]:
    """SIGTERM ends a sweep in good order; Ray would have it exit where it stands."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


class ClusterExecution(Execution):
    """An execution whose chunks run on a cluster."""

    def __init__(self, cluster: Cluster, memory: int | None, plan: Plan, ledger: Ledger):
        """On that cluster, within so much memory: see `Settings`."""
        self.cluster, self._memory = cluster, memory
        self._folder: Any = None
        self._shapes: dict[int, TrialState] = {}
        self._kept: dict[Unit, int] = {}  # that workers may still keep, until the ledger holds them
        super().__init__(plan, ledger)

    def hire(self) -> Workers:
        workers = Workers(DRIVER_THREADS)
        settings = self.cluster.settings(self._memory, self._shared(), self.ledger.every)
        self.crew = Crew(
            self.plan, settings, self.cluster, workers, self._count, self.progress.notes.append, self._tidy
        )
        return workers

    def close(self) -> None:
        self.crew.close(self.outcome.interrupted)
        self._tidy()

    def prepare(self, number: int) -> None:
        if self.ledger.knows((number,)):
            strategy = self.ledger.settled((number,), lambda: self.plan.first_strategy(self.plan.groups[number]))
            self.prepared(number, lambda: self._choice(strategy))
            return
        self.crew.choose((2 * number - 1,), number, functools.partial(self._chosen, number))

    def perform(self, race: Race, chunk: Chunk, strategy: Strategy) -> None:
        unit, state = unit_of(race.number, race.rung, chunk), None if chunk.state is None else leaves(chunk.state)
        where = (str(unit), chunk.group, chunk.rows, chunk.columns, chunk.first, state)
        came_back = functools.partial(self._came_back, race, chunk, strategy)
        self.crew.run((2 * chunk.group + 2,), Work(*where, race.last, race.final, strategy), came_back)

    def compile(self, number: int, strategy: Strategy) -> Any:
        """Workers compile what they need."""
        return None

    def shapes(self, number: int) -> TrialState:
        if number not in self._shapes:
            structure = self.plan.groups[number].structure
            scalar = jax.ShapeDtypeStruct((), jnp.result_type(float))

            def start(seed, values):
                params = initial_params(structure.task, random_key(seed))
                return Trial(structure.optimizer(values), structure.task, self.plan.ending).start(params)

            one = jax.eval_shape(start, np.int32(0), dict.fromkeys(structure.names, scalar))
            self._shapes[number] = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, 1, *x.shape), x.dtype), one)
        return self._shapes[number]

    def _chosen(self, number: int, answer: Choice | Exception) -> None:
        def chosen() -> Choice:
            if isinstance(answer, Exception):
                raise answer
            strategy = answer.strategy
            self.ledger.settled((number,), lambda: strategy)
            return answer

        self.prepared(number, chosen)

    def _choice(self, strategy: Strategy) -> Choice:
        program: Any = None
        return Choice(strategy, program, math.nan, 0.0, 0.0, {}, remembered=True)

    def _count(self, trial_steps: int) -> None:
        with self.lock:
            self.progress.trial_steps += trial_steps

    def _came_back(self, race: Race, chunk: Chunk, strategy: Strategy, reply: Reply | Exception) -> None:
        """A worker has done what it could, or has been lost too often."""
        reply = reply if isinstance(reply, Reply) else Reply(None, reply)
        with self.lock:
            self.progress.trial_steps += reply.made
            self.outcome.compile_seconds += reply.compile_seconds
            self._kept[unit_of(race.number, race.rung, chunk)] = race.last
        self.conclude(race, chunk, strategy, lambda: self._merged(chunk, reply), lambda: reply.made)

    def _merged(self, chunk: Chunk, reply: Reply) -> Chunk:
        if reply.record is not None:
            record, trials = reply.record, self.recorder.trials(chunk.group, chunk.rows, chunk.columns)
            # Of what other tasks measure, this one knows nothing.
            results = self.recorder.taken(trials, chunk.first, record.step) | record.results
            chunk = restored(
                self.recorder, chunk, chunk.first, record._replace(results=results), self.shapes(chunk.group)
            )
        if reply.out_of_memory:
            raise OutOfMemoryError(chunk, reply.error or MemoryError())
        if reply.error is not None:
            raise reply.error
        return chunk

    def _shared(self) -> tuple[str, bytes] | None:
        """A folder that workers may reach, and what is written there for them to know it by."""
        if self.ledger.where is None:
            return None
        self._folder, token = Folder(f"{self.ledger.where}/{WORKERS}"), secrets.token_bytes(16)
        self._folder.make()
        self._folder.write(TOKEN, token)
        return self._folder.where, token

    def _tidy(self) -> None:
        """Remove from the shared folder what the ledger holds for good."""
        with self.lock:
            held = [unit for unit, step in self._kept.items() if self.ledger.holds(unit, step)]
            for unit in held:
                del self._kept[unit]
        if self._folder is not None:
            for unit in held:
                self._folder.remove(str(unit))
