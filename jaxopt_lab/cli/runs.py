"""The folder of a spec's run: the spec, and for each task a run folder with tables and pictures."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxopt_lab.cli.spec import Spec
from jaxopt_lab.cli.toml import loaded
from jaxopt_lab.compare.confirm import Confirmation
from jaxopt_lab.errors import ArgumentError, RunError
from jaxopt_lab.report.page.page import text_of
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric
from jaxopt_lab.results.written import written_table
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.lock import Lock
from jaxopt_lab.store.manifest import differences
from jaxopt_lab.store.zarr import RESULTS

GIVEN = {"steps", "seeds", "memory"}  # options of the command line that replace the spec's
MORE = {"steps", "examples", "epochs", "seeds"}  # what a run was extended to
RUN, SPEC, FORMAT = "run.json", "spec.toml", "jaxopt_lab spec 1"


@dataclasses.dataclass(frozen=True)
class Stored:
    """A run folder's record of its spec.

    Attributes:
        text: The spec's text.
        source: Where it was read from, for errors.
        given: Options that replace the spec's.
        more: What the run was extended to, or is being extended to.

    """

    text: str
    source: str
    given: Mapping[str, Any]
    more: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec) -> "Stored":
        return cls(spec.text, spec.source, spec.given)

    def write(self, folder: Folder) -> None:
        folder.write(RUN, json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1).encode())
        changes = "".join(f"# run with --{name} {value}\n" for name, value in self.given.items())
        changes += "".join(f"# extended to --{name} {value}\n" for name, value in self.more.items())
        folder.write(SPEC, (changes + self.text).encode())  # for people to read


def stored(folder: Folder) -> Stored | None:
    """Read the record of the spec that a folder is a run of; None where it has none.

    Raises:
        RunError: The record is damaged.

    """
    try:
        content = folder.read(RUN)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"Cannot read {folder.url(RUN)}: {error}.") from error
    try:
        match json.loads(content):
            case {
                "format": "jaxopt_lab spec 1",
                "text": str(text),
                "source": str(source),
                "given": dict(given),
                **rest,
            }:
                more = rest.get("more", {})
                if _numbers(given, GIVEN) and _numbers(more, MORE):
                    return Stored(text, source, given, more)
    except (ValueError, RecursionError):
        pass
    raise RunError(f"{folder.url(RUN)} is damaged or not a record of a run. Move the folder away and run again.")


def _numbers(table: Any, known: set[str]) -> bool:
    return isinstance(table, dict) and set(table) <= known and all(type(x) in (int, float) for x in table.values())


@contextlib.contextmanager
def taken(folder: Folder, spec: Spec, more: Mapping[str, float]) -> Iterator[Mapping[str, float]]:
    """Hold the folder for this process: a new one, or that of an unfinished or complete run of the same spec.

    Args:
        folder: The folder.
        spec: The spec.
        more: What to extend the run to; it is recorded, unless the block refuses it.

    Yields:
        What to extend the run to: `more`, and what it was being extended to before.

    Raises:
        RunError: The folder is in use, of another spec, not a run folder, or cannot be written.

    """
    before, now = stored(folder), Stored.of(spec)
    if before is None and folder.exists():
        raise RunError(f"{folder} exists and is not a run folder: nothing is overwritten. Choose another --out.")
    if before is not None and (lines := _changes(before, now)):
        raise RunError(f"{folder} is the run of another spec: {'; '.join(lines)}. Choose another --out.")
    folder.make()
    folder.refuse_links()
    lock = Lock(folder)
    lock.acquire()
    try:
        if before is None:
            now.write(folder)
        known = {} if before is None else before.more
        if more:  # a budget takes the place of one before, in whichever unit
            budget = more.keys() - {"seeds"}
            known = {name: value for name, value in known.items() if name == "seeds" or not budget} | dict(more)
            dataclasses.replace(before or now, more=known).write(folder)
        try:
            yield known
        except (ArgumentError, RunError):
            if more and before is not None:
                before.write(folder)
            raise
    finally:
        lock.release()


def write_about(results: Results, folder: Folder, task: str, confirmed: Confirmation | None = None) -> None:
    """Write a task's table, page and pictures, which can be made again from its results at any time."""
    folder.write(f"{task}/table.csv", written_table(results).to_csv(index=False).encode())
    folder.write(f"{task}/page.html", text_of(results, confirmed=confirmed).encode("utf-8", "replace"))
    figures = {
        "sensitivity": results.plot.sensitivity(),
        "curves": results.plot.curves(default_metric(results.dataset)),
    }
    with contextlib.suppress(ValueError):  # not a regression, or its parameters were not kept: nothing to draw
        figures["fit"] = results.plot.fit()
    for name, ax in figures.items():
        drawn = io.BytesIO()
        ax.figure.savefig(drawn, dpi=150, format="png")
        folder.write(f"{task}/{name}.png", drawn.getvalue())


def folder_of(where: str | Path) -> Folder:
    """Return the folder at a path or URL; RunError where there cannot be one."""
    try:
        return Folder(where)
    except (ImportError, ValueError) as error:  # the URL's file system is not installed, or unknown
        raise RunError(f"{where} cannot be a run folder: {error}") from error


def tasks_of(folder: Folder) -> list[str]:
    """Return the tasks of a run that have results."""
    return [name for name in folder.names() if RESULTS in folder.names(name)]


def _changes(before: Stored, now: Stored) -> list[str]:
    """Describe how two specs differ in content, ignoring their formatting."""
    with contextlib.suppress(ValueError):
        old, new = (loaded(x.text) | {f"--{n}": v for n, v in x.given.items()} for x in (before, now))
        return differences(old, new)
    return ["its text can no longer be read"]
