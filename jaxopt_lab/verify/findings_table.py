"""Findings as a table for a terminal, in Markdown, and as plain data."""

import math
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table

from jaxopt_lab.verify.finding import Finding

COLUMNS = ("check", "theory", "expected", "measured", "error", "bound", "source")
HEAD = """\
# Theory, computed

Made by `jaxopt-lab verify theory --out TABLE.md`; computed with {versions} in {seconds:.0f} s.

Each line is a figure of theory or of a publication beside the same figure from a computation that does not know it; the
file of each check in this folder has the derivation. *error* is relative (absolute where the figure is 0), and *bound*
is the largest that passes, for the reason in the last column.
"""


def cells(finding: Finding) -> list[str]:
    """Return a finding as text, in the order of `COLUMNS`."""
    figures = f"{finding.expected:.7g}", f"{finding.measured:.7g}", f"{finding.error:.1e}", f"{finding.bound:.1e}"
    return [finding.what, finding.theory, *figures, finding.source]


def board(findings: Iterable[Finding]) -> Table:
    """Return the table for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("", *COLUMNS[:-2]):
        table.add_column(name, justify="right" if name in COLUMNS[2:5] else "left", overflow="fold")
    for finding in findings:
        verdict = "[green]ok[/]" if finding.passed else "[red]FAILS[/]"
        table.add_row(verdict, *(text.replace("[", "\\[") for text in cells(finding)[:5]))
    return table


def markdown(findings: Iterable[Finding], versions: str, seconds: float) -> str:
    """Return the whole table."""
    row = lambda texts: f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"
    names = [*COLUMNS, "why"]
    lines = [HEAD.format(versions=versions, seconds=seconds), row(names), "|---" * len(names) + "|"]
    for finding in findings:
        texts = [*cells(finding), finding.why]
        texts[0] = texts[0] if finding.passed else f"**{texts[0]}: fails**"
        lines.append(row(texts))
    return "\n".join(lines) + "\n"


def plain(check: str, finding: Finding) -> dict[str, Any]:
    """Return a finding as data for JSON."""
    return {
        "check": check,
        "what": finding.what,
        "theory": finding.theory,
        "expected": finding.expected,
        "measured": finding.measured if math.isfinite(finding.measured) else None,
        "error": finding.error if math.isfinite(finding.error) else None,
        "bound": finding.bound,
        "passed": finding.passed,
        "why": finding.why,
        "source": finding.source,
    }
