"""Tables of options: a dataclass whose fields define their check and their meaning."""

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from jaxopt_lab.checking import check_count, check_flag, check_known, check_number, nearest
from jaxopt_lab.errors import ArgumentTypeError
from jaxopt_lab.sweep.checks import check_untraced

P = ParamSpec("P")
Q = TypeVar("Q")
R = TypeVar("R")


class Option(NamedTuple):
    """An option of a sweep.

    Attributes:
        name: Its name in every front end.
        check: Raises an `ArgumentError` for an invalid value; returns the value in the form that the sweep uses.
        default: The value where it is omitted.
        meaning: What it does, in sentences.
        in_spec: Whether a spec file may have it.

    """

    name: str
    check: Callable[[Any], Any]
    default: Any
    meaning: str
    in_spec: bool


def option(check: Callable[[str, Any], Any], meaning: str, in_spec: bool = False) -> dict[str, Any]:
    """Make the metadata of a field; `check` gets the field's name and the value."""
    return {"check": check, "meaning": " ".join(meaning.split()), "in_spec": in_spec}


@functools.cache
def options(request: type) -> dict[str, Option]:
    """Return the options of a request class, by name."""
    table = {}
    for field in dataclasses.fields(request):
        check = functools.partial(field.metadata["check"], field.name)
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        table[field.name] = Option(field.name, check, default, field.metadata["meaning"], field.metadata["in_spec"])
    return table


def asked(called: str, request: Callable[P, Q]) -> Callable[[Callable[[Q], R]], Callable[P, R]]:
    """Make a decorator that lets a function of a request be called with the request's own arguments.

    Args:
        called: The function's public name, for errors.
        request: The class of the request.

    Returns:
        A decorator. In the function's docstring, "{arguments}" becomes the meanings of the options.

    """
    table, signature = options(cast(type, request)), inspect.signature(request)

    def decorate(function: Callable[[Q], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            check_untraced(called)
            if unknown := [name for name in kwargs if name not in table]:
                raise ArgumentTypeError(f"{called} has no argument {unknown[0]!r}.", advice=nearest(unknown[0], table))
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise ArgumentTypeError(f"{called}: {error}.") from None
            return function(request(*args, **kwargs))

        returned = inspect.signature(function).return_annotation
        cast(Any, call).__signature__ = signature.replace(return_annotation=returned)
        lines = [
            textwrap.fill(f"{option.name}: {option.meaning}", 120, initial_indent=8 * " ", subsequent_indent=12 * " ")
            for option in table.values()
        ]
        call.__doc__ = (function.__doc__ or "").replace("        {arguments}", "\n".join(lines))
        return call

    return decorate


def count(least: int = 1) -> Callable[[str, Any], int]:
    """Check a whole number, at least `least`."""
    return lambda name, value: check_count(name, value, least)


def number(least: float | None = None) -> Callable[[str, Any], float]:
    """Check a number, at least `least`."""
    return lambda name, value: check_number(name, value) if least is None else check_number(name, value, least)


def or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Check what is not None."""
    return lambda name, value: None if value is None else check(name, value)


def one_of(*known: str) -> Callable[[str, Any], str]:
    """Check that it is one of these texts."""
    return lambda name, value: check_known(name, value, known) or value


def progress_or_flag(name: str, value: Any) -> Any:
    """Check a function to call with the progress, or a flag."""
    return value if callable(value) else check_flag(name, value)
