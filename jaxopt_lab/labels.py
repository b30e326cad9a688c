"""Labels: how the values of a hyperparameter stand in tables, and what tells two of them apart.

What JSON knows (None, bool, int, finite float, str) is its own label; anything else has a text. NaN stands for a
hyperparameter that a configuration's optimizer does not have.
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
READABLE = 60  # characters of a container's label; a longer one is called by its type


def python_value(value: Any) -> Any:
    """Python's own value of a NumPy or JAX scalar, also inside tuples; anything else as it is."""
    if type(value) is tuple:
        return tuple(map(python_value, value))
    is_array = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer)
    is_scalar = isinstance(value, np.generic) or (is_array and value.ndim == 0)
    return value.item() if is_scalar and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value


def same(a: Any, b: Any) -> bool:
    """Whether two structural values are one: 1, 1.0 and True are three, 0.0 and -0.0 two."""
    try:
        return a is b or bool(exact(a) == exact(b))
    except Exception:  # what cannot be compared is told apart
        return False


def is_plain(value: Any) -> bool:
    """Whether JSON knows the value."""
    return type(value) in PLAIN and not (type(value) is float and not math.isfinite(value))


def label(value: Any) -> str:
    """A value in words: a text itself, a container's items, a function's name, else a name or the type's."""
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
    """The label of each value: different values have different labels, by numbers where they would share a name."""
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
    """Labels as an array of their own type where they share one, else of the very values."""
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
    """A column as xarray's variable, which would otherwise take None beside texts for NaN."""
    import xarray as xr

    return xr.Variable(dim, values, fastpath=True)


def narrowed(values: np.ndarray) -> np.ndarray:
    """A part of a column in its own type: of an optimizer's configurations, for example."""
    return column(values.tolist()) if values.dtype == object else values


def present(values: np.ndarray) -> np.ndarray:
    """Which values of a column are of configurations whose optimizer has the hyperparameter."""
    if values.dtype == object:
        return np.asarray([not _is_absent(value) for value in values], bool)
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a column, and for each row the position of its own among them.

    Sorted where they are of one type, else in order of appearance.
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
    """Different values of a column, each as a text of its own: None beside "None" leaves the latter in quotes."""
    listed = values.tolist()
    shared = collections.Counter(map(str, listed))
    found = [str(value) if shared[str(value)] == 1 else repr(value) for value in listed]
    return found if len(set(found)) == len(found) else list(map(repr, listed))


def _is_absent(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _inside(value: Any) -> str:
    """A container's items in words, in its own brackets; texts in quotes."""
    if type(value) is dict:
        return f"{{{', '.join(f'{_inside(key)}: {_inside(item)}' for key, item in value.items())}}}"
    if type(value) in (tuple, list):
        items = ", ".join(map(_inside, value)) + ("," if type(value) is tuple and len(value) == 1 else "")
        return f"({items})" if type(value) is tuple else f"[{items}]"
    return repr(value) if type(value) is str else label(value)
