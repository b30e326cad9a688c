"""`jaxopt-lab verify`: recompute the project's claims and print them."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.verify.optimizers import conformance, table

app = typer.Typer(no_args_is_help=True, help="Recompute the project's claims and print them.")


@app.callback()
def _verify() -> None:
    """Recompute the project's claims and print them."""


@app.command()
def optimizers(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Optimizers to check; by default all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the whole table to this file, in Markdown.")] = None,
) -> None:
    """Check every optimizer against its witnesses; the exit status is 1 if one exceeds its bounds."""
    names = names or list(OPTIMIZERS)
    if unknown := sorted(set(names) - set(OPTIMIZERS)):
        typer.echo(f"error: no optimizer {', '.join(unknown)}: `jaxopt-lab list optimizers` shows the names.", err=True)
        raise typer.Exit(2)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        under_way = progress.add_task("walks", total=1)
        measured = conformance.measure(names, lambda share: progress.update(under_way, completed=share))
    rows = [(conformance.describe(name), table.shown(measured[name])) for name in names]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "optax"))
    console = Console()
    console.print(table.board(rows))
    if out is not None:
        out.write_text(table.markdown(rows, versions), "utf-8")
        typer.echo(out)
    if beyond := table.misses(measured):
        console.print("Outside the bounds:", *beyond, sep="\n")
        raise typer.Exit(1)
