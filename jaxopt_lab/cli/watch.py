"""`jaxopt-lab watch`: follow a run from another terminal or machine. It only reads, and uses no accelerator."""

import contextlib
import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from jaxopt_lab.checking import printable
from jaxopt_lab.cli.failing import fail
from jaxopt_lab.cli.runs import folder_of, stored
from jaxopt_lab.cli.toml import loaded
from jaxopt_lab.errors import ArgumentError, RunError
from jaxopt_lab.report.sparklines import shown_on
from jaxopt_lab.report.watch import Watched, display, plain_line
from jaxopt_lab.results.concat import concat
from jaxopt_lab.results.files import PART, PARTS, parts_of
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.lock import OWNER, STALE_SECONDS
from jaxopt_lab.store.manifest import read as read_manifest
from jaxopt_lab.store.zarr import read as read_results

if TYPE_CHECKING:
    import xarray as xr

LEAST_SECONDS = 0.1  # between two looks
ACTIVE = ("running", "silent", "waiting")


def watch(
    path: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, local or at a URL.")],
    every: Annotated[float, typer.Option(help="Seconds between two looks at the folder.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Print what there is now, and end.")] = False,
) -> None:
    """Follow a run from another terminal or machine, until it is complete; it only reads.

    The exit status is 0 where the run is complete, 1 where it is not and no process runs it any more.
    """
    if not (math.isfinite(every) and every >= LEAST_SECONDS):
        fail(f"--every must be at least {LEAST_SECONDS} seconds, got {every:g}.")
    console = Console()
    try:
        folder = folder_of(path)
        if not folder.exists():
            fail(f"There is no {path}.")
        if once:
            console.print(_display(console, Reader(folder).read()))
            return
        tasks = follow(Reader(folder), console, every)
    except (OSError, ValueError, RunError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if any(seen.state != "complete" for seen in tasks):
        typer.echo(
            printable(f"Not complete, and no process runs it. Resume it with: jaxopt-lab resume {path}"), err=True
        )
        raise typer.Exit(1)


def follow(
    reader: "Reader", console: Console, every: float, sleep: Callable[[float], None] = time.sleep
) -> list[Watched]:
    """Show the run until it is complete or no process runs it, and return what was read last.

    Where the console is no terminal, plain lines are printed as they change, and the display in the end.
    """
    began = time.monotonic()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_interactive else None
    printed: dict[str, str] = {}
    with live or contextlib.nullcontext():
        while True:
            tasks = reader.read()
            if live is not None:
                live.update(_display(console, tasks, time.monotonic() - began), refresh=True)
            else:
                _print_changes(tasks, printed, console)
            if not any(seen.state in ACTIVE for seen in tasks):
                break
            sleep(every)
    console.print(_display(console, tasks))
    return tasks


def _display(console: Console, tasks: list[Watched], seconds: float | None = None) -> Group:
    return display(tasks, console.width, seconds, functools.partial(shown_on, console))


def _print_changes(tasks: list[Watched], printed: dict[str, str], console: Console) -> None:
    for seen in tasks:
        if printed.get(seen.name) != (line := plain_line(seen)):
            printed[seen.name] = line
            console.print(shown_on(console, line), markup=False, highlight=False, soft_wrap=True)


class Reader:
    """Reads a run's partial results again and again; complete ones once.

    Args:
        folder: The folder of a sweep's or of a spec's run, or one that `Results.save` wrote.

    """

    def __init__(self, folder: Folder):
        self._folder = folder
        self._latest: dict[str, Watched] = {}

    def read(self) -> list[Watched]:
        """Read the run of each task.

        Raises:
            RunError: The folder is damaged.
            ValueError: It is not the folder of a run.

        """
        held, tasks = self._held(self._folder), self._tasks()
        for name in tasks:
            before = self._latest.get(name)
            if before is None or before.state != "complete":
                self._latest[name] = self._read(name, held, before)
        found = [self._latest[name] for name in tasks]
        if held is None:  # later tasks will not begin
            found = [dataclasses.replace(x, state="not running") if x.state == "waiting" else x for x in found]
        return found

    def _tasks(self) -> list[str]:
        """Return the tasks of a spec's run; "" stands for the folder itself."""
        record = stored(self._folder)
        if record is None:
            return [""]
        tasks = loaded(record.text).get("tasks")
        return list(tasks) if isinstance(tasks, dict) else []

    def _read(self, task: str, held: float | None, before: Watched | None) -> Watched:
        """Read a task's run; where it cannot be read just now, what was read before stays, with a note."""
        folder = Folder(self._folder.url(task))
        name = task or folder.url().rsplit("/", 1)[-1]
        try:
            return self._read_now(folder, name, bool(task), held, before)
        except (OSError, ValueError, RunError) as error:
            if before is None:
                raise
            return dataclasses.replace(before, note=f"it cannot be read just now: {error}")

    def _read_now(
        self, folder: Folder, name: str, may_wait: bool, held: float | None, before: Watched | None
    ) -> Watched:
        added = _added(folder)
        signs = [self._held(folder), None if added is None else self._held(added)]
        own = max((sign for sign in signs if sign is not None), default=None)
        manifest = read_manifest(folder)  # after its owner: a run is complete before it lets its folder go
        if manifest is None and may_wait:
            return Watched(name, "waiting")
        dataset, note = None if before is None else before.dataset, ""
        try:
            dataset = _dataset(folder, growing=added is not None or bool(manifest and manifest.before))
        except RunError:  # none yet, or they are being written
            if manifest is None or manifest.complete:
                raise
            note = "no results yet" if dataset is None else ""
        if manifest is None or (manifest.complete and added is None):
            return Watched(name, "complete", dataset)
        if manifest.complete or manifest.before:
            note = f"{'trials' if manifest.complete else 'steps'} are being added: these are the results before"
        if own is None and held is None:
            return Watched(name, "not running", dataset, note)
        silent = 0.0 if own is None else time.time() - own
        if silent > STALE_SECONDS:
            return Watched(name, "silent", dataset, f"no sign of life for {silent / 60:.0f} min: it may have died")
        return Watched(name, "running", dataset, note)

    def _held(self, folder: Folder) -> float | None:
        """Return the time of the last sign of life of the process that holds the folder; None where none does."""
        try:
            match json.loads(folder.read(OWNER)):
                case {"beat": float(beat)}:
                    return beat
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):  # it is being written
            pass
        return time.time()


def _dataset(folder: Folder, growing: bool) -> "xr.Dataset":
    """Read the results of a run folder, with those of trials that were added; unlike `load`, it makes no task."""
    parts = [Results(read_results(path)[0], None, []) for path in (folder.url(), *parts_of(folder.url()))]
    try:
        return (parts[0] if len(parts) == 1 else concat(parts)).dataset
    except ArgumentError:
        if not growing:
            raise
        return parts[0].dataset  # some trials have more steps already


def _added(folder: Folder) -> Folder | None:
    """Return the run folder of trials that are being added to a run; None where there is none or it is complete."""
    names = [name for name in folder.names(PARTS) if PART.fullmatch(name)]
    newest = Folder(folder.url(f"{PARTS}/{max(names)}")) if names else None
    manifest = None if newest is None else read_manifest(newest)
    return None if manifest is None or manifest.complete else newest
