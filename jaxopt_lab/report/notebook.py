"""Progress in a notebook: one output, updated in place, which ends as a few words. It needs no widgets."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from jaxopt_lab.checking import printable
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.report.progress_words import Pace, Standings, ahead, beside, counts, final, share

EVERY = 0.5  # seconds between two updates, each of which is sent to the browser
MOST_ROWS = 12  # optimizers with a sparkline
CELL = "padding:0 1.2em 0 0;text-align:left;vertical-align:bottom;white-space:pre-line"
NUMBER = CELL.replace("left", "right")

Output = Callable[..., Any]


def output() -> Output | None:
    """Return IPython's function `display` in a notebook's kernel; None elsewhere. It imports nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or getattr(ipython.get_ipython(), "kernel", None) is None:  # a terminal's shell has no kernel
        return None
    return ipython.display.display


class Frame:
    """What the output shows, as HTML and as text."""

    def __init__(self, html: str, text: str):
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


@contextlib.contextmanager
def shown(label: str, display: Output) -> Iterator[Callable[[Progress], None]]:
    """Show a sweep's progress in one output until the block ends, then the final counts and the best values.

    Args:
        label: What is running, for example the task's name.
        display: IPython's function `display`.

    Yields:
        `report(progress)`, to be called with the sweep's progress several times a second.

    """
    named = printable(f"{label}: ") if label else ""
    pace, standings = Pace(), Standings()
    latest: Progress | None = None
    handle: Any = None
    sent = 0.0  # time of the last update, on the sweep's clock

    def report(progress: Progress) -> None:
        nonlocal latest, handle, sent
        latest, rate = progress, pace(progress)
        if handle is not None and progress.seconds - sent < EVERY:
            return
        sent = progress.seconds
        frame = running(named, progress, rate, standings)
        if handle is None:
            handle = display(frame, display_id=True)
        else:
            handle.update(frame)

    try:
        yield report
    finally:  # an error leaves no bar that seems to move
        if handle is not None and latest is not None:
            handle.update(ended(named, latest))


def running(named: str, p: Progress, rate: float, standings: Standings) -> Frame:
    """Make the frame of a sweep that runs: messages, a bar, the counts, and a row for each optimizer."""
    line = f"{named}{counts(p)}, {ahead(p, rate)}"
    bar = f'<progress value="{share(p):.4f}" max="1" style="width:100%" aria-label="Progress"></progress>'
    rows = standings.rows(p, MOST_ROWS)
    table = ""
    if rows:
        listed = [(standings.heads(p), "th"), *((row, "td") for row in rows)]
        table = f"<table>{''.join(_row(cells, kind) for cells, kind in listed)}</table>"
    return Frame(f"<div>{_notes(p)}{bar}<div>{escape(line)}</div>{table}</div>", line)


def ended(named: str, p: Progress) -> Frame:
    """Make the frame that stays: messages, the final counts and the best values."""
    line = f"{named}{final(p)}{beside(p)}"
    return Frame(f"<div>{_notes(p)}<div>{escape(line)}</div></div>", "\n".join([*map(printable, p.notes), line]))


def _notes(p: Progress) -> str:
    return "".join(f"<div>{escape(printable(note))}</div>" for note in p.notes)


def _row(cells: tuple[str, str, str], kind: str) -> str:
    """Make a row of the table; blocks are as wide as each other in a fixed-width font."""
    name, value, line = map(escape, cells)
    code = line if kind == "th" else f'<code style="white-space:pre">{line}</code>'
    styles = (CELL, NUMBER, CELL)
    made = (f'<{kind} style="{style}">{text}</{kind}>' for style, text in zip(styles, (name, value, code), strict=True))
    return f"<tr>{''.join(made)}</tr>"
