"""A pool of threads that run jobs by priority; jobs may submit more."""

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any

from jaxopt_lab.tracing.settings import enter, of_this_thread


class Threads:
    """Runs jobs until none is left or running, one fails, or they are cancelled.

    The threads have the JAX settings of the thread that made the pool.
    """

    def __init__(self, count: int):
        self.cancelled = threading.Event()
        self._changed = threading.Condition()
        self._jobs: list[tuple[tuple[int, ...], int, Callable[[], None]]] = []
        self._numbers, self._running = itertools.count(), 0
        self._error: BaseException | None = None
        settings = of_this_thread()
        self._threads = [
            threading.Thread(target=self._work, args=(settings,), name=f"jaxopt-lab-{i}", daemon=True)
            for i in range(count)
        ]

    def submit(self, priority: tuple[int, ...], job: Callable[[], None], awaited: bool = False) -> None:
        """Queue a job: lower priority numbers run first, equal ones in the order of submission.

        `awaited` says that `expect` announced it.
        """
        with self._changed:
            heapq.heappush(self._jobs, (priority, next(self._numbers), job))
            self._running -= awaited
            self._changed.notify()

    def expect(self) -> None:
        """Announce that a job will be submitted later, when something that runs elsewhere is done."""
        with self._changed:
            self._running += 1

    def run(self, report: Callable[[], None], every: float = 0.1) -> None:
        """Run all jobs, reporting from this thread; raises the first error that a job raised."""
        for thread in self._threads:
            thread.start()
        try:
            while not self._done(every):
                report()
        finally:
            self.cancelled.set()
            with self._changed:
                self._changed.notify_all()
            for thread in self._threads:
                thread.join()
        report()
        if self._error is not None:
            raise self._error

    def _done(self, timeout: float) -> bool:
        over = lambda: self.cancelled.is_set() or not (self._jobs or self._running)
        with self._changed:
            return self._changed.wait_for(over, timeout)

    def _work(self, settings: dict[str, Any]) -> None:
        enter(settings)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self.cancelled.is_set() or not self._running)
                if self.cancelled.is_set() or not self._jobs:
                    return
                _, _, job = heapq.heappop(self._jobs)
                self._running += 1
            try:
                job()
            except BaseException as error:  # raised in the calling thread
                self._error = self._error or error
                self.cancelled.set()
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
