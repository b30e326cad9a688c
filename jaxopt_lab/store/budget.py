"""How often something may be done that takes time from what matters."""

import contextlib
import time
from collections.abc import Iterator

QUICK = 0.1  # share of the time since something was last done that it may take and still count as quickly done


class Budget:
    """Something that is done again and again, and may take a share of all time; or once in so many seconds.

    With `pause`, it is done once in so many seconds as long as it is quickly done, and less often where it is not.
    """

    def __init__(self, share: float, every: float | None = None, pause: float | None = None):
        self._share, self._every, self._pause = share, every, pause
        self._began = self._last = time.monotonic()
        self._spent = self._costs = 0.0
        self._first = True  # which imports, and makes what is there the next time: no measure for what follows

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
