"""Time budgets: how often a side task, such as saving, may run."""

import contextlib
import time
from collections.abc import Iterator

QUICK = 0.1  # a task counts as quick where it takes at most this share of the time since it last ran


class Budget:
    """Limits a repeated task to a share of all time, or to once in `every` seconds.

    With `pause`, the task runs once in so many seconds as long as it is quick, and less often where it is not.
    """

    def __init__(self, share: float, every: float | None = None, pause: float | None = None):
        self._share, self._every, self._pause = share, every, pause
        self._began = self._last = time.monotonic()
        self._spent = self._costs = 0.0
        self._first = True  # the first time includes imports and one-off work, so it does not count

    def allows(self) -> bool:
        now = time.monotonic()
        since = now - self._last
        if self._every is not None:
            return since >= self._every
        if self._pause is not None and (since < self._pause or self._costs <= QUICK * since):
            return since >= self._pause
        return self._spent + self._costs <= self._share * (now - self._began)

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._last = time.monotonic()
            if not self._first:
                self._costs = self._last - began
                self._spent += self._costs
            self._first = False
