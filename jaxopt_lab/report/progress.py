"""Progress: a live bar on a terminal, an occasional plain line elsewhere; both on standard error."""

import collections
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jaxopt_lab.checking import printable
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.formats import clock, compact, number

if TYPE_CHECKING:  # importing Rich takes a while
    from rich.console import Console, Group

WINDOW = 10.0  # seconds over which the rate is averaged, since a program's chunks end in bursts
PLAIN_EVERY = 5.0  # seconds between two plain lines
PLAIN_BEST = 3  # optimizers whose best is on a plain line


@contextlib.contextmanager
def shown(label: str = "", console: "Console | None" = None) -> Iterator[Callable[[Progress], None]]:
    """Show a sweep's progress until the block ends, then the final counts and the best values.

    Args:
        label: What is running, for example the task's name.
        console: The console to write to; by default standard error.

    Yields:
        `report(progress)`, to be called with the sweep's progress several times a second.

    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True) if console is None else console
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_interactive else None
    named = f"{label}: " if label else ""
    seen = collections.deque([(0.0, 0)])  # (seconds, trial-steps) of the last reports
    latest: Progress | None = None
    printed = 0.0  # time of the last plain line, on the sweep's clock
    noted = 0

    def report(progress: Progress) -> None:
        nonlocal latest, printed, noted
        latest = progress
        seen.append((progress.seconds, progress.trial_steps))
        while len(seen) > 2 and seen[0][0] < progress.seconds - WINDOW:
            seen.popleft()
        (began, before), (now, steps) = seen[0], seen[-1]
        rate = (steps - before) / (now - began) if now > began else 0.0
        while noted < len(progress.notes):
            _print(console, f"{named}{progress.notes[noted]}")
            noted += 1
        if live is not None:
            live.update(_bar(label, progress, rate, console.width), refresh=True)
        elif progress.seconds - printed >= PLAIN_EVERY:
            printed = progress.seconds
            _print(console, f"{named}{_counts(progress)}, {_ahead(progress, rate)}{_beside(progress)}")

    with live or contextlib.nullcontext():
        yield report
    if latest is not None:  # the sweep updates it even after its last report
        rate = latest.trial_steps / latest.seconds if latest.seconds > 0 else 0.0
        took = clock(latest.seconds)
        counts = f"{named}{_counts(latest)}, {compact(rate)} trial-steps/s, {took} in total"
        _print(console, counts if live else f"{counts}{_beside(latest)}")
        if live and latest.best:
            _print(console, f"{named}{_fitting(latest, console.width - len(named))}")


def _bar(label: str, p: Progress, rate: float, width: int) -> "Group":
    """Make the bar, the counts below it, and the best values where there are any: lines that fit 80 columns."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    # Trials that stop early reduce the planned steps, possibly to none.
    done = p.trials_done == p.trials
    share = 1.0 if done else min(1.0, p.trial_steps / max(p.trial_steps_planned, 1))
    line.add_row(Text(label), ProgressBar(total=1.0, completed=share))
    below = [f"{_counts(p)}, {_ahead(p, rate)}", _fitting(p, width)]
    return Group(line, *(Text(text, no_wrap=True, overflow="ellipsis") for text in below if text))


def _counts(p: Progress) -> str:
    return f"{p.trials_done}/{p.trials} trials, {p.diverged} diverged, {p.programs_compiled}/{p.programs} compiled"


def _ahead(p: Progress, rate: float) -> str:
    left = clock(max(0, p.trial_steps_planned - p.trial_steps) / rate) if rate > 0 else "-:--"
    return f"{compact(rate)} trial-steps/s, {left} left"


def _best(p: Progress, most: int) -> str:
    """Describe the best values of the `most` best optimizers; empty where none has a value yet."""
    if not p.best:
        return ""
    shown = [f"{printable(name)} {number(value)}" for name, value in list(p.best.items())[:most]]
    shown += [f"{len(p.best) - most} more"] if len(p.best) > most else []
    return f"best {printable(p.metric).replace('_', ' ')}: {', '.join(shown)}"


def _fitting(p: Progress, width: int) -> str:
    """Describe the best values of as many optimizers as fit the width, but at least one."""
    from rich.cells import cell_len

    texts = (_best(p, most) for most in range(min(len(p.best), width // 4), 0, -1))  # one takes at least 4 columns
    return next((text for text in texts if cell_len(text) <= width), _best(p, 1))


def _beside(p: Progress) -> str:
    """Describe the best values at the end of a plain line."""
    return f"; {_best(p, PLAIN_BEST)}" if p.best else ""


def _print(console: "Console", line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
