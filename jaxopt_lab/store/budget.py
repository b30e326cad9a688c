"""How often something may be done that takes time from what matters."""

import contextlib
import math
import time
from collections.abc import Iterator

QUICK = 0.1  # of the time since it was last done


class Budget:
    """Something that is done again and again, and may take a share of all time; or once in so many seconds.

    What was done more than `stale` seconds ago may be done again whatever it has taken in all, if it is quickly done.
    """

    def __init__(self, share: float, every: float | None = None, stale: float = math.inf):
        self._share, self._every, self._stale = share, every, stale
        self._began = self._last = time.monotonic()
        self._spent = self._costs = 0.0
        self._first = True  # which imports, and makes what is there the next time: no measure for what follows

    def allows(self) -> bool:
        now = time.monotonic()
        since = now - self._last
        if self._every is not None:
            return since >= self._every
        if since >= self._stale and self._costs <= QUICK * since:
            return True
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
