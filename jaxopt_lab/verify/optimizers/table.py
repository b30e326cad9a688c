"""The conformance table: whole, in Markdown, and short, for a terminal."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from jaxopt_lab.formats import short
from jaxopt_lab.verify.optimizers import wrappers
from jaxopt_lab.verify.optimizers.cases import METHODS
from jaxopt_lab.verify.optimizers.conformance import PYTORCH, Description, Figures
from jaxopt_lab.verify.optimizers.defects import DEFECTS

FIGURES = "| method | paper | witnesses | float64 | float32 | records | state |"
CHOICES = "| method | where sources differ, and the choice | traced | not traced |"
WRAPPERS = "| wrapper | paper | witnesses | records | state | where sources differ, and the choice | traced |"
OF_WRAPPERS = """
## Wrappers

Each is put around methods of the table above. *records*: as there, and empty where no run is recorded. *state*: bytes
per parameter beyond those of the method.
"""
HEAD = """\
# Conformance of the optimizers

Made by `jaxopt-lab verify optimizers --out TABLE.md`; computed with {versions}.

Each method takes 200 steps beside its Optax twin, from the same point at every step, on three problems at once
(an ill-conditioned quadratic, a two-layer network, leaves of every rank; float32: the network), once with its
hyperparameters as Python numbers and once with all of them traced and under `vmap`. *float64* and *float32*: the
largest difference of an element of the step, relative to the largest element of that leaf's step; empty where Optax has
no such method, which is then run beside itself, untraced. *records*: the largest difference from the recorded runs of
PyTorch and of the authors' own code (30 steps, float64), relative to the distance from the start. Figures are rounded
up to a power of ten. *state*: bytes per parameter of a 1,024 x 1,024 float32 matrix. Unless stated below, the bounds
are 1e-12 (float64) and 2e-6 (float32) for a step, 1e-12 and 1e-5 for the distance after 200 free steps, and 1e-10 for a
record.
"""


class Shown(NamedTuple):
    """Figures as the table prints them."""

    step64: str
    step32: str
    recorded: str
    missed: bool


def shown(figures: Figures) -> Shown:
    step64, step32, recorded = map(power_of_ten, figures[:3])
    return Shown(step64, step32, recorded, bool(figures.misses))


def power_of_ten(figure: float | None) -> str:
    """The figure rounded up, since its digits vary from machine to machine; empty where nothing was measured."""
    if figure is None:
        return ""
    if figure == 0 or not math.isfinite(figure):
        return f"{figure:g}"
    return f"1e{math.ceil(math.log10(figure) - 1e-9):d}"


class ShownWrapper(NamedTuple):
    """The figure of a wrapper, as the table prints it."""

    recorded: str
    missed: bool


def shown_wrapper(figures: wrappers.Figures) -> ShownWrapper:
    return ShownWrapper(power_of_ten(figures.recorded), bool(figures.misses))


def markdown(
    rows: Iterable[tuple[Description, Shown]],
    versions: str,
    around: Sequence[tuple[wrappers.Description, ShownWrapper]] = (),
) -> str:
    """Return the whole table; `around`: of wrappers, which have a section of their own."""
    rows = list(rows)
    lines = [HEAD.format(versions=versions), FIGURES, "|---|---|---|---|---|---|---|"]
    for said, seen in rows:
        cells = [_named(said, seen), said.paper, "; ".join(said.witnesses), *seen[:3], per_parameter(said.state_bytes)]
        lines.append(_row(cells))
    lines += ["\n## Conventions\n", CHOICES, "|---|---|---|---|"]
    for said, _ in rows:
        wrong = f"**{said.defect}** Ours follows the paper and the authors." if said.defect else ""
        not_traced = "; ".join(f"{argument}: {why}" for argument, why in said.not_traced.items())
        choice = " ".join(part for part in (wrong, said.conventions) if part) or "They agree."
        lines.append(_row([said.name, choice, ", ".join(said.traced), not_traced]))
    lines += [OF_WRAPPERS, WRAPPERS, "|---|---|---|---|---|---|---|"] if around else []
    for said, seen in around:
        cells = [_named(said, seen), said.paper, "; ".join(said.witnesses), seen.recorded]
        lines.append(_row([*cells, per_parameter(said.state_bytes), said.conventions, ", ".join(said.traced)]))
    lines += ["\n## Wider bounds\n"]
    lines += [f"- {said.name}: {'; '.join(said.wide_bounds)}." for said, _ in [*rows, *around] if said.wide_bounds]
    return "\n".join(lines) + "\n"


def read(text: str) -> tuple[dict[str, Shown], str]:
    """Return the figures and the versions in a table: what may differ between machines."""
    versions = re.search(r"computed with (.*)\.\n", text)
    figures = {name: Shown(cells[3], cells[4], cells[5], missed) for name, missed, cells in _cells(text, FIGURES)}
    return figures, versions[1] if versions else ""


def read_wrappers(text: str) -> dict[str, ShownWrapper]:
    """Return the figures of the wrappers in a table."""
    return {name: ShownWrapper(cells[3], missed) for name, missed, cells in _cells(text, WRAPPERS)}


def _cells(text: str, head: str) -> Iterable[tuple[str, bool, list[str]]]:
    """Return of each row of the table below `head` its name, whether it is marked, and all cells."""
    lines = text[text.index(head) :].split("\n\n")[0].splitlines()[2:] if head in text else []
    for cells in (re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines):
        yield cells[0].strip("*").split(":")[0], cells[0].startswith("*"), cells


def _named(said: Any, seen: Any) -> str:
    return f"**{said.name}: beyond its bounds**" if seen.missed else said.name


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def board(rows: Iterable[tuple[Description, Shown]]) -> Table:
    """Return the short table: one line for each method, within 100 columns."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="Largest differences, rounded up. State: bytes per parameter. Optax*: with one error corrected.",
        caption_justify="left",
    )
    table.add_column("method", no_wrap=True)
    table.add_column("witnesses", no_wrap=True)
    for column in ("float64", "float32", "records", "state"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for said, seen in rows:
        style = "bold red" if seen.missed else ""
        name = f"{said.name} !" if seen.missed else said.name
        table.add_row(name, ", ".join(_short(said)), *seen[:3], per_parameter(said.state_bytes), style=style)
    return table


def board_of_wrappers(rows: Iterable[tuple[wrappers.Description, ShownWrapper]]) -> Table:
    """Return the short table of wrappers, likewise."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="State: bytes per parameter beyond the method's own. derived: from the paper, as no run is recorded.",
        caption_justify="left",
    )
    for column in ("wrapper", "witnesses"):
        table.add_column(column, no_wrap=True)
    for column in ("records", "state"):
        table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
    for said, seen in rows:
        name, style = (f"{said.name} !", "bold red") if seen.missed else (said.name, "")
        pytorchs = all(witness.startswith(PYTORCH) for witness in said.witnesses)
        whose = ("PyTorch" if pytorchs else "authors") if seen.recorded else "derived"
        table.add_row(name, whose, seen.recorded, per_parameter(said.state_bytes), style=style)
    return table


def per_parameter(count: float) -> str:
    """Format bytes with three digits; a state that does not grow with the parameters counts as 0."""
    return "0" if count < 1e-4 else short(count)


def _short(said: Description) -> Iterable[str]:
    if METHODS[said.name].twin:
        yield "Optax*" if said.name in DEFECTS and METHODS[said.name].mended else "Optax"
    if any(witness.startswith(PYTORCH) for witness in said.witnesses):
        yield "PyTorch"
    if any(not witness.startswith((PYTORCH, "optax", "parts of optax")) for witness in said.witnesses):
        yield "authors"


def misses(measured: Mapping[str, Figures | wrappers.Figures]) -> list[str]:
    """Name every figure that exceeds its bound."""
    return [f"{name}: {', '.join(figures.misses)}" for name, figures in measured.items() if figures.misses]
