"""The command line: the program, and the commands that run sweeps."""

import dataclasses
import datetime
import functools
import importlib
import importlib.metadata
import importlib.resources
import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import jaxopt_lab
from jaxopt_lab.checking import printable
from jaxopt_lab.cli.data import print_json
from jaxopt_lab.cli.examples import epilog
from jaxopt_lab.cli.failing import fail
from jaxopt_lab.cli.init import init
from jaxopt_lab.cli.looking import list_, report, show
from jaxopt_lab.cli.runs import RUN, folder_of, stored, taken, tasks_of
from jaxopt_lab.cli.spec import OPTIONS, Spec, parse
from jaxopt_lab.cli.sweeps import extended, sweeps, swept, timed
from jaxopt_lab.cli.verdicts import compare, judge
from jaxopt_lab.cli.verify import app as verify_app
from jaxopt_lab.cli.watch import watch
from jaxopt_lab.errors import ArgumentError, ClusterError, RunError
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.sweep.durable import terminable

AllowDifferentVersion = Annotated[
    bool, typer.Option("--allow-different-version", help="Resume a run that other versions or another device started.")
]
OnCluster = Annotated[str | None, typer.Option(help="Run on a Ray cluster: auto, or its address (host:port).")]
# No clock tells when the process began; importing this module took about the CPU time that it has used so far.
BEGAN = time.perf_counter() - time.process_time()

# A user's mistake is reported in one line (`fail`); any other error keeps its plain traceback.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, epilog=epilog(""))
app.command(epilog=epilog("init"))(init)


def main() -> None:
    """Run the program `jaxopt-lab`."""
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Which optimizer, with which hyperparameters, on my problem, and how sure am I?"""


@app.command(epilog=epilog("run"))
def run(
    spec: Annotated[Path | None, typer.Argument(help="A TOML file; without one, the built-in first look.")] = None,
    out: Annotated[
        str | None,
        typer.Option(help="A new run folder, or one of the same spec, to resume it. By default runs/NAME-TIME."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help=f"{OPTIONS['steps'].meaning} Instead of the spec's.")] = None,
    seeds: Annotated[int | None, typer.Option(help="The number of seeds. Instead of the spec's.")] = None,
    memory: Annotated[float | None, typer.Option(help="Memory budget: bytes, or a share of free memory.")] = None,
    cache: Annotated[bool, typer.Option(help="Keep compiled programs for the next run.")] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Predict programs, memory and time; run nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    allow_different_version: AllowDifferentVersion = False,
    cluster: OnCluster = None,
    browse: Annotated[bool, typer.Option("--open", help="Open the page of the last task in a browser.")] = False,
) -> None:
    """Sweep every task of a spec; print leaderboards, write results, tables, pictures and pages."""
    if as_json and not plan:
        fail("--json is for --plan. `jaxopt-lab show RUN --json` prints the results of a run.")
    if out is not None and not plan:
        _refuse_strange(out)
    given = {"steps": steps, "seeds": seeds, "memory": memory}
    options = {"cache": cache, "allow_different_version": allow_different_version, "cluster": cluster}
    show_plan = (_print_plan if as_json else _show_plan) if plan else None
    page = _run(lambda: _read(spec, given), out, options, show_plan, quiet)
    if browse and page is not None:
        _open(page)


@app.command(epilog=epilog("resume"))
def resume(
    out: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    cache: Annotated[bool, typer.Option(help="Keep compiled programs for the next run.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    allow_different_version: AllowDifferentVersion = False,
    cluster: OnCluster = None,
) -> None:
    """Resume a run that was interrupted or killed, from its last save."""
    options = {"cache": cache, "allow_different_version": allow_different_version, "cluster": cluster}
    _run(lambda: _read_stored(out), out, options, None, quiet)


@app.command(epilog=epilog("extend"))
def extend(
    out: Annotated[str, typer.Argument(metavar="RUN", help="A run folder of a complete run.")],
    steps: Annotated[int | None, typer.Option(help="The steps that each trial is to have in the end.")] = None,
    examples: Annotated[int | None, typer.Option(help="The same in training examples, where the spec says so.")] = None,
    epochs: Annotated[float | None, typer.Option(help="The same in epochs.")] = None,
    seeds: Annotated[int | None, typer.Option(help="The number of seeds that there are to be in the end.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Add seeds or steps to a complete run, in place; only what is new is run. `resume` goes on where it broke off."""
    given = {"steps": steps, "examples": examples, "epochs": epochs, "seeds": seeds}
    more = {name: value for name, value in given.items() if value is not None}
    if not more or len(more.keys() - {"seeds"}) > 1:
        fail("Give --seeds, or one of --steps, --examples and --epochs, or both.")
    _run(lambda: _read_stored(out), out, {"cache": True}, None, quiet, more)


for _command in (watch, show, report, compare, judge):
    app.command(epilog=epilog(_command.__name__))(_command)
app.command("list", epilog=epilog("list"))(list_)
app.add_typer(verify_app, name="verify", epilog=epilog("verify"))


def _run(
    read: Callable[[], Spec],
    out: str | None,
    options: dict[str, Any],
    show_plan: Callable[[Spec, bool], None] | None,
    quiet: bool,
    more: Mapping[str, float] | None = None,
) -> str | None:
    """Sweep a spec in a run folder, or predict that; with `more`, extend a complete run. Return the last page."""
    seconds = {"imports": time.perf_counter() - BEGAN}
    folder, page, interrupted, compiling = None, None, False, 0.0
    with terminable() as terminated:
        try:
            with timed(seconds, "imports"):
                _heavy_imports()
            with timed(seconds, "checks and data"):
                spec = read()
            if show_plan is not None:
                show_plan(spec, options["cache"])
                return None
            folder = folder_of(out or Path("runs") / f"{spec.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
            with taken(folder, spec, more or {}) as more:
                one = functools.partial(extended, more) if more else functools.partial(swept, options)
                interrupted, compiling = sweeps(spec, one, folder, options, quiet, seconds)
                page = folder.url(f"{[*spec.tasks][-1]}/page.html")
        except ArgumentError as error:  # what was read is checked already, but not what it is to be extended by
            fail(error.message("toml"))
        except (MemoryError, RunError, ClusterError, ImportError) as error:  # memory, folder or cluster unavailable
            fail(str(error))
        except KeyboardInterrupt:
            interrupted = True
        if interrupted or folder is None:
            _say_interrupted(folder)
            raise typer.Exit(128 + signal.SIGTERM if terminated else 130)
    for name in sorted(
        n for n in folder.files("") if n.endswith((".csv", ".html", ".png", ".toml", ".txt", ".parquet"))
    ):
        typer.echo(printable(folder.url(name)))
    seconds["total"] = time.perf_counter() - BEGAN
    parts = ", ".join(f"{part} {took:.1f} s" for part, took in seconds.items())
    typer.echo(f"Time: {parts}. Programs compile while others run; compiling took {compiling:.1f} s in total.")
    return page


def _open(page: str) -> None:
    """Open a page in a browser."""
    import webbrowser

    if not webbrowser.open(page if "://" in page else Path(page).resolve().as_uri()):
        typer.echo(f"No browser could be opened. The page is {page}.", err=True)


def _say_interrupted(folder: Folder | None) -> None:
    written = [folder.url(task) for task in tasks_of(folder)] if folder else []
    typer.echo(printable(f"Interrupted. Written: {', '.join(written) or 'nothing'}."), err=True)
    if folder is not None and folder.exists():
        typer.echo(f"Resume with: jaxopt-lab resume {shlex.quote(folder.url())}", err=True)


def _heavy_imports() -> None:
    """Import what a run needs later, so that its time is counted as imports."""
    for module in ("matplotlib.figure", "pandas", "xarray", "zarr"):
        importlib.import_module(module)


def _show_plan(spec: Spec, cache: bool) -> None:
    """Print the forecast for each task's sweep; for a search, that of its first round."""
    for name, forecast in _forecasts(spec, cache):
        part = (
            "" if spec.search is None else f", one round of {math.ceil(spec.search['budget'] / spec.search['batch'])}"
        )
        typer.echo(f"{name}{part}: {forecast}\n")


def _print_plan(spec: Spec, cache: bool) -> None:
    """Print the forecasts as JSON."""
    print_json([{"task": name, **dataclasses.asdict(forecast)} for name, forecast in _forecasts(spec, cache)])


def _forecasts(spec: Spec, cache: bool) -> Iterator[tuple[str, jaxopt_lab.Forecast]]:
    for name, task in spec.tasks.items():
        yield name, jaxopt_lab.plan(list(spec.tables), task, spec.tables, **spec.options, cache=cache)


def _refuse_strange(out: str) -> None:
    """Refuse a folder that is not a run folder, before anything is read or made."""
    try:
        folder = folder_of(out)
        link = folder.local is not None and folder.local.is_symlink()
        if link or (folder.exists() and stored(folder) is None):
            fail(f"{out} already exists and is not a run folder. Nothing is overwritten: choose another --out.")
    except RunError as error:
        fail(str(error))


def _read(path: Path | None, overrides: dict[str, int | float | None]) -> Spec:
    """Read the spec at the path, or the built-in one, with some of its options replaced."""
    source = importlib.resources.files("jaxopt_lab.cli") / "specs" / "first-look.toml" if path is None else path
    try:
        given = {name: value for name, value in overrides.items() if value is not None}
        for name, value in given.items():
            _check(name, value)
        if "memory" in given and given["memory"] >= 1:
            given["memory"] = int(given["memory"])  # the command line's reader makes a float of every number
        return parse(source.read_text("utf-8"), source.name if path is None else str(path), given)
    except UnicodeDecodeError:
        fail(f"{path} is not a TOML file: it is not text in UTF-8.")
    except FileNotFoundError:
        fail(f"There is no {path}.")
    except (OSError, ValueError) as error:
        fail(str(error))


def _check(name: str, value: Any) -> None:
    """Exit with an error where an option of the command line cannot have this value."""
    try:
        OPTIONS[name].check(value)
    except ArgumentError as error:
        fail(f"--{error.message()}")


def _read_stored(out: str) -> Spec:
    """Read the spec of a run folder, which may not import anything."""
    found = stored(folder_of(out))
    if found is None:
        fail(f"{out} is not the folder of a run that `jaxopt-lab run` started: it has no {RUN}.")
    try:
        return parse(found.text, found.source, found.given, imports=False)
    except ValueError as error:
        fail(str(error))
