"""Checks on the host, before anything compiles: every error says what was wrong, what was got and what to do."""

import difflib
import operator
from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known name and all known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError where `name` is not among `known`."""
    known = list(known)
    if name not in known:
        raise ValueError(f"Unknown {what} {name!r}. {nearest(str(name), known)}")


def check_count(what: str, value: Any, least: int = 1) -> int:
    """`value` as an int of at least `least`; TypeError or ValueError otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an integer, got {value!r}.") from None
    if count < least:
        raise ValueError(f"{what} must be at least {least}, got {count}.")
    return count
