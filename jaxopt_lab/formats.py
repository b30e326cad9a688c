"""Formatting of numbers as text: one form for each kind of number, in every table, message and picture."""

import math
from typing import Any

import numpy as np


def number(value: Any, digits: int = 3) -> str:
    """Format a number in `digits` significant digits and few characters; "-" where it is not finite."""
    if not _is_number(value):
        return str(value)
    if not math.isfinite(value):
        return "-"
    mantissa, _, exponent = f"{value:#.{digits}g}".rstrip(".").partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def short(value: Any, digits: int = 3) -> str:
    """Format a number in at most `digits` significant digits, without trailing zeros; other values as text."""
    return f"{value:.{digits}g}" if _is_number(value) else str(value)


def rounded(value: float) -> str:
    """Format a count in three significant digits, written out in full: 1,230,000."""
    return f"{float(f'{value:.3g}'):,.0f}"


def compact(value: float) -> str:
    """Format a count in three digits: 950, 12.3k, 1.23M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            part = float(f"{value / size:.3g}")
            return f"{part:.{2 if part < 10 else 1 if part < 100 else 0}f}{suffix}"
    return f"{value:.0f}"


def size(count: float, places: int = 1) -> str:
    """Format a number of bytes in the largest suitable unit up to GiB: 950 B, 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.{places}f} {unit}"
        count /= 1024
    raise AssertionError


def seconds(value: float) -> str:
    """Format a time in seconds, in two digits below ten."""
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def clock(value: float) -> str:
    """Format a time as minutes and seconds, with hours where there are any: 1:05, 2:00:07."""
    minutes, left = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
