"""Who is told of a sweep's progress: a function of the caller's, the registered display, or nobody."""

import contextlib
from collections.abc import Callable, Iterator

from jaxopt_lab.engine.recorder import Progress

Report = Callable[[Progress], None]
_displays: list[Callable[[], contextlib.AbstractContextManager[Report]]] = []


def register(display: Callable[[], contextlib.AbstractContextManager[Report]]) -> None:
    """Have `display` show the progress of sweeps with `progress=True`.

    Args:
        display: Makes a context manager that shows progress for as long as it is entered, and yields the function to
            call with it.

    """
    _displays[:] = [display]


@contextlib.contextmanager
def reporting(progress: bool | Report) -> Iterator[Report]:
    """Yield the function that is told of a sweep's progress."""
    if callable(progress):
        yield progress
    elif progress and _displays:
        with _displays[-1]() as report:
            yield report
    else:
        yield lambda _: None
