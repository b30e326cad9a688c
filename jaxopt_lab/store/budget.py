"""How often something may be done that takes time from what matters."""

import contextlib
import time
from collections.abc import Iterator


class Budget:
    """Something that is done again and again, and may take a share of all time; or once in so many seconds."""

    def __init__(self, share: float, every: float | None = None):
        self._share, self._every = share, every
        self._began = self._last = time.monotonic()
        self._spent = self._costs = 0.0
        self._first = True  # which imports, and makes what is there the next time: no measure for what follows

    def allows(self) -> bool:
        now = time.monotonic()
        if self._every is not None:
            return now - self._last >= self._every
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
