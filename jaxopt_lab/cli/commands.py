"""The program's commands and options as data, from which `jaxopt_lab_start` completes words without importing JAX.

If a test says that they differ: python -m jaxopt_lab.cli.commands
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from jaxopt_lab.cli.app import app
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.verify.theory import CHECKS

FILE = Path(__file__).with_name("commands.json")
NAMES = {"optimizers": list(OPTIMIZERS), "tasks": list(TASKS), "checks": list(CHECKS)}


def text() -> str:
    """Return the content of the file."""
    return json.dumps(dict(_described(typer.main.get_command(app))), indent=1) + "\n"


def _described(command: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path of a command and what is said of it, then the commands below it."""
    inner = getattr(command, "commands", {})
    own = [parameter for parameter in command.params if not parameter.name.endswith("_completion")]  # Typer's
    help_ = (command.help or "").partition("\n\n")[0].replace("\n", " ")
    yield path, {"group": bool(inner), "help": help_, "parameters": [_parameter(command, p) for p in own]}
    for name, below in inner.items():
        yield from _described(below, f"{path} {name}".strip())


def _parameter(command: Any, parameter: Any) -> dict[str, Any]:
    """Describe a parameter: its options (none for an argument), and which words complete it, or the kind of names."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    words = [item.value for item in parameter.shell_complete(context, "")]
    kind = next((kind for kind, known in NAMES.items() if words == known), None)
    argument = parameter.param_type_name == "argument"
    off = f"/{parameter.secondary_opts[0]}" if parameter.secondary_opts else ""
    return {
        "options": [] if argument else [f"{parameter.opts[0]}{off}", *parameter.opts[1:]],
        "flag": not argument and parameter.is_flag,
        "many": parameter.nargs == -1 or getattr(parameter, "multiple", False),
        "values": kind or words,
        "help": parameter.help or "",
    }


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
