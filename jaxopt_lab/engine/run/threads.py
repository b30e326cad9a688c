"""A few threads that take jobs by priority; jobs may submit more."""

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any

from jaxopt_lab.tracing.settings import enter, of_this_thread


class Threads:
    """Runs jobs until none is left, none running, or one has failed or been told to stop.

    They have the JAX settings of the thread that made them.
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
        """Jobs of lower priority numbers run first, equal ones in the order of submission.

        `awaited` is one that was expected.
        """
        with self._changed:
            heapq.heappush(self._jobs, (priority, next(self._numbers), job))
            self._running -= awaited
            self._changed.notify()

    def expect(self) -> None:
        """Something runs elsewhere, and a job will be submitted when it is done: there is more to come."""
        with self._changed:
            self._running += 1

    def run(self, report: Callable[[], None], every: float = 0.1) -> None:
        """Work until all is done, reporting from this thread; raises what a job raised."""
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
            except BaseException as error:  # the caller's to see, whatever it is
                self._error = self._error or error
                self.cancelled.set()
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
