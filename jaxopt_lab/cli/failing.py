"""Errors of a user: one line, and the exit status 2."""

from typing import NoReturn

import typer

from jaxopt_lab.checking import printable


def fail(message: str) -> NoReturn:
    """Print an error in one line, and exit with status 2."""
    typer.echo(f"error: {printable(message)}", err=True)
    raise typer.Exit(2)
