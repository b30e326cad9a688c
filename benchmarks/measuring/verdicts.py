"""What the pages of comparisons share: tables and lists in Markdown, and sentences on a verdict."""

import textwrap
from collections.abc import Sequence
from typing import Any

from measuring import timing

import jaxopt_lab as jl
from jaxopt_lab.statistics.tally import UNDECIDED


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown; all columns but the first are numbers."""
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def points(*lines: str) -> str:
    """Return a list in Markdown."""
    return "\n".join(textwrap.fill(f"- {line}", 120, subsequent_indent="  ") for line in lines)


def over_tasks(verdict: jl.Verdict) -> str:
    """Say which differences hold with tasks as the unit."""
    rows: Any = verdict.over_tasks()
    said = [
        f"{row['better']} over {row['b' if row['verdict'] == 'a' else 'a']} (p = {row['p_corrected']:.2g})"
        for row in rows[rows["verdict"] != UNDECIDED].to_dict("records")
    ]
    if said:
        return f"With tasks as the unit, these differences would hold on another task of this kind: {'; '.join(said)}."
    return (
        "With tasks as the unit, no difference is decided: on another task of this kind, either of any two optimizers "
        f"may be the better one (the smallest corrected p is {rows['p_corrected'].min():.2g})."
    )


def made_by(script: str, seconds: float | None) -> str:
    """Say which script made a page, on what, and how long it took, if it was not interrupted."""
    machine = timing.machine()
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    took = "" if seconds is None else f" in {seconds / 60:.0f} minutes"
    return f"Made by `python {script}`{took} on {machine['cores']} CPU cores ({versions})."
