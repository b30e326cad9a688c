"""Exit statuses, and errors of a user: one line, and the exit status 2."""

from typing import NoReturn

import typer

from jaxopt_lab.checking import printable

STATUSES = {
    0: "Done. A comparison that leaves a pair undecided is done, too.",
    1: "`verify` found a figure beyond its bound, or `watch` a run that is not complete and that no process runs any "
    "more; or an unexpected error, with its traceback.",
    2: "A wrong option, name, spec, file or folder, or too little memory; the message says what to do.",
    130: "Interrupted (Ctrl-C). `run`, `resume`, `extend` and `compare` keep what they have.",
    143: "Terminated (SIGTERM), likewise.",
}


def fail(message: str) -> NoReturn:
    """Print an error in one line, and exit with status 2."""
    typer.echo(f"error: {printable(message)}", err=True)
    raise typer.Exit(2)
