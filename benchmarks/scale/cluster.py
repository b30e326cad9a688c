"""What does a Ray cluster cost and gain, and how far does a driver scale? Run: python benchmarks/scale/cluster.py

Adam on the digits network; nodes of one core each on this machine (`ray.cluster_utils.Cluster`), so no network.

- overhead: chunks of about ten seconds, by one worker, against the same chunks run without Ray, one after another, in a
  process whose XLA has one thread as well: seconds from one chunk's end to the next, without the first, which compiles.
  And, since other work on the machine disturbs that: the share of those seconds in which the worker, by its own clock,
  was not running a chunk.
- scaling: the same sweep by two one-core workers against one.
- driver: 100,000 chunks through races, ledger and recorder of one driver, to workers that answer at once with a record
  of the right shapes: its processor time a chunk, and its memory. Chunks are sent one by one, as long ones are, or many
  together, as short ones are; to two workers, or to a thousand, who share two processes; and with a run folder, all of
  whose saves then come in these minutes instead of the half hour that the work would take.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing

import jaxopt_lab as jl
from jaxopt_lab.cluster import backend as elsewhere
from jaxopt_lab.cluster import pool as actors
from jaxopt_lab.cluster.backend import connected
from jaxopt_lab.cluster.worker import Record, Reply, Work, Worker
from jaxopt_lab.engine.ledger import Ledger
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import ENDS
from jaxopt_lab.engine.run import backend as in_process
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.tuning.cutting import first_strategy
from jaxopt_lab.engine.tuning.probe import Choice
from jaxopt_lab.store.identity import environment, identity
from jaxopt_lab.store.run import Run
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.trial import Status


@contextlib.contextmanager
def nodes(count: int) -> Iterator[str]:
    """The address of a cluster of one-core nodes."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 2**28}
    cluster: Any = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(count - 1):
        cluster.add_node(**node)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


class Watch(Ledger):
    """A ledger that notes when units are done, and uses a given strategy."""

    keeps = True  # pyright: ignore[reportAssignmentType]

    def __init__(self, strategy: Strategy | None = None):
        self.strategy, self.done = strategy, []

    def knows(self, about) -> bool:
        return self.strategy is not None

    def settled(self, about, settle):
        return self.strategy or settle()

    def save(self, unit, record, done) -> None:
        self.done.append((time.perf_counter(), time.process_time()))


def digits_plan(trials: int, steps: int, chunk: int) -> Plan:
    space = {"learning_rate": np.geomspace(1e-4, 1e-2, trials).astype("float32")}
    return plan_sweep(jl.adam, jl.tasks.digits_mlp(), space, steps=steps, chunk=chunk, strategy="scan")


class Timed(elsewhere.RayBackend):
    """A backend that notes how long actors say that chunks took."""

    def _done(self, job, reply):
        assert isinstance(reply, Reply)
        chunk_seconds.append(reply.seconds)
        return super()._done(job, reply)


chunk_seconds: list[float] = []


def on_cluster(plan: Plan, workers: int) -> tuple[list[float], list[float]]:
    """Return when each chunk was done, and how long its worker took."""
    watch = Watch(Strategy("scan", 1, plan.chunk or 1, one_core=True))
    chunk_seconds.clear()
    with nodes(workers) as address, connected(address) as there:
        assert there is not None
        plan = there.planned(plan)
        began = time.perf_counter()
        execute(plan, ledger=watch, backend=Timed(there, None, watch))
    return [at - began for at, _ in watch.done], list(chunk_seconds)


def here(shape: tuple[int, int, int]) -> list[float]:
    """Return when each chunk was done, run one after another in this process."""
    plan = digits_plan(*shape)
    in_process.thread_count = lambda _: 1
    watch = Watch(Strategy("scan", 1, plan.chunk or 1, one_core=True))
    began = time.perf_counter()
    execute(plan, ledger=watch)
    return [at - began for at, _ in watch.done]


def per_chunk(done: list[float]) -> float:
    """Return the seconds between two chunks, without the first, whose worker starts and compiles."""
    return (done[-1] - done[0]) / (len(done) - 1)


class Seat:
    """One of many workers that share a process."""

    def __init__(self, actor: Any):
        self.load, self.choose, self.run = actor.load, actor.choose, actor.run
        self.made, self.stop = actor.made, actor.stop


class Seats(actors.Pool):
    """A pool whose actors share two processes."""

    def _begin(self) -> Any:
        self.processes = getattr(self, "processes", None) or [super(Seats, self)._begin() for _ in range(2)]
        return Seat(self.processes[len(self._actors) % 2])


@dataclasses.dataclass(frozen=True)
class Hall(elsewhere.Cluster):
    """A cluster that claims more room than it has."""

    seats: int = 2

    def slots(self) -> int:
        return self.seats


class Stub(Worker):
    """Answers at once with replies of a worker's form, and claims to have taken 20 seconds."""

    said = 20.0

    def _choose(self, number: int) -> Choice | Exception:
        return Choice(first_strategy(self._plan, self._plan.groups[number]), 1.0, 0.0, 0.0, {})

    def _run(self, work: Work) -> Reply:
        shape, plan = (len(work.rows), len(work.columns)), self._plan
        curves = {"train_loss": len(plan.record_steps), "validation_loss": 0, "test_loss": 0}
        results = {name: np.zeros((*shape, n), np.float32) for name, n in curves.items() if n}
        results |= {name: np.zeros((*shape, len(plan.eval_steps)), np.float32) for name in self.names()}
        results |= {name: np.full(shape, Status.COMPLETED, np.int32) for name in ENDS}
        return Reply(Record(work.last, results, None, None), made=shape[0] * shape[1] * work.last, seconds=self.said)

    def names(self) -> list[str]:
        from jaxopt_lab.engine.recorder import evaluation_names

        return evaluation_names(self._plan)


class Short(Stub):
    """Claims to have taken a fifth of a second, so that a hundred are sent together."""

    said = 0.2


def driver(chunks: int, trials: int, stub: type[Stub], seats: int, folder: bool) -> dict:
    """Measure the driver's load: chunks of `trials` trials that take no time, with or without a run folder."""
    space = {"learning_rate": np.geomspace(1e-4, 1e-2, chunks * trials)}
    plan = plan_sweep(
        jl.adam, jl.tasks.digits_mlp(), space, steps=1000, chunk=trials, strategy="scan", record=50, evaluate=1000
    )
    plan = dataclasses.replace(plan, kept_configs=0)
    watch: Any = Watch(Strategy("scan", 1, trials, one_core=True))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[stub.__module__])  # workers cannot import it
    with nodes(2) as address, connected(address) as there:
        assert there is not None
        hall = Hall(there.kind, seats)
        actors.Worker, elsewhere.Pool = stub, Seats
        began, used = time.perf_counter(), time.process_time()
        with tempfile.TemporaryDirectory() as where, contextlib.ExitStack() as stack:
            if folder:
                watch = stack.enter_context(contextlib.closing(Run.open(where, identity(plan), environment())))
            outcome = execute(hall.planned(plan), ledger=watch, backend=elsewhere.RayBackend(hall, None, watch))
            if folder:
                watch.stop()
            seconds, used = time.perf_counter() - began, time.process_time() - used
            stored = sum(file.stat().st_size for file in Path(where).rglob("*") if file.is_file())
    assert (outcome.status == Status.COMPLETED).all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "sent": "one by one" if stub is Stub else "many together",
        "workers": seats,
        "chunks": chunks,
        "trials": chunks * trials,
        "seconds": seconds,
        "driver_cpu_seconds": used,
        "driver_cpu_ms_per_chunk": 1e3 * used / chunks,
        "memory_before_mib": before / 2**10,
        "memory_peak_mib": peak / 2**10,
        "stored_mib": stored / 2**20 if folder else None,
    }


def apart(function: Any, *arguments: Any) -> Any:
    """Run a function in its own process, so that its memory is measured separately."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a chunk")
    parser.add_argument("--chunks", type=int, default=6, help="of a sweep, to be even")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--driver-chunks", type=int, default=100_000)
    options = parser.parse_args()
    figures = {}
    figures["driver"] = []
    for stub, seats, folder in ((Stub, 1000, False), (Short, 1000, False), (Stub, 2, False), (Stub, 1000, True)):
        figures["driver"].append(apart(driver, options.driver_chunks, 4, stub, seats, folder))
        print(figures["driver"][-1], flush=True)
    os.environ["NPROC"] = "1"  # to processes that are started from here on: XLA's threads, as workers have them
    steps = round(2000 * options.seconds / per_chunk(apart(here, (4 * 64, 2000, 64))))
    shape = options.chunks * 64, steps, 64
    plan = digits_plan(*shape)
    rows = []
    for _ in range(options.repeats):  # in turns, so that a slow minute is everybody's
        local, (one, took), (two, _) = apart(here, shape), on_cluster(plan, 1), on_cluster(plan, 2)
        # Two workers begin at once: from the end of the first two chunks to that of the last two.
        both = (two[-1] + two[-2] - two[0] - two[1]) / 2 / (len(two) - 2)
        idle = 1 - sum(took[1:]) / (one[-1] - one[0])
        rows.append({"local": per_chunk(local), "one": per_chunk(one), "two": both, "idle": idle, "start": one[0]})
        print(rows[-1], flush=True)
    ratio = lambda a, b: [row[a] / row[b] for row in rows]
    figures |= {"steps": steps, "trials_a_chunk": 64, "rows": rows}
    figures["overhead"] = statistics.median(ratio("one", "local")) - 1
    figures["two_over_one"] = statistics.median(ratio("one", "two"))
    figures["idle"] = statistics.median(row["idle"] for row in rows)
    print(f"overhead {figures['overhead']:.1%}, to be 5 % at most; share of time between chunks {figures['idle']:.2%}")
    print(f"two workers over one: {figures['two_over_one']:.2f}, to be 1.8 at least")
    print(timing.save("cluster", figures))


if __name__ == "__main__":
    main()
