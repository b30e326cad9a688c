"""Checks on the host, before anything compiles: every error says what was wrong, what was given and what to do."""

import difflib
import itertools
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, Code

MOST = 2**22  # configurations, seeds or points of a curve: these are listed before memory is checked
NESTED = 32  # levels of tables and lists; none of our documents has more


def is_nested(value: Any, levels: int = NESTED) -> bool:
    """Return whether tables and lists are nested deeper than `levels`, which would exhaust recursion."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(is_nested(x, levels - 1) for x in inner if isinstance(x, dict | list))


def printable(text: str) -> str:
    """Escape all characters that a terminal would interpret instead of showing."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def quoted(value: Any, most: int = 200) -> str:
    """Format a value for an error: its `repr`, truncated; for a huge integer, its number of digits."""
    if isinstance(value, int) and value.bit_length() > 128:
        large = ", too large for a float" if value.bit_length() > 1024 else ""
        return f"an integer of about {math.ceil(value.bit_length() * math.log10(2))} digits{large}"
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[:most]}..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Make a sentence that gives the closest known name and all known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known) or 'none'}."


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError where `name` is not among `known`."""
    known = list(known)
    if not isinstance(name, str) or name not in known:
        raise ArgumentValueError(
            f"Unknown {what} {quoted(name)}. {nearest(name if isinstance(name, str) else '', known)}"
        )


def check_count(what: str, value: Any, least: int = 1, most: int = 2**31 - 1, of: Code | str = "") -> int:
    """Check that `value` is an integer from `least` to `most` (by default what a program can count to), and return it.

    Errors begin with `what`, followed by `of`, a piece of code, where there is one.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)
    except Exception:  # objects of other packages may raise anything: a traced value, an array
        raise ArgumentTypeError(what, of, f" must be an integer, got {quoted(value)}.") from None
    if count < least:
        raise ArgumentValueError(what, of, f" must be at least {least}, got {quoted(count)}.")
    if count > most:
        raise ArgumentValueError(what, of, f" must be at most {most}, got {quoted(count)}.")
    return count


def check_number(what: str, value: Any, least: float = -math.inf) -> float:
    """Return `value` as a finite float of at least `least`; raise TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ArgumentTypeError(f"{what} must be a number or left out, got {quoted(value)}.")
    try:
        number = float(value)
    except OverflowError:  # an integer may be too large for a float
        number = math.inf
    if not math.isfinite(number):
        raise ArgumentValueError(f"{what} must be finite or left out, got {quoted(value)}.")
    if number < least:
        raise ArgumentValueError(f"{what} must be >= {least:g} or left out, got {quoted(value)}.")
    return number


def check_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Return the seeds as a list: 0, 1, ... for a count. Raises TypeError or ValueError where they are invalid."""
    if not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) == 0:
        return list(range(check_count("seeds", seeds, most=MOST)))
    try:
        given = [] if isinstance(seeds, str | bytes | Mapping) else list(itertools.islice(seeds, MOST + 1))
    except Exception:  # objects of other packages may raise anything: a traced value
        given = []
    if not given and not (hasattr(seeds, "__len__") and len(seeds) == 0):  # pyright: ignore[reportArgumentType]
        raise ArgumentTypeError(f"seeds must be an integer, or a list of integers, got {quoted(seeds)}.")
    if not given:
        raise ArgumentValueError("seeds is empty: give at least one, or a count.")
    if len(given) > MOST:
        raise ArgumentValueError(f"seeds has more than {MOST:,} entries. Sweep them in parts.")
    listed = [check_count("A seed", seed, least=0) for seed in given]
    if len(set(listed)) < len(listed):
        raise ArgumentValueError(f"seeds must differ, got {quoted(listed)}.")
    return listed


def check_flag(what: str, value: Any) -> bool:
    """Check that `value` is a bool, and return it: as a condition, "no" would count as true."""
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{what} must be True or False, got {quoted(value)}.")
    return value
