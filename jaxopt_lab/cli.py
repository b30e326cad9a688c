"""The command line: run a spec, show what a run found, list what there is."""

import contextlib
import datetime
import functools
import importlib
import importlib.metadata
import importlib.resources
import inspect
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console

import jaxopt_lab
from jaxopt_lab.board import board
from jaxopt_lab.checks import check_memory
from jaxopt_lab.optimizers import PRIORS
from jaxopt_lab.statistics.score import default_metric
from jaxopt_lab.validation import check_count
from jaxopt_lab.verify import command as verify

if TYPE_CHECKING:
    from jaxopt_lab.results import Results
    from jaxopt_lab.spec import Spec

# Importing this module took about the processor time that the process has used so far. (No clock tells when it began.)
BEGAN = time.perf_counter() - time.process_time()
NOTE = (
    "Each optimizer at its best learning rate: medians over seeds with quartiles; diverged: share of all its trials; "
    "good decades: powers of ten of learning rates around the best that, not stopped, reach 95 % of its improvement."
)

# Errors of the user's are said in a line (`_fail`); any other keeps its plain traceback.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(verify.app, name="verify")


def main() -> None:
    """The program `jaxopt-lab`."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character gets "?", not an error
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"jaxopt-lab {importlib.metadata.version('jaxopt_lab')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it, and end.")
    ] = False,
) -> None:
    """Which optimizer, with which hyperparameters, on my problem, and how sure am I?"""


@app.command()
def run(
    spec: Annotated[Path | None, typer.Argument(help="A TOML file; without one, the built-in first look.")] = None,
    out: Annotated[Path | None, typer.Option(help="A new folder; by default runs/NAME-TIME.")] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of the spec's.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many, instead of the spec's.")] = None,
    memory: Annotated[float | None, typer.Option(help="Bytes to take; below 1, a share of what is free.")] = None,
    cache: Annotated[bool, typer.Option(help="Keep compiled programs for the next run.")] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Show what it will take, and run nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Sweep every task of a spec; print leaderboards, write results, tables and pictures."""
    seconds = {"imports": time.perf_counter() - BEGAN}
    folder, interrupted, compiling = None, False, 0.0
    if out is not None and (out.exists() or out.is_symlink()):
        _fail(f"{out} exists already and nothing is overwritten: choose another --out.")
    try:
        with _timed(seconds, "imports"):
            _heavy_imports()
        with _timed(seconds, "checks and data"):
            checked = _read(spec, {"steps": steps, "seeds": seeds, "memory": memory}, cache)
        if plan:
            _show_plan(checked)
            return
        folder = _new_folder(out, checked)
        interrupted, compiling = _sweeps(checked, folder, quiet, seconds)
    except MemoryError as error:  # a single trial does not fit
        _fail(str(error))
    except KeyboardInterrupt:
        interrupted = True
    if interrupted or folder is None:
        written = sorted(str(path.parent) for path in folder.glob("*/table.csv")) if folder else []
        typer.echo(f"Interrupted. Written: {', '.join(written) or 'nothing'}.", err=True)
        raise typer.Exit(130)
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".csv", ".png", ".toml", ".zarr")):
        typer.echo(path)
    seconds["in all"] = time.perf_counter() - BEGAN
    parts = ", ".join(f"{part} {took:.1f} s" for part, took in seconds.items())
    typer.echo(f"Time: {parts}. Programs compile while others run; added up, compiling took {compiling:.1f} s.")


@app.command("list")
def list_(
    what: Annotated[Literal["optimizers", "tasks"], typer.Argument(help="Which.")],
    priors: Annotated[bool, typer.Option("--priors", help="Where each hyperparameter is worth searching.")] = False,
) -> None:
    """List optimizers with their hyperparameters, or tasks with their arguments."""
    if priors:
        _list_priors(what)
        return
    for name, function in (jaxopt_lab.OPTIMIZERS if what == "optimizers" else jaxopt_lab.TASKS).items():
        parameters = inspect.signature(function).parameters.values()
        arguments = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
        typer.echo(f"{name}({', '.join(arguments)})")
        typer.echo(f"    {(inspect.getdoc(function) or '').partition(chr(10))[0]}")


def _list_priors(what: str) -> None:
    if what != "optimizers":
        _fail("--priors is for optimizers: a task has nothing to search.")
    for name, factory in jaxopt_lab.OPTIMIZERS.items():
        typer.echo(name)
        for hyperparameter, prior in PRIORS.get(factory, {}).items():
            how = {"log": "log", "linear": "linear", "one_minus": "log in 1 - value"}[prior.spacing]
            typer.echo(f"    {hyperparameter}: {prior.low:g} to {prior.high:g}, {how} ({prior.source})")


@app.command()
def show(path: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or one results.zarr.")]) -> None:
    """Print the leaderboards of a run again."""
    stores = sorted(path.glob("*/results.zarr")) or [path]
    try:
        found = [jaxopt_lab.load(store) for store in stores]
    except (OSError, ValueError) as error:
        _fail(str(error))
    console = Console()
    for results in sorted(found, key=lambda r: r.dataset.attrs["created"]):
        console.print(board(results, console.width), "")
    console.print(NOTE, style="dim")


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], part: str):
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - began


def _heavy_imports() -> None:
    """What a run needs sooner or later, here so that its time is counted as what it is."""
    for module in ("matplotlib.figure", "pandas", "xarray", "zarr", "jaxopt_lab.spec"):
        importlib.import_module(module)


def _show_plan(spec: "Spec") -> None:
    """What each task's sweep will take."""
    for name, task in spec.tasks.items():
        typer.echo(f"{name}: {jaxopt_lab.plan(list(spec.spaces), task, spec.spaces, **spec.options)}\n")


def _read(path: Path | None, overrides: dict[str, int | float | None], cache: bool) -> "Spec":
    """The spec at the path, or the built-in one; some of its options replaced."""
    import dataclasses

    from jaxopt_lab.spec import parse

    source = importlib.resources.files("jaxopt_lab") / "specs" / "first-look.toml" if path is None else path
    try:
        check = {"memory": check_memory}
        given = {
            name: check.get(name, functools.partial(check_count, f"--{name}"))(value)
            for name, value in overrides.items()
            if value is not None
        }
        spec = parse(source.read_text("utf-8"), source.name if path is None else str(path), given)
    except UnicodeDecodeError:
        _fail(f"{path} is not a TOML file: it is not text in UTF-8.")
    except FileNotFoundError:
        _fail(f"There is no {path}.")
    except (OSError, ValueError) as error:
        _fail(str(error))
    # A copy of the spec goes with the results; it must say what was run.
    changes = "".join(f"# run with --{name} {value}\n" for name, value in given.items())
    return dataclasses.replace(spec, text=changes + spec.text, options={**spec.options, "cache": cache})


def _new_folder(out: Path | None, spec: "Spec") -> Path:
    folder = Path("runs") / f"{spec.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}" if out is None else out
    try:
        folder.mkdir(parents=True)
        (folder / "spec.toml").write_text(spec.text, "utf-8")
    except OSError as error:
        _fail(f"Cannot make the folder {folder}: {error.strerror}.")
    return folder


def _sweeps(spec: "Spec", folder: Path, quiet: bool, seconds: dict[str, float]) -> tuple[bool, float]:
    """Sweep task by task, writing and printing each as it ends; was it interrupted, and how long did it compile?"""
    import pandas as pd

    from jaxopt_lab.progress import shown

    console, boards, compiling, interrupted = Console(), [], 0.0, False
    for name, task in spec.tasks.items():
        with _timed(seconds, "compiling and running"), shown(name) if not quiet else contextlib.nullcontext() as report:
            results = jaxopt_lab.sweep(list(spec.spaces), task, spec.spaces, **spec.options, progress=report or False)
        compiling += results.dataset.attrs["compile_seconds"]
        interrupted = bool(results.dataset.attrs["interrupted"])
        with _timed(seconds, "pictures and writing"), _interrupts_later():
            rows = results.leaderboard()
            rows.insert(0, "task", name)
            boards.append(rows)
            console.print(board(results, console.width), "")
            _write(results, folder / name)
            pd.concat(boards).to_csv(folder / "leaderboard.csv", index=False)
        if interrupted:
            break
    console.print(NOTE, style="dim")
    return interrupted, compiling


def _write(results: "Results", folder: Path) -> None:
    """Everything about one task: the results first, since the rest can be made from them again."""
    folder.mkdir()
    results.save(folder / "results.zarr")
    results.table().to_csv(folder / "table.csv", index=False)
    figures = {
        "sensitivity": results.plot.sensitivity(),
        "curves": results.plot.curves(default_metric(results.dataset)),
    }
    with contextlib.suppress(ValueError):  # no regression, or its parameters were not kept: nothing to draw
        figures["fit"] = results.plot.fit()
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)


@contextlib.contextmanager
def _interrupts_later():
    """Ctrl-C waits until the block has ended, so that nothing is left half written."""
    waiting = []
    before = signal.signal(signal.SIGINT, lambda *_: waiting.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt


if __name__ == "__main__":
    main()
