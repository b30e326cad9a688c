"""What a space may say of one hyperparameter: numbers, structural values, or a choice whose branches have more."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jax.core import Tracer

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, Code, concerning
from jaxopt_lab.labels import label, python_value
from jaxopt_lab.sweep.ranges import Range
from jaxopt_lab.sweep.values import DRAWN, as_float, instead, is_number, structural


@dataclasses.dataclass(frozen=True)
class Static:
    """Structural values: flags, sizes, functions. Each is compiled into its own program."""

    values: tuple[Any, ...]

    def __str__(self):
        return f"jl.static([{', '.join(map(label, self.values))}])"


@dataclasses.dataclass(frozen=True)
class Choice:
    """Structural values, each with the space of the hyperparameters that there are beside it."""

    values: tuple[Any, ...]
    spaces: tuple[Mapping[str, Any], ...]  # one for each value

    def __str__(self):
        branches = (
            f"{label(value)}: {{{', '.join(f'{name}: {inner}' for name, inner in space.items())}}}"
            for value, space in zip(self.values, self.spaces, strict=True)
        )
        return f"jl.choice({{{', '.join(branches)}}})"


def static(values: Iterable[Any]) -> Static:
    """Declare structural values (flags, sizes, names): each is compiled separately, none is traced.

    Args:
        values: Any Python objects. NumPy and JAX scalars become Python's own, so an array of sizes is allowed.

    Raises:
        TypeError: `values` is not a list.
        ValueError: `values` is empty.

    """
    wrong = isinstance(values, str | bytes | Mapping | set | frozenset | Tracer) or not isinstance(values, Iterable)
    if wrong or not getattr(values, "ndim", 1):
        said = quoted(values)
        raise ArgumentTypeError(f"jl.static takes a list of values, got {said}: write jl.static([{said}]).")
    if not (values := tuple(map(python_value, values))):
        raise ArgumentValueError("jl.static([]) is empty: give at least one value.")
    return Static(values)


def choice(branches: Mapping[Any, Mapping[str, Any]]) -> Choice:
    """Declare a conditional space: structural values, each with hyperparameters of its own.

        space = {
            "learning_rate": jl.log(1e-3, 1),
            "nesterov": jl.choice({True: {"momentum": jl.one_minus(0.5, 0.99)}, False: {}}),
        }
        jl.sweep(jl.momentum, task, jl.random(space, 64, key=0), steps=1000)

    A hyperparameter of a branch is given to the optimizer only beside that branch's value, and has its default
    otherwise; results have NaN there. `jl.random`, `jl.sobol` and `jl.search` draw the value and then from its branch.

    Args:
        branches: From each structural value to its space, {} where it has none. A branch may have choices too.

    Raises:
        TypeError: It is not a dict from values to spaces.
        ValueError: It is empty.

    """
    if not isinstance(branches, Mapping) or not all(isinstance(space, Mapping) for space in branches.values()):
        raise ArgumentTypeError(
            f"jl.choice takes a dict from values to spaces, got {quoted(branches)}.",
            advice="Write jl.choice({True: {'momentum': jl.one_minus(0.5, 0.99)}, False: {}}), for example.",
        )
    if not branches:
        raise ArgumentValueError("jl.choice({}) is empty: give at least one value.")
    return Choice(tuple(map(python_value, branches)), tuple(map(dict, branches.values())))


def values_of(name: str, value: Any) -> list[Any]:
    """Return the values of one hyperparameter: structural ones unchanged, numbers as floats."""
    check_name(name)
    with concerning(name):
        return _checked(name, value)


def check_name(name: Any) -> None:
    """Raise TypeError where a key of a space cannot name a hyperparameter."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"A space's keys are hyperparameter names, got {quoted(name)}.")


def described(name: str, value: Any) -> str:
    """Describe a hyperparameter's values; for many numbers only the ends (results hold all of them anyway)."""
    if isinstance(value, Range | Static | Choice):
        return str(value)
    values = values_of(name, value)
    return str(values) if len(values) <= 32 else f"{len(values)} values, {values[0]:g} to {values[-1]:g}"


def _checked(name: str, value: Any) -> list[Any]:
    if isinstance(value, Static):
        return [structural(name, v) for v in value.values]
    if isinstance(value, Choice):
        raise ArgumentValueError(
            f"{name} is a choice, whose branches have spaces of their own, so it is not a list of values.",
            advice=("Draw from it with ", DRAWN, ", or search it."),
        )
    if isinstance(value, Range):
        return value.points()
    if getattr(value, "ndim", 0) > 1:
        raise ArgumentTypeError(
            f"{name} must be one flat list of numbers, got an array of {value.ndim} axes: {quoted(value)}."
        )
    if (kind := next((kind for types, kind in NO_LISTS if isinstance(value, types)), None)) is not None:
        got = f", got {kind}: {quoted(value)}."
        raise ArgumentTypeError(f"{name} must be numbers, a range or ", Code("jl.static([...])", "static"), got)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iuf":
        value = value.astype(float).tolist()  # fast for large arrays
    iterable = isinstance(value, Iterable) and not isinstance(value, str | bytes | Callable)
    values = list(value) if iterable and getattr(value, "ndim", 1) > 0 else [value]
    if not values:
        raise ArgumentValueError(f"{name} is an empty list: give at least one value, or leave it out for its default.")
    for v in values:
        if type(v) is not float and not is_number(v):
            raise ArgumentTypeError(f"{name} = {quoted(v)} is not a number.", advice=instead(name, v))
        if not math.isfinite(as_float(v)):
            raise ArgumentValueError(
                f"{name} = {quoted(v)} is not finite. Every value must be a finite number: leave this one out."
            )
    return [as_float(v) for v in values]


NO_LISTS = (
    (Mapping | Configurations, "a dict or table (spaces are not nested)"),
    (set | frozenset, "a set, which has no order (write a list)"),
    (Iterator, "an iterator, which ends after its first use (write a list)"),
    (Tracer, "a traced value (call this outside of jax.jit, jax.vmap and jax.grad)"),
)
