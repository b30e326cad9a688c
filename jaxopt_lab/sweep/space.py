"""Search spaces: which hyperparameters to vary, and the resulting table of configurations.

A space is a mapping from hyperparameter names to numbers, lists, arrays, `log`, `linear` or `static`; by itself it
means the product of all its values. `zipped`, `random` and `sobol` combine the same mapping in other ways.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from jaxopt_lab.checking import MOST, check_count, quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, Code, concerning
from jaxopt_lab.labels import label, python_value, same
from jaxopt_lab.sweep.ranges import Range
from jaxopt_lab.sweep.values import as_float, check_mapping, instead, is_key, is_number, structural
from jaxopt_lab.types import Key, random_key


@dataclasses.dataclass(frozen=True)
class Static:
    """Structural values: flags, sizes, functions. Each is compiled into its own program."""

    values: tuple[Any, ...]

    def __str__(self):
        return f"jl.static([{', '.join(map(label, self.values))}])"


Space = Mapping[str, Any] | Configurations


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


def zipped(space: Mapping[str, Any]) -> Configurations:
    """Combine the i-th values of all hyperparameters into configuration i; a single value applies to all.

    Raises:
        ValueError: The lists differ in length.

    """
    check_mapping("jl.zipped", space)
    lists = {name: _values(name, value) for name, value in space.items()}
    lengths = {name: len(values) for name, values in lists.items() if len(values) > 1}
    if len(set(lengths.values())) > 1:
        raise ArgumentValueError(Code("jl.zipped", "zipped"), f" needs lists of one length, got {lengths}.")
    count = max(lengths.values(), default=1)
    columns = {name: values * count if len(values) == 1 else values for name, values in lists.items()}
    return _table(space, columns, "zipped")


def random(space: Mapping[str, Any], n: int, key: Key | int) -> Configurations:
    """Draw `n` random configurations: uniform in a `linear` range, log-uniform in a `log` range, one item of a list.

    Args:
        space: As for a product; ranges need no count.
        n: The number of configurations, >= 1.
        key: A JAX random key, or an integer to make one from.

    """
    check_mapping("jl.random", space)
    n = check_count("n of jl.random", n, most=MOST)
    key = key if is_key(key) else random_key(check_count("key of jl.random", key, least=0))
    return _drawn(space, np.asarray(jax.random.uniform(key, (n, len(space))), float), "random")


def sobol(space: Mapping[str, Any], n: int, seed: int = 0) -> Configurations:
    """Draw `n` configurations from a scrambled Sobol sequence, which fills the space more evenly than random draws.

    A power of two is best. Uses SciPy's `scipy.stats.qmc.Sobol` (Owen scrambling,
    https://doi.org/10.1137/S0036142997327846).

    Args:
        space: As for a product; ranges need no count.
        n: The number of configurations, >= 1.
        seed: The seed of the scrambling.

    """
    check_mapping("jl.sobol", space)
    n, seed = check_count("n of jl.sobol", n, most=MOST), check_count("seed of jl.sobol", seed, least=0)
    from scipy.stats import qmc

    points = qmc.Sobol(max(len(space), 1), rng=np.random.default_rng(seed)).random_base2(math.ceil(math.log2(n)))
    return _drawn(space, points[:n], "sobol")


def configurations(space: Space) -> Configurations:
    """Return the table of a space: the product of its values, the last name varying fastest.

    A table is returned unchanged. A repeated value counts once, with a warning.

    Raises:
        TypeError: The space is not a mapping, or a value is not a number where one is needed.
        ValueError: A list is empty, a number is not finite, or there would be more than 4,194,304 configurations.

    """
    if isinstance(space, Configurations):
        return space
    if not isinstance(space, Mapping):
        raise ArgumentTypeError(
            f"A space is a dict of hyperparameters, or jl.zipped, jl.random or jl.sobol; got {quoted(space)}."
        )
    lists = {name: _once(name, value) for name, value in space.items()}
    if (count := math.prod(map(len, lists.values()))) > MOST:
        raise ArgumentValueError(
            f"The space has {count:,} configurations, more than {MOST:,}. Sample it, or sweep it in parts."
        )
    rows = list(itertools.product(*lists.values()))
    return _table(space, {name: [row[i] for row in rows] for i, name in enumerate(lists)}, "product")


def _once(name: str, value: Any) -> list[Any]:
    """Return a hyperparameter's values without repetitions, which would repeat trials; warns of them."""
    values, once, repeated = _values(name, value), [], []
    if not isinstance(value, Static):
        once = list(dict.fromkeys(values))
        repeated = [number for number in once if values.count(number) > 1] if len(once) < len(values) else []
    else:
        for structural in values:
            known = any(same(structural, other) for other in once)
            (repeated if known else once).append(structural)
    if repeated:
        listed = ", ".join(dict.fromkeys(map(label, repeated[:8]))) + (", ..." if len(repeated) > 8 else "")
        warnings.warn(f"{name} has {listed} more than once: each value is run once.", UserWarning, stacklevel=2)
    return once


def _table(space: Mapping[str, Any], columns: Mapping[str, Sequence[Any]], kind: str) -> Configurations:
    names = frozenset(name for name, value in space.items() if isinstance(value, Static))
    return Configurations(dict(columns), names, kind, {name: _described(name, v) for name, v in space.items()})


def _described(name: str, value: Any) -> str:
    """Describe a hyperparameter's values; for many numbers only the ends (results hold all of them anyway)."""
    if isinstance(value, Range | Static):
        return str(value)
    values = _values(name, value)
    return str(values) if len(values) <= 32 else f"{len(values)} values, {values[0]:g} to {values[-1]:g}"


def _drawn(space: Mapping[str, Any], unit: np.ndarray, kind: str) -> Configurations:
    columns = {}
    for (name, value), u in zip(space.items(), unit.T, strict=False):
        if isinstance(value, Range):
            columns[name] = value.at(u)
        else:
            choices = _values(name, value)
            columns[name] = [choices[i] for i in (u * len(choices)).astype(int)]
    if not columns:
        raise ArgumentValueError(Code(f"jl.{kind}", kind), " has nothing to draw from: the space is empty.")
    return _table(space, columns, kind)


def _values(name: str, value: Any) -> list[Any]:
    """Return the values of one hyperparameter: structural ones unchanged, numbers as floats."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"A space's keys are hyperparameter names, got {quoted(name)}.")
    with concerning(name):
        return _checked_values(name, value)


def _checked_values(name: str, value: Any) -> list[Any]:
    if isinstance(value, Static):
        return [structural(name, v) for v in value.values]
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
