"""On which line of a TOML document each of its keys stands, which the standard library does not tell."""

import tomllib
from typing import Any


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key or table begins. (A line inside a long value can pass for a key, of another table.)"""
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
    """The keys from the root to the only leaf."""
    keys = []
    while isinstance(parsed, dict) and parsed:
        ((key, parsed),) = parsed.items()
        keys.append(key)
    return tuple(keys)
