"""The Ray backend: chunks go to actors with one core or accelerator each, and records come back.

Actors live as long as the sweep, so they keep their accelerator, the data and compiled programs. This process handles
cohorts, rungs and the ledger as usual; it sends a chunk and its stage, or several where they are short.
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

from jaxopt_lab.cache_folder import VARIABLE
from jaxopt_lab.cluster.pool import Pool
from jaxopt_lab.cluster.worker import TOKEN, Reply, Settings, Work
from jaxopt_lab.engine.chunk import OutOfMemoryError
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
DRIVER_THREADS = 2  # they never wait for a chunk


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    Attributes:
        kind: Ray's name for the resource that an actor gets one of: "GPU" where there are any, else "CPU".

    """

    kind: str

    def slots(self) -> int:
        """Return how many actors fit into the cluster now; ClusterError where no node is alive."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not alive:
            raise ClusterError("The Ray cluster has ended: none of its nodes is alive.")
        return sum(int(resources.get(self.kind, 0)) for resources in alive)

    def planned(self, plan: Plan) -> Plan:
        """Adapt the plan to the number of actors."""
        return dataclasses.replace(plan, actors=self.slots(), segment_length=segment_length(plan, self.kind.lower()))

    def settings(self, memory: int | None, shared: tuple[str, bytes] | None, every: float | None) -> Settings:
        """Return the settings that actors must share with this thread."""
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # other processes may use the accelerator's memory
        if VARIABLE in os.environ:
            environment[VARIABLE] = os.environ[VARIABLE]
        config = by_name()
        if self.kind == "CPU":
            environment["NPROC"] = "1"  # XLA's threads: the other cores have their own actors
            config["jax_platforms"] = "cpu"
        return Settings(environment, config, versions(), memory, shared, every)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """Connect to a Ray cluster, or use the connection that the process already has.

    Args:
        address: "auto", or the address of Ray's head: "host:port", or "ray://host:port"; None: no cluster.

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
    # Before this process first uses a device: an actor may use the same one.
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
                    f"No Ray cluster answers at {address!r}: {reason} Start one with `ray start --head`, and pass the "
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
    """Raise OSError where nothing listens at "host:port", which Ray takes minutes to find out."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextlib.contextmanager
def _signals_as_before() -> Iterator[None]:
    """Restore the SIGTERM handler, with which a sweep ends cleanly; Ray's own would exit at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


class RayBackend:
    """The backend whose chunks run on a cluster, in actors with one core or accelerator each.

    Args:
        cluster: The cluster.
        memory: The memory budget of an actor's trials in bytes; None: a share of free memory where it runs.
        ledger: The execution's ledger: where it saves trials' states, if it does, actors may save them too.

    """

    threads = DRIVER_THREADS

    def __init__(self, cluster: Cluster, memory: int | None, ledger: Ledger):
        self._cluster, self._memory, self._ledger = cluster, memory, ledger
        self._folder: Folder | None = None
        self._kept: dict[Unit, int] = {}  # units that actors may have saved, until the ledger holds them
        self._lock = threading.Lock()

    def open(self, host: Host) -> None:
        self._host = host
        settings = self._cluster.settings(self._memory, self._shared(), self._ledger.every)
        plan = dataclasses.replace(host.plan, tables={})  # actors do not need them
        self._pool = Pool(plan, settings, self._cluster, host.threads, host.made, host.note, self._tidy)

    def choose(
        self, priority: Priority, number: int, known: Strategy | None, then: Callable[[Choice | Exception], None]
    ) -> None:
        if known is None:
            self._pool.choose(priority, number, then)
        else:
            then(Choice(known, math.nan, 0.0, 0.0, {}, remembered=True))

    def compile(self, number: int, strategy: Strategy) -> None:
        """Do nothing: actors compile what they need."""

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
        """Convert an actor's reply, or the error of a job that has lost too many actors."""
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
        return Done(chunk, reply.made, error, reply.compile_seconds, reply.seconds)

    def _shared(self) -> tuple[str, bytes] | None:
        """Make a folder that actors may reach; return it, with the token in it by which they recognise it."""
        if self._ledger.where is None:
            return None
        self._folder, token = Folder(f"{self._ledger.where}/{ACTORS}"), secrets.token_bytes(16)
        self._folder.make()
        self._folder.write(TOKEN, token)
        return self._folder.where, token

    def _tidy(self) -> None:
        """Remove from the shared folder what the ledger durably holds."""
        with self._lock:
            held = [unit for unit, step in self._kept.items() if self._ledger.holds(unit, step)]
            for unit in held:
                del self._kept[unit]
        if self._folder is not None:
            for unit in held:
                self._folder.remove(str(unit))
