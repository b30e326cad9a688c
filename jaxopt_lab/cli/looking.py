"""The commands that show what there is: the leaderboards and the page of a run, optimizers and tasks."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

import jaxopt_lab
from jaxopt_lab.checking import printable
from jaxopt_lab.cli.data import print_json, records
from jaxopt_lab.cli.failing import fail
from jaxopt_lab.cli.runs import folder_of, tasks_of
from jaxopt_lab.cli.sweeps import NOTE
from jaxopt_lab.errors import RunError
from jaxopt_lab.report import listing
from jaxopt_lab.report.board import board


def show(
    path: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a results.zarr.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the leaderboards' rows as JSON.")] = False,
) -> None:
    """Print the leaderboards of a run, or the latest partial ones of a run that is not complete."""
    try:
        folder = folder_of(path)
        found = [jaxopt_lab.load(folder.url(task)) for task in tasks_of(folder) or [""]]
    except (OSError, ValueError, RunError) as error:
        fail(str(error))
    found.sort(key=lambda results: results.dataset.attrs["created"])
    if as_json:
        rows = [{"task": r.dataset.attrs["task"], **row} for r in found for row in records(r.leaderboard())]
        print_json(rows)
        return
    console = Console()
    for results in found:
        console.print(board(results, console.width), "")
    console.print(NOTE, style="dim")


def report(
    path: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a results.zarr.")],
    out: Annotated[Path, typer.Option(help="The page to write; one for each task where there are several.")] = Path(
        "page.html"
    ),
) -> None:
    """Write the page of a run: one HTML file with linked charts, which needs no network."""
    try:
        folder = folder_of(path)
        tasks = tasks_of(folder) or [""]
        for task in tasks:
            place = out.with_stem(f"{out.stem}-{task}") if len(tasks) > 1 else out
            typer.echo(printable(str(jaxopt_lab.load(folder.url(task)).report(place))))
    except (OSError, ValueError, RunError) as error:
        fail(str(error))


def list_(
    what: Annotated[Literal["optimizers", "tasks"], typer.Argument(help="What to list.")],
    priors: Annotated[bool, typer.Option("--priors", help="Show the range worth searching for each one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known of each as JSON.")] = False,
) -> None:
    """List optimizers with their hyperparameters, or tasks with their arguments."""
    if priors and what != "optimizers":
        fail("--priors is for optimizers: a task has no ranges to search.")
    if as_json:
        print_json(list(listing.optimizers_data() if what == "optimizers" else listing.tasks_data()))
        return
    for line in listing.priors() if priors else listing.optimizers() if what == "optimizers" else listing.tasks():
        typer.echo(line)
