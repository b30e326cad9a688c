"""Checks of data: arrays with a leading example axis. Anything else is refused, with advice on how to convert it."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError

AXIS = "must be arrays with a leading example axis"
KINDS = {
    "O": "an array of Python objects: convert it to numbers, and pad lists of unequal length to one shape",
    "U": "an array of strings: encode them as numbers, for example by np.unique(x, return_inverse=True)[1]",
    "S": "an array of strings: encode them as numbers, for example by np.unique(x, return_inverse=True)[1]",
    "T": "an array of strings: encode them as numbers, for example by np.unique(x, return_inverse=True)[1]",
    "M": "an array of dates: pass numbers, for example (x - x.min()) / np.timedelta64(1, 'D')",
    "m": "an array of durations: pass numbers, for example x / np.timedelta64(1, 's')",
    "V": "a structured array: pass its columns, as a tuple or dict of arrays",
}
# How to convert objects of other packages to arrays, by an attribute that identifies them.
CONVERSIONS = {
    "toarray": "x.toarray()",
    "todense": "x.todense()",
    "to_numpy": "x.to_numpy()",
    "detach": "x.detach().cpu().numpy()",
    "numpy": "x.numpy()",
    "__array__": "np.asarray(x)",
}


IN_MEMORY = [attribute for attribute in CONVERSIONS if attribute != "__array__"]
FIRST = np.zeros(1, int)


class TracedDataError(ArgumentTypeError):
    """Data are traced values, so they are not known before a program runs."""


def check_examples(where: str, data: Any) -> int:
    """Check that the pytree `data` holds examples, and return how many. Errors call it `where`.

    Raises:
        TypeError: A leaf is not an array of numbers.
        ValueError: The data are empty, not finite, or their arrays differ in length.

    """
    check_arrays(where, data)
    leaves = jax.tree.leaves(data)
    shapes = [(count_rows(x), *rows_of(x, FIRST).shape[1:]) if is_rows(x) else np.shape(x) for x in leaves]
    if not leaves or any(not shape or shape[0] == 0 for shape in shapes):
        raise ArgumentValueError(f"{where} {AXIS}, got {_shapes(shapes)}. {_stacking(data)}")
    if len({shape[0] for shape in shapes}) > 1:
        raise ArgumentValueError(
            f"{where} must have as many examples in every array, got {_shapes(shapes)}. {_stacking(data)}"
        )
    check_values(where, [x for x in leaves if not is_rows(x)])
    return shapes[0][0]


def canonical(dtype: Any) -> np.dtype:
    """Return the type that JAX gives such values."""
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def converted(x: np.ndarray) -> np.ndarray:
    """Return the values in the type that JAX gives them; `check_values` says whether they fit."""
    if (dtype := canonical(x.dtype)) == x.dtype:
        return x
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def put(x: np.ndarray, place: np.ndarray) -> None:
    """Copy the values to a place of their shape, in its type; `is_usable` says whether they fit."""
    with np.errstate(over="ignore"):
        place[...] = x


def as_array(x: Any) -> Any:
    """Return what the user's iterator gave as an array of the host; later checks refuse what is none."""
    return np.asarray(x) if hasattr(x, "__array__") and not isinstance(x, np.ma.MaskedArray) else x


def is_usable(given: np.ndarray, used: np.ndarray) -> bool:
    """Return whether the values are finite, and fit into the type in which they are used."""
    if used.dtype.kind in "fc":
        return bool(np.isfinite(used).all())
    return given.dtype == used.dtype or bool((given == used).all())


def described(batch: Any) -> str:
    """Return the types and shapes of a batch's arrays, for an error."""
    return ", ".join(f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(batch))


def check_values(where: str, data: Any) -> None:
    """Raise ValueError where a value is not finite, or too large for JAX's type. Errors call the data `where`."""
    for x in map(np.asarray, jax.tree.leaves(data)):
        if x.dtype.kind in "fc" and not np.isfinite(x).all():
            bad = np.argwhere(~np.isfinite(x))
            raise ArgumentValueError(
                f"{where} have {len(bad)} non-finite values, the first at index {tuple(map(int, bad[0]))} of an array "
                f"of shape {x.shape}. Remove or fill them first."
            )
        if (largest := _too_large(x)) is not None:
            raise ArgumentValueError(
                f"{where} have the {x.dtype} value {largest!r}, which JAX's {canonical(x.dtype)} cannot hold. Scale "
                "the values down, number them anew, or call jax.config.update('jax_enable_x64', True) first."
            )


def _too_large(x: np.ndarray) -> Any:
    """Return a value that is beyond the range of the type that JAX gives the array; None where all fit."""
    narrow = canonical(x.dtype)
    if narrow == x.dtype or not x.size:
        return None
    limits = np.iinfo(narrow) if narrow.kind in "iu" else np.finfo(narrow)
    ends = [
        end(part) for part in ((np.real(x), np.imag(x)) if x.dtype.kind == "c" else (x,)) for end in (np.min, np.max)
    ]
    return next((end.item() for end in ends if not limits.min <= end <= limits.max), None)


def is_rows(x: Any) -> bool:
    """Return whether `x` is a stored array, to be indexed on the host: a memory map, Zarr, HDF5 or a like object."""
    if isinstance(x, np.ndarray | np.generic | jax.Array | Tracer | str | bytes | Mapping):
        return isinstance(x, np.memmap)
    if any(hasattr(x, attribute) for attribute in IN_MEMORY):
        return False
    if not hasattr(type(x), "__getitem__"):
        return False
    try:
        return count_rows(x) > 0 and rows_of(x, FIRST).shape[0] == 1
    except Exception:  # the indexing of a foreign object may raise anything
        return False


def has_rows(data: Any) -> bool:
    """Return whether some leaf of the data is a stored array."""
    return any(map(is_rows, jax.tree.leaves(data, is_leaf=_is_one)))


def count_rows(x: Any) -> int:
    """Count the examples of a stored array."""
    return x.shape[0] if hasattr(x, "shape") else len(x)


def rows_of(x: Any, indices: np.ndarray) -> np.ndarray:
    """Read these examples of a stored array; the indices are in increasing order, without repetition."""
    return np.asarray(getattr(x, "oindex", x)[indices])


def read_whole(data: Any) -> Any:
    """Read stored arrays into memory."""
    return jax.tree.map(lambda x: rows_of(x, np.arange(count_rows(x))) if is_rows(x) else x, data)


def check_arrays(where: str, data: Any, traced: bool = False) -> None:
    """Raise TypeError or ValueError where a leaf of `data` is not an array of numbers; `traced` allows traced ones.

    Errors call the data `where`.
    """
    if isinstance(data, list) and data and all(isinstance(x, tuple | list | dict) for x in data):
        raise ArgumentValueError(
            f"{where} {AXIS}, got a list of {len(data)} {type(data[0]).__name__}s. {_stacking(data)}"
        )
    for path, x in jax.tree_util.tree_leaves_with_path(data, is_leaf=_is_one):
        fault = _fault_of_type(x.dtype) if traced and isinstance(x, Tracer) else _fault(x)
        if fault is not None:
            kind = ValueError if isinstance(x, bool | int | float | complex) else TypeError
            kind = TracedDataError if isinstance(x, Tracer) and not traced else kind
            raise kind(f"{where}{jax.tree_util.keystr(path)} {AXIS}, got {fault}.")


def _is_one(x: Any) -> bool:
    """Return whether to check `x` as a whole although JAX would flatten it: its sparse matrices, iterators."""
    return x is None or hasattr(x, "todense") or isinstance(x, Iterator | KeysView | ValuesView | ItemsView)


def _fault(x: Any) -> str | None:
    """Return what is wrong with a leaf and how to correct it; None where it is an array of numbers."""
    kind = f"an object of type {type(x).__module__.partition('.')[0]}.{type(x).__name__}".replace("builtins.", "")
    if isinstance(x, Tracer):
        return "a traced value: make the task outside of jax.jit, jax.vmap and jax.grad"
    if isinstance(x, np.ma.MaskedArray):
        return "a masked array: fill it, as x.filled(0.0), and pass the mask as an array of its own where it matters"
    if isinstance(x, np.ndarray | np.generic | jax.Array):
        return _fault_of_type(x.dtype)
    if is_rows(x):
        return _fault_of_type(rows_of(x, FIRST).dtype)
    if x is None:
        return "None: leave it out, or return something"
    if isinstance(x, bool | int | float | complex):
        return f"the number {x!r:.40}: wrap lists of numbers in np.asarray, and keep constants in the loss"
    if isinstance(x, str | bytes):
        return f"the string {x!r:.40}: pass numbers"
    for attribute, conversion in CONVERSIONS.items():
        if hasattr(x, attribute):
            return f"{kind}: pass {conversion}"
    if isinstance(x, Iterable) or hasattr(x, "__getitem__"):
        return (
            f"{kind}: pass all examples as arrays (batch_size= cuts batches of them), a function key -> batch, or for "
            "training train=jl.stream(make), where make(seed) returns a generator or loader of batches"
        )
    return f"{kind}: pass arrays, or a function key -> batch"


def _fault_of_type(dtype: Any) -> str | None:
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return "random keys: pass a function key -> batch, which is given a key, or jax.random.key_data(keys)"
    if dtype.kind in "mM" or not (jnp.issubdtype(dtype, np.number) or dtype.kind == "b"):
        return KINDS.get(dtype.kind, f"an array of type {dtype}: pass numbers")
    if (dtype.itemsize > 8 and dtype.kind == "f") or dtype.itemsize > 16:
        return f"{dtype}, which JAX lacks: pass x.astype({'complex' if dtype.kind == 'c' else 'float'})"
    return None


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    more = f", ... ({len(shapes)} in all)" if len(shapes) > 6 else ""
    return f"shapes [{', '.join(map(str, shapes[:6]))}{more}]"


def _stacking(data: Any) -> str:
    """Advise how to stack arrays whose first axes do not all count the same examples."""
    if isinstance(data, list):
        first = data[0] if data else ()
        if isinstance(first, tuple | list) and all(isinstance(x, bool | int | float) for x in first):
            return "Make it an array: np.asarray(data)."
        if isinstance(first, tuple | list) and len(first) == 2:
            return "Stack examples: (np.stack([x for x, _ in data]), np.stack([y for _, y in data]))."
        return "Stack examples into one array for inputs and one for targets: (np.stack(inputs), np.stack(targets))."
    return "Every array's first axis counts the examples: (inputs, targets), for example."
