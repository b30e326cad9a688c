"""`jaxopt-lab verify`: recompute the project's claims and print them."""

import importlib.metadata
import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from jaxopt_lab.cli import names as complete
from jaxopt_lab.cli.examples import epilog
from jaxopt_lab.cli.failing import fail
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.report.verdicts import counts_board
from jaxopt_lab.verify import findings_table
from jaxopt_lab.verify import published as publications
from jaxopt_lab.verify import theory as theories
from jaxopt_lab.verify.optimizers import conformance, table, wrappers

app = typer.Typer(no_args_is_help=True, help="Recompute the project's claims and print them.")

REMAINS = (
    "\nWhat remains of the comparison with AdamW: paired t-tests over shared seeds, corrected by Holm's method for all "
    "255 of them; beside it the same without correction. The last columns take data sets as the unit: would the "
    "difference hold on another data set of this kind?"
)


@app.callback()
def _verify() -> None:
    """Recompute the project's claims and print them."""


@app.command(epilog=epilog("verify optimizers"))
def optimizers(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Optimizers and wrappers to check; by default all.",
            autocompletion=complete.optimizers_and_wrappers,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the whole table to this file, in Markdown.")] = None,
) -> None:
    """Check every optimizer and wrapper against its witnesses; the exit status is 1 if one exceeds its bounds."""
    names = names or [*OPTIMIZERS, *wrappers.WRAPPERS]
    if unknown := sorted(set(names) - set(OPTIMIZERS) - set(wrappers.WRAPPERS)):
        fail(
            f"no optimizer {', '.join(unknown)}: `jaxopt-lab list optimizers` shows the names. The wrappers are "
            f"{', '.join(wrappers.WRAPPERS)}."
        )
    methods, around = ([name for name in names if name in known] for known in (OPTIMIZERS, wrappers.WRAPPERS))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        parts = {part: progress.add_task(part, total=1) for part in ("walks", "wrappers")}
        shown = lambda part: lambda share: progress.update(parts[part], completed=share)
        measured = conformance.measure(methods, shown("walks"))
        of_wrappers = wrappers.measure(around, shown("wrappers"))
    rows = [(conformance.describe(name), table.shown(measured[name])) for name in methods]
    wrapper_rows = [(wrappers.describe(name), table.shown_wrapper(of_wrappers[name])) for name in around]
    console, versions = Console(), _versions()
    if rows:
        console.print(table.board(rows))
    if wrapper_rows:
        console.print(table.board_of_wrappers(wrapper_rows))
    if out is not None:
        _write(out, table.markdown(rows, versions, wrapper_rows))
        typer.echo(out)
    if beyond := table.misses({**measured, **of_wrappers}):
        console.print("Outside the bounds:", *beyond, sep="\n")
        raise typer.Exit(1)


@app.command(epilog=epilog("verify theory"))
def theory(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHECK", help="Checks to compute; by default all.", autocompletion=complete.checks),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the table to this file, in Markdown.")] = None,
) -> None:
    """Compute what theory and published tables say; the exit status is 1 if a figure is beyond its bound."""
    names = names or list(theories.CHECKS)
    if unknown := sorted(set(names) - set(theories.CHECKS)):
        fail(f"no check {', '.join(unknown)}. Known: {', '.join(theories.CHECKS)}.")
    began, found = time.perf_counter(), []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        under_way = progress.add_task("checks", total=len(names))
        for name, findings, _ in theories.measured(names):
            found += [(name, finding) for finding in findings]
            progress.advance(under_way)
    findings, seconds = [finding for _, finding in found], time.perf_counter() - began
    if as_json:
        typer.echo(json.dumps([findings_table.plain(name, finding) for name, finding in found], indent=1))
    else:
        Console().print(findings_table.board(findings))
    if out is not None:
        _write(out, findings_table.markdown(findings, _versions(), seconds))
    beyond = [finding for finding in findings if not finding.passed]
    if not as_json:
        typer.echo(f"{len(findings) - len(beyond)} of {len(findings)} figures within their bounds, {seconds:.0f} s")
    if beyond:
        raise typer.Exit(1)


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        fail(f"Cannot write {out}: {error.strerror}.")


def _versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "optax"))


@app.command(epilog=epilog("verify published"))
def published(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Reproduce published comparisons, and count them again with corrections; status 1 if one is not reproduced."""
    findings = publications.reproduced()
    if as_json:
        typer.echo(json.dumps([findings_table.plain("published", finding) for finding in findings], indent=1))
    else:
        judgement, console = publications.judged(), Console()
        console.print(findings_table.board(findings))
        console.print(REMAINS, "")
        over = judgement.over_tasks().rename(columns={"better": "over_tasks"})
        both = judgement.counts().merge(over[["a", "over_tasks", "p_corrected"]], on="a")
        console.print(counts_board(both))
    if not all(finding.passed for finding in findings):
        raise typer.Exit(1)
