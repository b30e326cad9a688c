"""Reporting a sweep's progress to the caller's function, to the registered display, or to nobody."""

import contextlib
from collections.abc import Callable, Iterator

from jaxopt_lab.engine.recorder import Progress

Report = Callable[[Progress], None]
_displays: list[Callable[[], contextlib.AbstractContextManager[Report]]] = []


def register(display: Callable[[], contextlib.AbstractContextManager[Report]]) -> None:
    """Register `display` to show the progress of sweeps with `progress=True`.

    Args:
        display: Makes a context manager that shows progress while it is entered, and yields the function to call with
            each `Progress`.

    """
    _displays[:] = [display]


@contextlib.contextmanager
def reporting(progress: bool | Report) -> Iterator[Report]:
    """Yield the function to call with a sweep's progress."""
    if callable(progress):
        yield progress
    elif progress and _displays:
        with _displays[-1]() as report:
            yield report
    else:
        yield lambda _: None
