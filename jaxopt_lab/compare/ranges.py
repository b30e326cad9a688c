"""The ranges that a study draws from: an optimizer's prior, and wider ones where the best lies on an edge."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.formats import number
from jaxopt_lab.labels import label
from jaxopt_lab.sweep.hyperparameter import Static
from jaxopt_lab.sweep.ranges import Range, prior_of, range_of
from jaxopt_lab.types import OptimizerFactory, Prior

FEW = 3  # of the best configurations, the least whose median says where good values lie
BEST = 8  # an eighth of the configurations counts as the best ones
EDGE = 1 / 8  # an edge is this share of the range; three irrelevant values have their median there in 9 % of studies
GIVEN = "given as priors="

Space = dict[str, Any]


def spaces_of(
    factories: Mapping[str, OptimizerFactory], given: Mapping[str, Any] | None
) -> tuple[dict[str, Space], dict[str, dict[str, str]]]:
    """Return what to draw from for each optimizer, and the source of each range.

    Raises:
        ArgumentTypeError, ArgumentValueError: An optimizer has no prior and none was given, or one is not a space.

    """
    if given is not None and not isinstance(given, Mapping):
        raise ArgumentTypeError(f"priors must be a dict from optimizer to its ranges, got {quoted(given)}.")
    if unknown := [name for name in given or {} if name not in factories]:
        raise ArgumentValueError(f"priors has {unknown[0]!r}, which is not compared: {', '.join(factories)} are.")
    spaces, sources = {}, {}
    for name, factory in factories.items():
        if given is not None and name in given:
            space = given[name]
            if not isinstance(space, Mapping) or not space:
                raise ArgumentTypeError(
                    f"The prior of {name!r} must be a dict such as {{'learning_rate': jl.log(1e-4, 1)}}, "
                    f"got {quoted(space)}."
                )
            sources[name] = {key: value.source if isinstance(value, Prior) else GIVEN for key, value in space.items()}
        else:
            space = prior_of(factory)
            sources[name] = {key: known.source for key, known in space.items()}
        if not space:
            raise ArgumentValueError(
                f"{name!r} has no prior, and this package has no optimizer of its name. Say what to draw from: "
                f"priors={{{name!r}: {{'learning_rate': jl.log(1e-4, 1)}}}}."
            )
        spaces[name] = {key: range_of(value) if isinstance(value, Prior) else value for key, value in space.items()}
    return spaces, sources


def edges(space: Mapping[str, Any], table: Configurations, selected_by: np.ndarray) -> list[tuple[str, str]]:
    """Return on which ends of which ranges the best configurations lie: pairs of hyperparameter and "low" or "high".

    One configuration lies near some edge by chance as soon as there are several hyperparameters, so the median of the
    best eighth of all configurations counts, at least three.

    Args:
        space: The ranges drawn from.
        table: The configurations drawn.
        selected_by: What they are selected by, of shape (n,), greater being better; -inf for those that failed.

    """
    best = np.argsort(-selected_by, kind="stable")[: max(FEW, len(selected_by) // BEST)]
    best = best[np.isfinite(selected_by[best])]
    found = []
    for name, values in space.items():
        if not isinstance(values, Range) or values.low == values.high or len(best) < FEW:
            continue
        at = float(np.median(values.fractions(np.asarray(table.columns[name], float)[best])))
        found += [(name, end) for end, beyond in (("low", at < EDGE), ("high", at > 1 - EDGE)) if beyond]
    return found


def widened(values: Range, end: str) -> Range | None:
    """Return the range with half of its width more at one end, in its own spacing; None where it cannot go on there.

    A range of numbers from 0, or up to 1, is taken to end there for a reason.
    """
    low, high = values.low, values.high
    if values.spacing == "log":
        more = (high / low) ** 0.5
        low, high = (low / more, high) if end == "low" else (low, high * more)
    elif values.spacing == "one_minus":
        more = ((1 - low) / (1 - high)) ** 0.5
        low, high = (max(0.0, 1 - (1 - low) * more), high) if end == "low" else (low, 1 - (1 - high) / more)
    else:
        half = (high - low) / 2
        wider = (low - half, high) if end == "low" else (low, high + half)
        low, high = max(wider[0], 0.0) if low >= 0 else wider[0], min(wider[1], 1.0) if high <= 1 else wider[1]
    if values.integer:
        low, high = float(math.floor(low)), float(math.ceil(high))
        low = max(low, 1.0) if values.spacing == "log" else low
    return None if (low, high) == (values.low, values.high) else dataclasses.replace(values, low=low, high=high)


def described(space: Mapping[str, Any]) -> str:
    """Describe a space in a line."""
    words = {"log": "log", "linear": "uniform", "one_minus": "log in 1 - value"}
    parts = []
    for name, values in space.items():
        if isinstance(values, Range):
            parts.append(f"{name} {number(values.low)} to {number(values.high)} ({words[values.spacing]})")
        elif isinstance(values, Static):
            parts.append(f"{name} of {', '.join(map(label, values.values))}")
        else:
            parts.append(f"{name} = {label(values)}" if np.ndim(values) == 0 else f"{name} of {list(values)!s:.80}")
    return "; ".join(parts)
