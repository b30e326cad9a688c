"""A pool of actors on a Ray cluster: as many as fit, given work when they are free, replaced when they are lost."""

import contextlib
import dataclasses
import functools
import heapq
import itertools
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxopt_lab.cluster.worker import Reply, Settings, Work, Worker
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.run.threads import Threads
from jaxopt_lab.errors import ActorsLostError, ClusterError

TASK_SECONDS = 20.0  # the most work that is sent at once, where chunks are short and many
POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0  # between two checks for room for more actors, and for the progress of some
LOOKED_AT = 32  # actors asked for their progress at once
RETRIES = 3  # for work whose actor is lost
GRACE_SECONDS = 60.0  # for segments to end, once the sweep is told to stop


class Room(Protocol):
    """Knows how many actors fit, and which resource an actor gets one of: "CPU" or "GPU"."""

    @property
    def kind(self) -> str: ...
    def slots(self) -> int: ...


@dataclasses.dataclass(eq=False)
class Job:
    """A job for an actor: to run work, or to choose a strategy for the group of that number."""

    priority: tuple[int, ...]
    what: Work | int
    then: Callable[[Any], None]
    failures: int = 0


class Call(NamedTuple):
    """A pending call of an actor; without jobs, the actor is starting."""

    actor: Any
    jobs: list[Job]


class Pool:
    """Sends jobs to actors, and passes each result to this process's threads exactly once.

    Args:
        plan: The plan, sent to each actor once.
        settings: The actors' settings.
        room: Says how many actors there may be.
        threads: Process the results.
        count: Counts trial-steps as they are made; a negative count takes back those that a result counts again, or
            that are lost.
        note: Passes messages to the user.
        tidy: Called from time to time.

    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        room: Room,
        threads: Threads,
        count: Callable[[int], None],
        note: Callable[[str], None],
        tidy: Callable[[], None],
    ):
        import ray
        from ray import cloudpickle

        self._room, self._threads, self._count, self._note, self._tidy = room, threads, count, note, tidy
        self._most, self._settings = plan.trials, settings
        self._plan = ray.put(cloudpickle.dumps(plan))  # pyright: ignore[reportPrivateImportUsage]
        resources: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if room.kind == "GPU" else {"num_cpus": 1}
        # Two methods may run at once, so that a running one can be told to stop. Lost actors are replaced here.
        self._make = ray.remote(Worker).options(max_concurrency=2, max_restarts=0, **resources)
        self._changed = threading.Condition()
        self._waiting: list[tuple[tuple[int, ...], int, Job]] = []
        self._numbers, self._rates = itertools.count(), dict[int, float]()  # seconds per trial-step, by group
        self._calls: dict[Any, Call] = {}
        self._asked: dict[Any, Any] = {}  # pending questions about progress, and the call that each is about
        self._said: dict[Any, int] = {}  # the latest answer, by call
        self._actors: set[Any] = set()
        self._idle: list[Any] = []
        self._slots, self._bundled, self._looked = 1, 1, -math.inf
        self._begun, self._stillborn = False, 0
        self._closing, self._error = False, None
        self._thread = threading.Thread(target=self._work, name="jaxopt-lab-pool", daemon=True)
        self._thread.start()

    def choose(self, priority: tuple[int, ...], number: int, then: Callable[[Any], None]) -> None:
        """Have an actor choose how a group's trials run; `then` is given a `Choice` or an exception."""
        self._send(Job(priority, number, then))

    def run(self, priority: tuple[int, ...], work: Work, then: Callable[[Any], None]) -> None:
        """Have an actor do work; `then` is given a `Reply` or an exception. Blocks while the queue is long."""
        with self._changed:
            while len(self._waiting) >= 64 + 4 * self._slots * self._bundled and not self._threads.cancelled.is_set():
                self._raise()  # otherwise all threads would wait for a pool that has failed
                self._changed.wait(POLL_SECONDS)
        self._send(Job(priority, work, then))

    def close(self, gently: bool) -> None:
        """Release all actors; `gently`: first collect the results of working ones at the end of their segments."""
        import ray

        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        try:
            if gently:
                at_work = [call.actor for call in self._calls.values() if call.jobs]
                self._calls = {ref: call for ref, call in self._calls.items() if call.jobs}
                for actor in at_work:
                    actor.stop.remote()
                until = time.monotonic() + GRACE_SECONDS
                while self._calls and time.monotonic() < until:
                    self._collect(POLL_SECONDS, lambda job, result: job.then(result))
        finally:
            for actor in self._actors:
                with contextlib.suppress(Exception):
                    ray.kill(actor)

    def _send(self, job: Job, again: bool = False) -> None:
        if not again:
            self._threads.expect()
        with self._changed:
            heapq.heappush(self._waiting, (job.priority, next(self._numbers), job))
            self._changed.notify_all()

    def _work(self) -> None:
        """Run the pool's own thread."""
        try:
            while not self._closing:
                self._look()
                self._hand_out()
                if self._calls:
                    self._collect(POLL_SECONDS, self._deliver)
                else:
                    with self._changed:
                        self._changed.wait_for(lambda: self._waiting or self._closing, POLL_SECONDS)
        except Exception as error:
            self._error = error
            self._threads.submit((-2,), self._raise)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _look(self) -> None:
        """Check from time to time how many actors fit, since nodes come and go, and the progress of some actors."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._slots = max(1, self._room.slots())
        for _ in range(min(self._slots, self._most) - len(self._actors)):
            actor = self._begin()
            self._actors.add(actor)
            self._calls[actor.load.remote(self._plan)] = Call(actor, [])
        self._tidy()
        self._ask()

    def _ask(self) -> None:
        """Collect answers about progress, and ask some further actors."""
        import ray
        from ray.exceptions import RayError

        for asked in ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)[0] if self._asked else ():
            ref = self._asked.pop(asked)
            with contextlib.suppress(RayError):  # the actor is lost, which its call will report
                said = ray.get(asked)
                if ref in self._calls:
                    self._count(said - self._said.get(ref, 0))
                    self._said[ref] = said
        at_work = [ref for ref, call in self._calls.items() if call.jobs]
        for ref in random.sample(at_work, min(len(at_work), LOOKED_AT - len(self._asked))):
            self._asked[self._calls[ref].actor.made.remote()] = ref

    def _begin(self) -> Any:
        """Start a new actor, which is ready once it has resources."""
        return self._make.remote(self._settings)

    def _hand_out(self) -> None:
        """Give jobs to idle actors."""
        while self._idle and self._waiting:
            with self._changed:
                jobs = self._bundle()
                self._changed.notify_all()
            actor = self._idle.pop()
            method = actor.run if isinstance(jobs[0].what, Work) else actor.choose
            self._calls[method.remote([job.what for job in jobs])] = Call(actor, jobs)

    def _bundle(self) -> list[Job]:
        """Take the next job, and more where they are short; fewer towards the end, so that all actors end together."""
        fair = math.ceil(len(self._waiting) / (2 * self._slots))
        jobs, seconds = [], 0.0
        while self._waiting and (not jobs or len(jobs) < fair):
            expected = self._expected(self._waiting[0][-1])
            if jobs and seconds + expected > TASK_SECONDS:
                break
            jobs.append(heapq.heappop(self._waiting)[-1])
            seconds += expected
        self._bundled = max(self._bundled, len(jobs))
        return jobs

    def _expected(self, job: Job) -> float:
        """Return the expected seconds; infinity, so that it goes alone, where unknown or after a lost actor."""
        work = job.what
        if job.failures or not isinstance(work, Work) or work.group not in self._rates:
            return math.inf
        return self._rates[work.group] * len(work.rows) * len(work.columns) * (work.last - work.first)

    def _collect(self, seconds: float, deliver: Callable[[Job, Any], None]) -> None:
        """Take results from actors, waiting at most `seconds` for the first."""
        import ray

        refs = list(self._calls)
        if ray.wait(refs, timeout=seconds)[0]:
            for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
                self._take(ref, deliver)

    def _take(self, ref: Any, deliver: Callable[[Job, Any], None]) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        actor, jobs = self._calls.pop(ref)
        self._count(-self._said.pop(ref, 0))
        try:
            found: Any = ray.get(ref)
        except RayTaskError as error:  # raised when an actor receives its arguments or sends its result
            found = [error] * len(jobs) or error
        except RayError as error:
            self._lost(actor, jobs, error, deliver)
            return
        if not jobs and found is not None:
            raise ClusterError(f"A worker of the cluster cannot load the sweep: {found!r}") from found
        self._begun = True
        self._idle.append(actor)
        for job, result in zip(jobs, found or [], strict=True):
            if isinstance(result, Reply) and isinstance(job.what, Work) and result.made:
                self._rates[job.what.group] = result.seconds / result.made
            deliver(job, result)

    def _deliver(self, job: Job, result: Any) -> None:
        self._threads.submit((-1,), functools.partial(job.then, result), awaited=True)

    def _lost(self, actor: Any, jobs: list[Job], error: Exception, deliver: Callable[[Job, Any], None]) -> None:
        """Handle the loss of an actor, of its machine, or of its result: other actors repeat the work."""
        import ray

        with contextlib.suppress(Exception):  # it may only have been unreachable for a moment
            ray.kill(actor)
        self._actors.discard(actor)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not jobs and not self._begun:
            self._stillborn += 1
            if self._stillborn > RETRIES:
                raise ClusterError(f"Workers of the cluster end before they begin: {reason}") from error
        if jobs:
            self._note(f"A worker was lost; other workers repeat its work: {reason}")
        for job in jobs:
            job.failures += 1
            if job.failures > RETRIES:
                deliver(job, ActorsLostError(f"{job.failures} workers that ran it were lost: {reason}"))
            else:
                job.priority = (-1,)
                self._send(job, again=True)
