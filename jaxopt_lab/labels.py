"""Labels: how hyperparameter values appear in tables, and when two of them are the same.

A value that JSON can represent (None, bool, int, finite float, str) is its own label; any other value is labelled by a
text. NaN marks a hyperparameter that a configuration does not have: its optimizer has none of that name, or the branch
of its choice does not.
"""

import collections
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxopt_lab.tracing.caching import exact

if TYPE_CHECKING:
    import xarray as xr

ABSENT = math.nan
PLAIN = (bool, int, float, str, type(None))
READABLE = 60  # characters of a container's label; a longer one is labelled by its type


def python_value(value: Any) -> Any:
    """Convert NumPy and JAX scalars to Python's own, inside tuples too; return anything else unchanged."""
    if type(value) is tuple:
        return tuple(map(python_value, value))
    is_array = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer)
    is_scalar = isinstance(value, np.generic) or (is_array and value.ndim == 0)
    return value.item() if is_scalar and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value


def same(a: Any, b: Any) -> bool:
    """Return whether two structural values are the same: 1, 1.0 and True all differ, and so do 0.0 and -0.0."""
    try:
        return a is b or bool(exact(a) == exact(b))
    except Exception:  # values that cannot be compared count as different
        return False


def tuples(value: Any) -> Any:
    """Convert lists that JSON made of tuples back to tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def is_plain(value: Any) -> bool:
    """Return whether JSON can represent the value."""
    return type(value) in PLAIN and not (type(value) is float and not math.isfinite(value))


def label(value: Any) -> str:
    """Describe a value: a string is itself, a container its items, a function its name, else its name or its type's."""
    if isinstance(value, str) and type(value) is str:
        return value
    if type(value) in (*PLAIN, complex):
        return repr(value)
    if type(value) in (tuple, list, dict):
        text = _inside(value)
        return text if len(text) <= READABLE else type(value).__name__
    while isinstance(value, functools.partial):
        value = value.func
    for name in ("__name__", "name"):
        if isinstance(text := getattr(value, name, None), str) and text:
            return text
    return type(value).__name__


def labels(values: Iterable[Any]) -> list[Any]:
    """Label each value; different values get different labels, with a number appended where they share a name."""
    values = list(values)
    by_identity = {id(value): value for value in values}
    different: list[Any] = []
    place = {}  # of each value that is not plain, among the different ones
    for key, value in by_identity.items():
        if not is_plain(value):
            place[key] = next((i for i, other in enumerate(different) if same(value, other)), len(different))
            different += [value] if place[key] == len(different) else []
    names = [label(value) for value in different]
    shared = collections.Counter(names)
    given = {value for value in by_identity.values() if type(value) is str}
    taken = given | set(names)
    for i, name in enumerate(names):
        if shared[name] > 1 or name in given:
            names[i] = next(text for n in itertools.count(1) if (text := f"{name} {n}") not in taken)
            taken.add(names[i])
    return [names[place[id(value)]] if id(value) in place else value for value in values]


def column(values: Sequence[Any]) -> np.ndarray:
    """Make an array of labels: of their own type where they share one, else of objects."""
    types = set(map(type, values))
    if types == {bool} or types == {float}:
        return np.asarray(values)
    if types == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return np.asarray(values, np.int64)
    if types == {str} and not any(value.endswith("\0") for value in values):  # which NumPy would cut off
        return np.asarray(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def coordinate(dim: str, values: np.ndarray) -> "xr.Variable":
    """Make an xarray variable of a column directly, since xarray would otherwise convert None among texts to NaN."""
    import xarray as xr

    return xr.Variable(dim, values, fastpath=True)


def narrowed(values: np.ndarray) -> np.ndarray:
    """Convert a part of a column (one optimizer's configurations, for example) to its own type."""
    return column(values.tolist()) if values.dtype == object else values


def present(values: np.ndarray) -> np.ndarray:
    """Return which configurations have an optimizer with this hyperparameter: True where the value is not absent."""
    if values.dtype == object:
        return np.asarray([not _is_absent(value) for value in values], bool)
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of a column, and for each row the position of its value among them.

    They are sorted where they are of one type, else in order of appearance.
    """
    zeros = values[values == 0] if values.dtype.kind == "f" else values[:0]
    if values.dtype != object and not (len(zeros) and np.ptp(np.signbit(zeros).astype(int))):
        return np.unique(values, return_inverse=True)
    listed = values.tolist()
    keys = [(type(value), repr(value)) for value in listed]
    first: dict[Any, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    order = list(first) if values.dtype == object else sorted(first, key=lambda key: (listed[first[key]], key[1]))
    place = {key: i for i, key in enumerate(order)}
    return values[[first[key] for key in order]], np.asarray([place[key] for key in keys])


def texts(values: np.ndarray) -> list[str]:
    """Convert distinct values of a column to distinct texts: where None and "None" both occur, "None" keeps quotes."""
    listed = values.tolist()
    shared = collections.Counter(map(str, listed))
    found = [str(value) if shared[str(value)] == 1 else repr(value) for value in listed]
    return found if len(set(found)) == len(found) else list(map(repr, listed))


def _is_absent(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _inside(value: Any) -> str:
    """Describe a container's items, in its own brackets; strings in quotes."""
    if type(value) is dict:
        return f"{{{', '.join(f'{_inside(key)}: {_inside(item)}' for key, item in value.items())}}}"
    if type(value) in (tuple, list):
        items = ", ".join(map(_inside, value)) + ("," if type(value) is tuple and len(value) == 1 else "")
        return f"({items})" if type(value) is tuple else f"[{items}]"
    return repr(value) if type(value) is str else label(value)
