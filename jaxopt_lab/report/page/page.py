"""`results.report`: write the page of a sweep."""

import dataclasses
import os
import tempfile
from pathlib import Path

from jaxopt_lab.checking import quoted
from jaxopt_lab.compare.confirm import Confirmation
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.report.page.document import GENERATOR, Section, document
from jaxopt_lab.report.page.sections.configurations import configurations
from jaxopt_lab.report.page.sections.diagnosis import diagnosis
from jaxopt_lab.report.page.sections.downloads import downloads
from jaxopt_lab.report.page.sections.explore import explore
from jaxopt_lab.report.page.sections.leaderboard import leaderboard
from jaxopt_lab.report.page.sections.methods import methods
from jaxopt_lab.report.page.sections.repeat import repeat
from jaxopt_lab.report.page.sections.summary import summary
from jaxopt_lab.results.results import Results

SECTIONS = (  # below the summary
    leaderboard,
    diagnosis,
    explore,
    configurations,
    methods,
    repeat,
    downloads,
)
MARK = f'name="generator" content="{GENERATOR}"'.encode()


@dataclasses.dataclass(frozen=True)
class Report:
    """`results.report(path)` writes the page: see `__call__`."""

    results: Results

    def __call__(self, path: str | Path, title: str | None = None, confirmed: Confirmation | None = None) -> Path:
        """Write the results as one HTML file, which needs no network and nothing beside it, and return its path.

        It has a summary in words, a sortable leaderboard, linked charts (sensitivity, curves, parallel coordinates, a
        heat map), a methods paragraph, what is needed to repeat the sweep, and the table and figures for download. A
        page that was there before is replaced.

        Args:
            path: The file, for example "page.html". Its folder must exist.
            title: The page's title; by default the task's name.
            confirmed: What `results.confirm()` returned, to begin the summary with its verdict.

        Raises:
            TypeError: The path or the title is not a text, or `confirmed` is not such a verdict.
            ValueError: The path is a folder or a file that is not such a page, or its folder does not exist.

        """
        if not isinstance(confirmed, Confirmation | None):
            raise ArgumentTypeError(f"confirmed must be what results.confirm() returns, got {quoted(confirmed)}.")
        return write(checked_path(path), text_of(self.results, checked_title(title), confirmed))


def text_of(results: Results, title: str | None = None, confirmed: Confirmation | None = None) -> str:
    """Return the page of results: see `Report.__call__`."""
    name = f"Optimizers on {results.dataset.attrs['task']}" if title is None else title
    return document(name, sections_of(results, confirmed))


def sections_of(results: Results, confirmed: Confirmation | None = None) -> list[Section]:
    """Return the page's sections; those that have nothing to show are left out."""
    made = [summary(results, confirmed), *(make(results) for make in SECTIONS)]
    listed = [found if isinstance(found, list) else [found] for found in made]
    return [section for found in listed for section in found if section is not None]


def checked_title(title: str | None) -> str | None:
    """Return the title of a page. Raises TypeError where it is not a text."""
    if title is not None and not isinstance(title, str):
        raise ArgumentTypeError(f"title must be a text or left out, got {quoted(title)}.")
    return title


def checked_path(path: str | Path) -> Path:
    """Return the path of a page to write: see `Report.__call__` for what is refused."""
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"path must be a file's path, such as 'page.html', got {quoted(path)}.")
    place = Path(path)
    if place.is_dir():
        raise ArgumentValueError(f"path is a folder, {str(path)!r}. Name a file in it: {str(place / 'page.html')!r}.")
    if not place.parent.is_dir():
        raise ArgumentValueError(f"The folder {str(place.parent)!r} of the page does not exist. Create it first.")
    if place.exists() and not _is_page(place):
        raise ArgumentValueError(
            f"{str(path)!r} exists and is not a page of jaxopt_lab, so it is not replaced. Name another file."
        )
    return place


def write(place: Path, text: str) -> Path:
    """Write a page whole or not at all, and return its path."""
    handle, temporary = tempfile.mkstemp(prefix=f".{place.name[:50]}.", suffix=".part", dir=place.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, _permissions(place))
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return place


def _is_page(place: Path) -> bool:
    with place.open("rb") as file:
        start = file.read(4096)
    return not start or MARK in start


def _permissions(place: Path) -> int:
    """Return those of the file that is replaced, else those of a new file; a temporary file has its owner's alone."""
    if place.exists():
        return place.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
