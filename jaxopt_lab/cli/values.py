"""Values of a spec file as a sweep takes them; what cannot be one is refused with a sentence that says why."""

import inspect
import types
import typing
from typing import Any

from jaxopt_lab.checking import check_known
from jaxopt_lab.engine.stopping import RULES, StopRule
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.sweep import space
from jaxopt_lab.sweep.arguments import addressed
from jaxopt_lab.sweep.checks import TASK_PREFIX
from jaxopt_lab.tasks import TASKS

# What an argument with a type of Python's may be in the file; the tasks themselves check arguments of other types.
KINDS = {bool: "true or false", int: "an integer", float: "a number", type(None): '"none"'}


def stop_rule(raw: Any) -> StopRule:
    """A rule of the file: { halving = { min_steps = 50 } }."""
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


def of_a_stranger(address: str) -> Any:
    """As `addressed`, but nothing is imported."""
    if ":" in address and not address.startswith("optax:"):
        raise ArgumentValueError(
            f"{address!r} would be imported, which is never done from a folder. Run the spec itself again."
        )
    return addressed(address)


def hyperparameter(column: str, raw: Any) -> Any:
    """One hyperparameter of the file as a space takes it."""
    if not isinstance(raw, dict):
        return raw
    if f"{column}." == TASK_PREFIX:
        raise ArgumentValueError(
            f'Write an argument of the task in quotes: "{TASK_PREFIX}{next(iter(raw), "NAME")}" = ...'
        )
    if len(raw) != 1:
        raise ArgumentValueError(f"{column} must be one of log, linear and static, got {raw!r}.")
    ((kind, given),) = raw.items()
    check_known(f"kind of values for {column}:", kind, ("log", "linear", "static"))
    if not isinstance(given, list):
        raise ArgumentTypeError(f"{column}: {kind} must be a list, got {given!r}.")
    if kind == "static":
        return space.static([plain(value) for value in given])
    if len(given) not in (2, 3):
        raise ArgumentValueError(
            f"{column}: {kind} must be [low, high, count], or [low, high] to draw from, got {given!r}."
        )
    return (space.log if kind == "log" else space.linear)(*given)


def checked_argument(task: str, name: str, value: Any) -> Any:
    """The value; raises where the signature says that it is of another type: "no" would pass for true."""
    parameters = inspect.signature(TASKS[task]).parameters
    check_known(f"argument of task {task!r}:", name, parameters)
    annotation = parameters[name].annotation
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    fits = type(value) in options or (type(value) is int and float in options)
    if not fits and all(option in KINDS for option in options):
        raise ArgumentTypeError(f"{name} must be {' or '.join(KINDS[option] for option in options)}, got {value!r}.")
    return value


def plain(value: Any) -> Any:
    """A value of the file as Python has it: "none" is None, and lists are tuples, which can be hashed."""
    if isinstance(value, list):
        return tuple(plain(v) for v in value)
    if not isinstance(value, bool | int | float | str):
        raise ArgumentTypeError(f"Got {value!r}: write a number, a string, true, false, or a list of them.")
    return None if value == "none" else value
