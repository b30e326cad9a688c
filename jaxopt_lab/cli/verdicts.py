"""`jaxopt-lab compare` and `jaxopt-lab judge`: which optimizer is better, and how sure that is."""

import contextlib
import signal
import warnings
from typing import Annotated

import typer
from rich.console import Console

import jaxopt_lab
from jaxopt_lab.checking import printable
from jaxopt_lab.cli import names
from jaxopt_lab.cli.data import print_json, records
from jaxopt_lab.cli.failing import fail
from jaxopt_lab.compare.words import sentences, warnings_of
from jaxopt_lab.errors import ClusterError, RunError
from jaxopt_lab.report.page.verdict import text_of
from jaxopt_lab.report.progress import shown
from jaxopt_lab.report.verdicts import METHODS, compared_board, counts_board, rows_board, sentence
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.sweep.durable import terminable


def compare(
    optimizers: Annotated[
        list[str],
        typer.Argument(
            metavar="OPTIMIZER",
            help='Two or more: names, "optax:NAME" or "module:function".',
            autocompletion=names.optimizers,
        ),
    ],
    tasks: Annotated[
        list[str], typer.Option("--task", help="A built-in task; repeat it for several.", autocompletion=names.tasks)
    ],
    budget: Annotated[int, typer.Option(help="Random configurations of each optimizer on each task.")] = 64,
    seeds: Annotated[int, typer.Option(help="Fresh seeds for the selected configurations.")] = 20,
    tuning_seeds: Annotated[int, typer.Option(help="Seeds that configurations are selected by.")] = 3,
    steps: Annotated[int | None, typer.Option(help="Steps of a trial; by default each task's own.")] = None,
    metric: Annotated[str | None, typer.Option(help="What to select by; by default the task's main metric.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Compare with this optimizer; by default all pairs.", autocompletion=names.optimizers),
    ] = None,
    widen: Annotated[bool, typer.Option(help="Draw again from a wider prior where the best lies on its edge.")] = True,
    key: Annotated[int, typer.Option(help="The random key of the draws.")] = 0,
    out: Annotated[str | None, typer.Option(help="A new folder, or that of the same comparison, to resume it.")] = None,
    memory: Annotated[float | None, typer.Option(help="Memory budget: bytes, or a share of free memory.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Run on a Ray cluster: auto, or its address.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table and the words as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Tune optimizers with equal budgets, run the best with fresh seeds, and say which one is better, and how sure."""
    console = Console()
    with terminable() as terminated:
        try:
            report = contextlib.nullcontext() if quiet or as_json else shown("comparing")
            with warnings.catch_warnings(), report as progress:
                warnings.simplefilter("ignore", UserWarning)  # the verdict tells them
                verdict = jaxopt_lab.compare(
                    optimizers,
                    tasks,
                    budget,
                    seeds,
                    tuning_seeds=tuning_seeds,
                    steps=steps,
                    metric=metric,
                    widen=widen,
                    reference=reference,
                    key=key,
                    out=out,
                    memory=int(memory) if memory is not None and memory >= 1 else memory,
                    cluster=cluster,
                    progress=progress or False,
                )
        except (ValueError, TypeError, MemoryError, RunError, ClusterError, ImportError) as error:
            fail(str(error))
        except KeyboardInterrupt:
            again = "the same command with --out resumes" if out is None else "the same command resumes it"
            typer.echo(f"Interrupted: {again}.", err=True)
            raise typer.Exit(128 + signal.SIGTERM if terminated else 130) from None
    if as_json:
        words = {"words": sentences(verdict), "warnings": warnings_of(verdict), "methods": verdict.methods()}
        print_json({"table": records(verdict.table()), **words})
        return
    console.print(compared_board(verdict.table()))
    typer.echo(printable(str(verdict)))
    if out is not None:
        folder = Folder(out)
        folder.write("verdict.html", text_of(verdict).encode("utf-8", "replace"))
        typer.echo(printable(folder.url("verdict.html")))


def judge(
    runs: Annotated[str, typer.Argument(metavar="FILE", help="CSV with columns optimizer, task, seed, score.")],
    higher: Annotated[
        bool | None, typer.Option("--higher-is-better/--lower-is-better", help="Which scores are better.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Compare with this optimizer; by default all pairs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table and the words as JSON.")] = False,
) -> None:
    """Say which of several optimizers is better, from a table of runs made anywhere, and how sure that is."""
    import pandas as pd

    if higher is None:
        fail("Say which scores are better: --higher-is-better or --lower-is-better.")
    try:
        judgement = jaxopt_lab.judge(pd.read_csv(runs), higher_is_better=higher, reference=reference)
    except (OSError, ValueError, TypeError) as error:
        fail(f"{runs}: {error}")
    if as_json:
        rows = records(judgement.table())
        print_json({"table": rows, "words": [sentence(row) for row in rows], "methods": METHODS.format(n=len(rows))})
        return
    console = Console()
    console.print(rows_board(judgement.table()))
    if len(set(judgement.rows["task"])) > 1:
        over = judgement.over_tasks().rename(columns={"better": "over_tasks"})
        both = judgement.counts().merge(over[["a", "b", "over_tasks", "p_corrected"]], on=["a", "b"])
        console.print(counts_board(both))
    console.print(METHODS.format(n=len(judgement.rows)), style="dim")
