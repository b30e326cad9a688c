"""`verdict.report`: write the page of a comparison."""

import dataclasses
from pathlib import Path

from jaxopt_lab.compare.verdict import Verdict
from jaxopt_lab.report.page.document import document
from jaxopt_lab.report.page.page import checked_path, checked_title, write
from jaxopt_lab.report.page.sections.compared import SECTIONS


@dataclasses.dataclass(frozen=True)
class VerdictReport:
    """`verdict.report(path)` writes the page: see `__call__`."""

    verdict: Verdict

    def __call__(self, path: str | Path, title: str | None = None) -> Path:
        """Write the comparison as one HTML file, which needs no network and nothing beside it, and return its path.

        It has the verdict in words, a sortable table of all comparisons, linked charts of one task at a time (each
        pair's effect with its interval; the configurations that were drawn to tune, against each hyperparameter and in
        parallel coordinates), pictures, the ranges that were drawn from, and a methods paragraph.

        Args:
            path: The file, for example "verdict.html". Its folder must exist. Such a page is replaced.
            title: The page's title; by default the optimizers' names.

        Raises:
            TypeError: The path or the title is not a text.
            ValueError: The path is a folder or a file that is not such a page, or its folder does not exist.

        """
        return write(checked_path(path), text_of(self.verdict, checked_title(title)))


def text_of(verdict: Verdict, title: str | None = None) -> str:
    """Return the page of a comparison: see `VerdictReport.__call__`."""
    named = f"Which is better: {', '.join(verdict.optimizers)}?" if title is None else title
    made = [make(verdict) for make in SECTIONS]
    return document(named, [section for found in made for section in (found if isinstance(found, list) else [found])])
