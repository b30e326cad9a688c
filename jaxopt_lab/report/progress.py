"""Progress: a live display on a terminal or in a notebook, an occasional plain line elsewhere."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jaxopt_lab.checking import printable
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.report import notebook
from jaxopt_lab.report.progress_words import Pace, Standings, ahead, beside, best, counts, final, share
from jaxopt_lab.report.sparklines import shown_on

if TYPE_CHECKING:  # importing Rich takes a while
    from rich.console import Console, Group
    from rich.table import Table

PLAIN_EVERY = 5.0  # seconds between two plain lines
MOST_ROWS = 10  # optimizers with a sparkline
OTHER_LINES = 9  # of a terminal: the bar, the counts, the heads, what was printed before

Report = Callable[[Progress], None]


def shown(label: str = "", console: "Console | None" = None) -> contextlib.AbstractContextManager[Report]:
    """Show a sweep's progress until the block ends, then the final counts and the best values.

    Where no console is given, a notebook has one output that is updated in place; elsewhere it is standard error.

    Args:
        label: What is running, for example the task's name.
        console: The console to write to.

    Returns:
        A context manager that yields `report(progress)`, to be called with the sweep's progress several times a second.

    """
    if console is None and (output := notebook.output()) is not None:
        return notebook.shown(label, output)
    return _on_console(label, console)


@contextlib.contextmanager
def _on_console(label: str, console: "Console | None") -> Iterator[Report]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True) if console is None else console
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_interactive else None
    named = f"{label}: " if label else ""
    pace, standings = Pace(), Standings()
    latest: Progress | None = None
    printed = 0.0  # time of the last plain line, on the sweep's clock
    noted = 0

    def report(progress: Progress) -> None:
        nonlocal latest, printed, noted
        latest, rate = progress, pace(progress)
        while noted < len(progress.notes):
            _print(console, f"{named}{progress.notes[noted]}")
            noted += 1
        if live is not None:
            live.update(_display(label, progress, rate, standings, console), refresh=True)
        elif progress.seconds - printed >= PLAIN_EVERY:
            printed = progress.seconds
            _print(console, f"{named}{counts(progress)}, {ahead(progress, rate)}{beside(progress)}")

    with live or contextlib.nullcontext():
        yield report
    if latest is not None:  # the sweep updates it even after its last report
        _print(console, f"{named}{final(latest)}{'' if live else beside(latest)}")
        if live and latest.best:
            _print(console, f"{named}{_fitting(latest, console.width - len(named))}")


def _display(label: str, p: Progress, rate: float, standings: Standings, console: "Console") -> "Group":
    """Make the bar, the counts below it, and the optimizers' standings where there are any: lines that fit."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    line.add_row(Text(shown_on(console, label)), ProgressBar(total=1.0, completed=share(p)))
    table = _table(p, standings, console)
    below = [f"{counts(p)}, {ahead(p, rate)}", "" if table is not None else _fitting(p, console.width)]
    overflow = "crop" if console.options.ascii_only else "ellipsis"
    texts = [Text(shown_on(console, text), no_wrap=True, overflow=overflow) for text in below if text]
    return Group(line, *texts, *([] if table is None else [table]))


def _table(p: Progress, standings: Standings, console: "Console") -> "Table | None":
    """Make a row for each of the best optimizers: its best value, and its sparkline. None where there are no rates."""
    from rich.table import Table
    from rich.text import Text

    rows = standings.rows(p, max(1, min(MOST_ROWS, console.height - OTHER_LINES)))
    if not rows:
        return None
    overflow = "crop" if console.options.ascii_only else "ellipsis"
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow=overflow, max_width=max(12, console.width // 3))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow=overflow)
    table.add_row(*(Text(shown_on(console, text), style="dim") for text in standings.heads(p)))
    for row in rows:
        table.add_row(*(Text(shown_on(console, text)) for text in row))
    return table


def _fitting(p: Progress, width: int) -> str:
    """Return the best values of as many optimizers as fit the width, but at least one."""
    from rich.cells import cell_len

    texts = (best(p, most) for most in range(min(len(p.best), width // 4), 0, -1))  # one takes at least 4 columns
    return next((text for text in texts if cell_len(text) <= width), best(p, 1))


def _print(console: "Console", line: str) -> None:
    console.print(shown_on(console, printable(line)), markup=False, highlight=False, soft_wrap=True)
