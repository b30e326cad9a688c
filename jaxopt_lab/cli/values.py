"""Conversion of a spec file's values to a sweep's; invalid ones are refused with a message that says why."""

import inspect
import types
import typing
from typing import Any

from jaxopt_lab.checking import check_known
from jaxopt_lab.engine.rules import RULES
from jaxopt_lab.engine.stopping import StopRule
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.sweep.arguments import addressed
from jaxopt_lab.sweep.budget import epochs, examples
from jaxopt_lab.sweep.hyperparameter import choice, static
from jaxopt_lab.sweep.ranges import linear, log, one_minus
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.names import TASK_PREFIX

# What the file may write for an argument of each type; arguments of other types are checked by the tasks themselves.
KINDS = {bool: "true or false", int: "an integer", float: "a number", type(None): '"none"'}

BUDGETS = {"examples": examples, "epochs": epochs}
RANGES = {"log": log, "linear": linear, "one_minus": one_minus}


def stop_rule(raw: Any) -> StopRule:
    """Convert a stop rule of the file, such as { halving = { min_steps = 50 } }."""
    if not isinstance(raw, dict) or len(raw) != 1:
        raise ArgumentTypeError(f"stop must be a table with one of {', '.join(RULES)}, got {raw!r}.")
    ((kind, arguments),) = raw.items()
    check_known("rule to stop by:", kind, RULES)
    if not isinstance(arguments, dict):
        raise ArgumentTypeError(f"{kind} must be a table of its arguments, got {arguments!r}.")
    parameters = inspect.signature(RULES[kind]).parameters
    for name in arguments:
        check_known(f"argument of {kind}:", name, parameters)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ArgumentValueError(f"{kind} needs {name}: write {{ {kind} = {{ {name} = 100 }} }}, for example.")
    return RULES[kind](**arguments)


def budget(raw: Any) -> Any:
    """Convert a budget of the file: a number of steps, { examples = 50_000 } or { epochs = 10 }."""
    if not isinstance(raw, dict):
        return raw
    if len(raw) != 1 or not set(raw) <= set(BUDGETS):
        raise ArgumentTypeError(f"steps must be a number, {{ examples = 50_000 }} or {{ epochs = 10 }}, got {raw!r}.")
    ((kind, count),) = raw.items()
    return BUDGETS[kind](count)


def of_a_stranger(address: str) -> Any:
    """Resolve an optimizer as `addressed` does, but import nothing."""
    if ":" in address and not address.startswith("optax:"):
        raise ArgumentValueError(
            f"{address!r} would be imported, which a run folder may not cause. Run the spec itself again."
        )
    return addressed(address)


def hyperparameter(column: str, raw: Any) -> Any:
    """Convert one hyperparameter of the file to a space's values."""
    if not isinstance(raw, dict):
        return raw
    if f"{column}." == TASK_PREFIX:
        raise ArgumentValueError(
            f'Write an argument of the task in quotes: "{TASK_PREFIX}{next(iter(raw), "NAME")}" = ...'
        )
    options = {"integer": raw["integer"]} if "integer" in raw else {}
    if len(raw) != 1 + len(options):
        raise ArgumentValueError(f"{column} must be one of log, linear, one_minus, static and choice, got {raw!r}.")
    ((kind, given),) = ((key, value) for key, value in raw.items() if key != "integer")
    check_known(f"kind of values for {column}:", kind, (*RANGES, "static", "choice"))
    if not isinstance(given, list):
        raise ArgumentTypeError(f"{column}: {kind} must be a list, got {given!r}.")
    if options and kind not in ("log", "linear"):
        raise ArgumentValueError(f"{column}: integer is for log and linear, not for {kind}.")
    if kind == "static":
        return static([plain(value) for value in given])
    if kind == "choice":
        return choice(dict(_branch(column, branch) for branch in given))
    if len(given) not in (2, 3):
        raise ArgumentValueError(
            f"{column}: {kind} must be [low, high, count], or [low, high] to draw from, got {given!r}."
        )
    return RANGES[kind](*given, **options)


def _branch(column: str, raw: Any) -> tuple[Any, dict[str, Any]]:
    """Convert a branch of a choice: a table with its value, and hyperparameters of its own."""
    if not isinstance(raw, dict) or "value" not in raw:
        raise ArgumentTypeError(
            f"{column}: choice must be a list of tables, each with a value and its own hyperparameters, got {raw!r}."
        )
    return plain(raw["value"]), {name: hyperparameter(name, own) for name, own in raw.items() if name != "value"}


def checked_argument(task: str, name: str, value: Any) -> Any:
    """Return the value; raise where it does not have the type in the signature, since "no" would count as true."""
    parameters = inspect.signature(TASKS[task]).parameters
    check_known(f"argument of task {task!r}:", name, parameters)
    annotation = parameters[name].annotation
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    fits = type(value) in options or (type(value) is int and float in options)
    if not fits and all(option in KINDS for option in options):
        raise ArgumentTypeError(f"{name} must be {' or '.join(KINDS[option] for option in options)}, got {value!r}.")
    return value


def plain(value: Any) -> Any:
    """Convert a value of the file to Python's: "none" to None, and lists to tuples, which can be hashed."""
    if isinstance(value, list):
        return tuple(plain(v) for v in value)
    if not isinstance(value, bool | int | float | str):
        raise ArgumentTypeError(f"Got {value!r}: write a number, a string, true, false, or a list of them.")
    return None if value == "none" else value
