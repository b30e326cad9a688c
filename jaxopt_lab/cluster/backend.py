"""The same plan on a Ray cluster: chunks go to actors of one core or accelerator each, and records come back.

Actors stay, and so keep their card, the data and compiled programs. This process runs cohorts, rungs and the ledger as
ever; it sends a chunk and its stage, or several where they are short.
"""

import contextlib
import dataclasses
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

from jaxopt_lab.cluster.pool import Pool
from jaxopt_lab.cluster.worker import TOKEN, Reply, Settings, Work
from jaxopt_lab.engine.chunk import OutOfMemoryError
from jaxopt_lab.engine.compile.cache import VARIABLE
from jaxopt_lab.engine.ledger import ACTORS, Ledger, Unit, leaves, restored
from jaxopt_lab.engine.plan import Plan, state_shapes
from jaxopt_lab.engine.run.backend import Done, Host, Job, Priority
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.cutting import segment_length
from jaxopt_lab.engine.tuning.probe import Choice
from jaxopt_lab.errors import ClusterError
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.identity import versions
from jaxopt_lab.tracing.settings import by_name

CONNECT_SECONDS = 10.0
DRIVER_THREADS = 2  # none of which ever waits for a chunk


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        kind: Ray's name for what an actor gets one of, "GPU" where there are any, else "CPU".

    """

    kind: str

    def slots(self) -> int:
        """How many actors find room now; ClusterError where not even this process's own node is left."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not alive:
            raise ClusterError("The Ray cluster has ended: none of its nodes is alive any more.")
        return sum(int(resources.get(self.kind, 0)) for resources in alive)

    def planned(self, plan: Plan) -> Plan:
        """The plan for as many actors as there are."""
        return dataclasses.replace(plan, actors=self.slots(), segment_length=segment_length(plan, self.kind.lower()))

    def settings(self, memory: int | None, shared: tuple[str, bytes] | None, every: float | None) -> Settings:
        """What actors must have as this thread has it."""
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # others may have something on the card
        if VARIABLE in os.environ:
            environment[VARIABLE] = os.environ[VARIABLE]
        config = by_name()
        if self.kind == "CPU":
            environment["NPROC"] = "1"  # XLA's threads: the other cores have actors of their own
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
    # Before this process first asks for a device: an actor may be on the same card.
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


class RayBackend:
    """The backend whose chunks run on a cluster, in actors of one core or accelerator each.

    Args:
        cluster: Which.
        memory: Bytes that an actor's trials may take; None: a share of what is free where it runs.
        ledger: Of the execution: where it keeps where trials stand, if it does, actors may keep them too.

    """

    threads = DRIVER_THREADS

    def __init__(self, cluster: Cluster, memory: int | None, ledger: Ledger):
        self._cluster, self._memory, self._ledger = cluster, memory, ledger
        self._folder: Folder | None = None
        self._kept: dict[Unit, int] = {}  # that actors may still keep, until the ledger holds them
        self._lock = threading.Lock()

    def open(self, host: Host) -> None:
        self._host = host
        settings = self._cluster.settings(self._memory, self._shared(), self._ledger.every)
        plan = dataclasses.replace(host.plan, tables={})  # which actors do not ask for
        self._pool = Pool(plan, settings, self._cluster, host.threads, host.made, host.note, self._tidy)

    def choose(
        self, priority: Priority, number: int, known: Strategy | None, then: Callable[[Choice | Exception], None]
    ) -> None:
        if known is None:
            self._pool.choose(priority, number, then)
        else:
            program: Any = None  # which actors have
            then(Choice(known, program, math.nan, 0.0, 0.0, {}, remembered=True))

    def compile(self, number: int, strategy: Strategy) -> None:
        """Actors compile what they need."""

    def run(self, priority: Priority, job: Job, then: Callable[[Done], None]) -> None:
        chunk, stage = job.chunk, job.stage
        state = None if chunk.state is None else leaves(chunk.state)
        where = (str(job.unit), chunk.group, chunk.rows, chunk.columns, chunk.first, state)
        self._pool.run(
            priority, Work(*where, stage.last, stage.final, job.strategy), lambda r: then(self._done(job, r))
        )

    def close(self, interrupted: bool) -> None:
        self._pool.close(interrupted)
        self._tidy()

    def _done(self, job: Job, reply: Reply | Exception) -> Done:
        """An actor has done what it could, or has been lost too often."""
        reply = reply if isinstance(reply, Reply) else Reply(None, reply)
        self._host.made(reply.made)
        with self._lock:
            self._kept[job.unit] = job.stage.last
        chunk, error, plan = job.chunk, reply.error, self._host.plan
        if reply.record is not None:
            shapes = state_shapes(plan, plan.groups[chunk.group])
            chunk = restored(self._host.recorder, chunk, chunk.first, reply.record, shapes)
        if reply.out_of_memory:
            error = OutOfMemoryError(chunk, error or MemoryError())
        return Done(chunk, reply.made, error, reply.compile_seconds)

    def _shared(self) -> tuple[str, bytes] | None:
        """A folder that actors may reach, and what is written there for them to know it by."""
        if self._ledger.where is None:
            return None
        self._folder, token = Folder(f"{self._ledger.where}/{ACTORS}"), secrets.token_bytes(16)
        self._folder.make()
        self._folder.write(TOKEN, token)
        return self._folder.where, token

    def _tidy(self) -> None:
        """Remove from the shared folder what the ledger holds for good."""
        with self._lock:
            held = [unit for unit, step in self._kept.items() if self._ledger.holds(unit, step)]
            for unit in held:
                del self._kept[unit]
        if self._folder is not None:
            for unit in held:
                self._folder.remove(str(unit))
