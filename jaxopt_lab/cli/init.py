"""`jaxopt-lab init`: a spec file to start from, with comments that say what else it may have."""

import inspect
import json
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxopt_lab.checking import check_known, printable
from jaxopt_lab.cli import names
from jaxopt_lab.cli.failing import fail
from jaxopt_lab.cli.spec import parse
from jaxopt_lab.errors import ArgumentError
from jaxopt_lab.optimizers import OPTIMIZERS, PRIORS
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.about import ABOUT

HEAD = """\
# A sweep: every optimizer below on every task, with every configuration and seed. Lines that begin with # are comments.
#   jaxopt-lab run {file} --plan     predicts its time and memory
#   jaxopt-lab run {file}            runs it

steps = {steps} # the budget of each trial; or {{ epochs = 10 }} or {{ examples = 50_000 }}, for equally many examples
seeds = 3 # a count, or a list such as [0, 1, 7]
{confirm}confirm = {{ seeds = 20, top = 3 }} # a verdict at the end on the best three optimizers, by 20 fresh seeds

# Each optimizer tries this many configurations, drawn at random from its ranges; {{ sobol = 16 }} spreads them evenly.
# Without this line it tries all combinations of its values, and each range needs a count: {{ log = [1e-4, 1.0, 8] }}.
sample = {{ random = 16, key = 0 }}

# What ends a trial early: a rule that compares the trials of an optimizer, or a bound for each trial by itself.
# stop = {{ halving = {{ eta = 4, min_steps = {rung} }} }} # the best quarter goes on after {rung} steps, and so on
# stop = {{ hyperband = {{ eta = 3, min_steps = {rung} }} }} # the same, more and less strictly at once
# stop = {{ plateau = {{ patience = {rung} }} }} # a trial that no longer improves
# target = 0.01 # a training loss that is low enough
# tolerance = 1e-6 # an update that is small enough

# record = 10 # record the training loss every 10 steps
# evaluate = 50 # evaluate on held-out data every 50 steps
# memory = 0.5 # the share of free memory to use, or bytes
"""
SPACE = """\
# Hyperparameters of every optimizer, unless its own table below has them too. A value is one of
#   0.9, or a list such as [0.9, 0.95]
#   { log = [1e-4, 1.0] }           evenly spread in the logarithm
#   { linear = [0.0, 0.9] }         evenly spread
#   { one_minus = [0.9, 0.999] }    the distance from 1 is evenly spread in the logarithm
#   { static = [true, false] }      structure, such as a flag or a size: a program is compiled for each value
# "task.NAME", in quotes, is an argument of the task.
[space]
"""


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("sweep.toml"),
    optimizers: Annotated[
        list[str] | None,
        typer.Option("--optimizer", help="An optimizer; repeat it for several.", autocompletion=names.optimizers),
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="A task; repeat it for several.", autocompletion=names.tasks)
    ] = None,
) -> None:
    """Write a spec file to start from: tasks, optimizers with the ranges worth searching, and comments."""
    optimizers, tasks = (
        list(dict.fromkeys(optimizers or ["adam", "momentum"])),
        list(dict.fromkeys(tasks or ["digits_mlp"])),
    )
    try:
        for name in optimizers:
            check_known("optimizer", name, OPTIMIZERS)
        for name in tasks:
            check_known("task", name, TASKS)
        text = spec_text(str(file), optimizers, tasks)
        with warnings.catch_warnings(action="ignore"):  # `run` tells them
            parse(text, str(file))  # what optimizers and tasks cannot do together is told before anything is written
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        fail(f"{file} already exists. Nothing is overwritten: choose another name.")
    except ArgumentError as error:
        fail(error.message("toml"))
    except OSError as error:
        fail(f"Cannot write {file}: {error.strerror}.")
    except ValueError as error:
        fail(str(error))
    typer.echo(printable(f"Wrote {file}. Next: jaxopt-lab run {shlex.quote(str(file))} --plan"))


def spec_text(file: str, optimizers: list[str], tasks: list[str]) -> str:
    """Return a spec of these optimizers, with their priors, on these tasks, which may be edited by hand."""
    steps = max(ABOUT[TASKS[name]].steps for name in tasks)
    confirm = "" if len(optimizers) > 1 else "# "  # a verdict compares two optimizers or more
    name = printable(shlex.quote(file))
    parts = [HEAD.format(file=name, steps=steps, rung=max(steps // 10, 1), confirm=confirm)]
    parts += ["\n".join([f"[tasks.{name}]", *_arguments(name)]) + "\n" for name in tasks]
    parts.append(SPACE)
    parts += ["\n".join([f"[optimizers.{name}]", *_hyperparameters(name)]) + "\n" for name in optimizers]
    return "\n".join(parts)


def _arguments(task: str) -> Iterator[str]:
    """List the arguments of a task with their defaults, as comments."""
    for parameter in inspect.signature(TASKS[task]).parameters.values():
        if (value := _toml(parameter.default)) is not None:
            yield f"# {parameter.name} = {value}"


def _hyperparameters(optimizer: str) -> Iterator[str]:
    """List the ranges of an optimizer's prior with their sources, and its other hyperparameters as comments."""
    priors = PRIORS.get(OPTIMIZERS[optimizer], {})
    for name, prior in priors.items():
        yield f"{name} = {{ {prior.spacing} = [{prior.low!r}, {prior.high!r}] }} # {prior.source}"
    for parameter in inspect.signature(OPTIMIZERS[optimizer]).parameters.values():
        value = _toml(parameter.default)
        if parameter.name in priors or value is None:
            continue
        structural = parameter.kind is parameter.KEYWORD_ONLY or isinstance(parameter.default, bool | None)
        values = "true, false" if isinstance(parameter.default, bool) else value
        yield f"# {parameter.name} = " + (f"{{ static = [{values}] }}" if structural else value)


def _toml(value: Any) -> str | None:
    """Write a default as TOML; None where there is none, or a spec file cannot say it."""
    if value is inspect.Parameter.empty or not isinstance(value, bool | int | float | str | tuple | None):
        return None
    if isinstance(value, tuple):
        inner = [_toml(item) for item in value]
        return None if None in inner else f"[{', '.join(map(str, inner))}]"
    return json.dumps("none" if value is None else value)
