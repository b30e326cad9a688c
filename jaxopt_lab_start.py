"""Start the program `jaxopt-lab`, or complete its words for a shell.

A shell asks the program for completions at each press of the Tab key. Importing JAX would take a second, and importing
any part of the package imports JAX, so this module is beside the package: it reads the commands from a file, and the
names of optimizers, tasks and checks from the source files that define them.
"""

import inspect
import json
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

VARIABLE = "_JAXOPT_LAB_COMPLETE"  # set by the scripts that `jaxopt-lab --show-completion` prints
COMMANDS = "cli/commands.json"  # written by `python -m jaxopt_lab.cli.commands`
DEFINITIONS = {  # where names are defined, and how
    "optimizers": ("optimizers/*.py", r"^@method\(.*?^def (\w+)\("),
    "tasks": ("tasks/*.py", r"^@task_function\ndef (\w+)\("),
    "checks": ("verify/theory/__init__.py", r'^    "(\w+)": \w+\.check,$'),
}


def main() -> None:
    """Run the program."""
    if VARIABLE in os.environ:
        complete()
    else:
        from jaxopt_lab.cli.app import main as run

        run()


def complete() -> None:
    """Answer the shell's question in the environment, and exit."""
    import typer

    # This app has the names of the program's commands and options, so Typer completes them as it would the program's.
    apps = {"": typer.Typer()}
    for path, command in json.loads((_package() / COMMANDS).read_text("utf-8")).items():
        above, _, name = path.rpartition(" ")
        function = _function(command["parameters"])
        if not command["group"]:
            apps[above].command(name, help=command["help"])(function)
            continue
        if path:
            apps[path] = typer.Typer(help=command["help"])
            apps[above].add_typer(apps[path], name=name)
        apps[path].callback()(function)
    apps[""](prog_name="jaxopt-lab")


def names(kind: str) -> list[str]:
    """Return the names of all optimizers, tasks or checks, as their source files define them."""
    where, definition = DEFINITIONS[kind]
    texts = [path.read_text("utf-8") for path in sorted(_package().glob(where))]
    return [name for text in texts for name in re.findall(definition, text, re.DOTALL | re.MULTILINE)]


def _package() -> Path:
    """Return the package's folder, without importing it."""
    found = find_spec("jaxopt_lab")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("jaxopt_lab is not installed.")
    return Path(found.origin).parent


def _function(parameters: list[dict[str, Any]]) -> Callable[..., None]:
    """Return a function with these parameters, as Typer reads them from its signature."""
    import typer

    def function(**_: Any) -> None: ...

    signature = []
    for number, parameter in enumerate(parameters):
        kind = bool if parameter["flag"] else list[str] if parameter["many"] else str
        about = {"help": parameter["help"]}
        if parameter["values"]:
            about["autocompletion"] = _matching(parameter["values"])
        options = parameter["options"]
        described = typer.Option(*options, **about) if options else typer.Argument(**about)
        annotation = Annotated[kind | None, described]
        position = inspect.Parameter.KEYWORD_ONLY
        signature.append(inspect.Parameter(f"p{number}", position, default=None, annotation=annotation))
    function.__signature__ = inspect.Signature(signature)  # pyright: ignore[reportFunctionMemberAccess]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in signature}
    return function


def _matching(values: str | list[str]) -> Callable[[str], list[str]]:
    """Return the function that completes one of these values, or one of these kind of names."""

    def matching(incomplete: str) -> list[str]:
        return [
            value for value in (names(values) if isinstance(values, str) else values) if value.startswith(incomplete)
        ]

    return matching
