"""Ranges of numbers: grids, and intervals to draw from, among them an optimizer's own prior."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_lab.checking import MOST, check_count, check_flag, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, Code
from jaxopt_lab.optimizers import OPTIMIZERS, PRIORS
from jaxopt_lab.sweep.values import DRAWN, as_float, as_range, is_number
from jaxopt_lab.types import OptimizerFactory, Prior


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers, spaced evenly or geometrically; `count` points of it make a grid."""

    low: float
    high: float
    count: int | None
    spacing: str  # "log", "linear" or "one_minus"
    integer: bool = False  # whether the numbers are whole

    def points(self) -> list[float]:
        """Return the grid, both ends included."""
        if self.count is None:
            raise ArgumentValueError(
                self.code,
                " has no count, so it is not a grid.",
                advice=("Give ", self.spacing, " a third argument, or draw from it with ", DRAWN, "."),
            )
        if self.spacing == "one_minus":
            return [self.low, *(1 - np.geomspace(1 - self.low, 1 - self.high, self.count))[1:-1].tolist(), self.high]
        space = np.geomspace if self.spacing == "log" else np.linspace
        points = space(self.low, self.high, self.count)
        return (np.unique(np.rint(points)) if self.integer else points).tolist()

    def at(self, unit: np.ndarray) -> list[float]:
        """Return the values at fractions `unit` in [0, 1] of the interval."""
        low, high = self._ends
        if self.spacing == "log":
            values = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
        elif self.spacing == "one_minus":
            values = 1 - (1 - low) * ((1 - high) / (1 - low)) ** unit
        else:
            values = low + unit * (high - low)
        # Rounding takes some values beyond an end, by little but, near 0, by much of a narrow range.
        return np.clip(np.rint(values) if self.integer else values, self.low, self.high).tolist()

    def fractions(self, values: np.ndarray) -> np.ndarray:
        """Return at which fractions of the interval values are: the inverse of `at`."""
        (low, high), values = self._ends, np.asarray(values, float)
        if self.spacing != "linear":
            low, high, values = (np.log(1 - x if self.spacing == "one_minus" else x) for x in (low, high, values))
        return (values - low) / (high - low)

    def holds(self, value: float, slack: float) -> bool:
        """Return whether a value is in the interval, or beyond it by a small share `slack` of it."""
        if self.integer and not value.is_integer():
            return False
        if self.low <= value <= self.high:
            return True
        far = slack * max(self.high - self.low, abs(self.low), abs(self.high))
        return self.low - far <= value <= self.high + far

    @property
    def _ends(self) -> tuple[float, float]:
        """The ends drawn between: for whole numbers, half beyond them, so that each number has its share."""
        return (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)

    def __str__(self):
        return self.code.python

    @property
    def code(self) -> Code:
        """The code that makes it."""
        count = "" if self.count is None else f", {self.count}"
        return as_range(self.spacing, f"{self.low:g}, {self.high:g}{count}", self.integer)


def log(low: float, high: float, count: int | None = None, *, integer: bool = False) -> Range:
    """Make `count` numbers from `low` to `high` at equal ratios; without a count, an interval to draw from.

    Args:
        low: The least number.
        high: The greatest number, which is included.
        count: How many numbers; None where `jl.random`, `jl.sobol` or `jl.search` draw from the range.
        integer: Whether to round to whole numbers, as for a count of steps; equal ones of a grid count once. Programs
            get floats, so sizes and other structural integers are lists in `jl.static` instead.

    Raises:
        TypeError: An end is not a number, or count is not an integer.
        ValueError: Not 0 < low <= high < inf, count < 1, or an end is not whole with `integer`.

    """
    return _range("log", low, high, count, integer)


def linear(low: float, high: float, count: int | None = None, *, integer: bool = False) -> Range:
    """Make `count` numbers from `low` to `high` at equal distances; without a count, an interval to draw from.

    Args:
        low: The least number.
        high: The greatest number, which is included.
        count: How many numbers; None where `jl.random`, `jl.sobol` or `jl.search` draw from the range.
        integer: Whether to round to whole numbers: see `log`.

    Raises:
        TypeError: An end is not a number, or count is not an integer.
        ValueError: Not -inf < low <= high < inf, count < 1, or an end is not whole with `integer`.

    """
    return _range("linear", low, high, count, integer)


def one_minus(low: float, high: float, count: int | None = None) -> Range:
    """Make `count` numbers from `low` to `high` whose distances from 1 have equal ratios; without a count, an interval.

    It suits momenta and decay rates near 1: .9, .99 and .999 are a memory of ten, a hundred and a thousand steps.

    Args:
        low: The least number.
        high: The greatest number, which is included.
        count: How many numbers; None where `jl.random`, `jl.sobol` or `jl.search` draw from the range.

    Raises:
        TypeError: An end is not a number, or count is not an integer.
        ValueError: Not 0 <= low <= high < 1, or count < 1.

    """
    return _range("one_minus", low, high, count)


def prior(optimizer: OptimizerFactory | str) -> dict[str, Range]:
    """Return the ranges in which an optimizer's hyperparameters are worth searching, as a space to draw from.

        jl.sweep(jl.adam, task, jl.random(jl.prior(jl.adam), 64, key=0), steps=1000)

    Args:
        optimizer: One of this package's, or its name; or an optimizer of another one that has the same name, which then
            has the ranges of those hyperparameters that it takes. A `functools.partial` of one has the ranges of what
            it leaves free. `jl.PRIORS` has their sources.

    Raises:
        ValueError: This package has no optimizer of that name.

    """
    found = prior_of(optimizer)
    if not found:
        name = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", quoted(optimizer))
        raise ArgumentValueError(
            f"There is no prior of {name}: this package has no optimizer of that name.",
            advice="Give a dict of ranges, such as {'learning_rate': jl.log(1e-4, 1)}.",
        )
    return {name: range_of(known) for name, known in found.items()}


def prior_of(optimizer: Any) -> Mapping[str, Prior]:
    """Return the optimizer's prior, or that of its namesake here as far as it fits; empty where there is none."""
    if isinstance(optimizer, str):
        optimizer = OPTIMIZERS.get(optimizer, optimizer)
    if isinstance(optimizer, functools.partial):
        free = inspect.signature(optimizer).parameters.keys() - optimizer.keywords.keys()
        return {name: known for name, known in prior_of(optimizer.func).items() if name in free}
    if optimizer in PRIORS:
        return PRIORS[optimizer]
    namesake = OPTIMIZERS.get(getattr(optimizer, "__name__", ""))
    if namesake is None:
        return {}
    taken = inspect.signature(optimizer).parameters
    return {name: known for name, known in PRIORS[namesake].items() if name in taken}


def range_of(known: Prior) -> Range:
    """Return a prior as a range."""
    return Range(float(known.low), float(known.high), None, known.spacing)


def _range(spacing: str, low: float, high: float, count: int | None, integer: bool = False) -> Range:
    ends, integer = f"{quoted(low, 60)}, {quoted(high, 60)}", check_flag("integer", integer)
    what = as_range(spacing, f"{ends}{'' if count is None else f', {quoted(count, 60)}'}", integer)
    if count is not None:
        count = check_count("The count of ", count, most=MOST, of=what)
    for end in (low, high):
        if not is_number(end):
            raise ArgumentTypeError(what, f": both ends must be numbers, got {quoted(end)}.")
    low, high = as_float(low), as_float(high)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ArgumentValueError(what, ": both ends must be finite.")
    if spacing == "log" and low <= 0:
        linear = Code("jl.linear", "linear")
        raise ArgumentValueError(
            what, ": a log range must start above 0.", advice=("Use ", linear, ", or a list, to include 0 or less.")
        )
    if spacing == "one_minus" and not (low >= 0 and high < 1):
        raise ArgumentValueError(what, ": both ends must be at least 0 and below 1, as momenta are.")
    if not math.isfinite(high - low):
        raise ArgumentValueError(what, ": the range is wider than any number.")
    if low > high:
        raise ArgumentValueError(what, ": the range is empty, its low end is above its high end.", advice="Swap them.")
    if integer and not (low.is_integer() and high.is_integer()):
        raise ArgumentValueError(what, ": both ends must be whole numbers.")
    return Range(low, high, count, spacing, integer)
