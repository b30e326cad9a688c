"""Reading a TOML document, and the line of each of its keys, which the standard library does not report."""

import re
import tomllib
from typing import Any

from jaxopt_lab.checking import NESTED, is_nested

MOST_CHARACTERS = 2**20
_PART = r"""(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
DOTTED = re.compile(rf"{_PART}(?:\.[ \t]*+{_PART}){{{NESTED}}}")  # a key nested too deeply


def loaded(text: str) -> dict[str, Any]:
    """Parse the document; ValueError where it is not TOML, or too large or too deeply nested."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"It is longer than {MOST_CHARACTERS:,} characters.")
    try:
        if not DOTTED.search(text) and not is_nested(document := tomllib.loads(text)):
            repr(document)  # fails for an integer that is too long for Python to print, in errors for example
            return document
    except RecursionError:
        pass
    raise ValueError("Its tables or lists are nested too deeply.")


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each key or table. (A line inside a multi-line value may be mistaken for a key.)"""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        header = line.lstrip().startswith("[")
        try:
            path = _path(tomllib.loads(line if header else f"{line.partition('=')[0]} = 0"))
        except tomllib.TOMLDecodeError:  # empty, a comment, or the inside of a long value
            continue
        table = path if header else table
        path = path if header else (*table, *path)
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], number)
    return lines


def _path(parsed: Any) -> tuple[str, ...]:
    """Return the keys from the root to the only leaf."""
    keys = []
    while isinstance(parsed, dict) and parsed:
        ((key, parsed),) = parsed.items()
        keys.append(key)
    return tuple(keys)
