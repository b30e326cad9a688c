"""Single values of hyperparameters: which are numbers, which can be structural, and what to write instead of others."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxopt_lab.checking import quoted


def instead(name: str, value: Any) -> str:
    """What to write where a hyperparameter's value is not a number."""
    if type(value).__module__.startswith("jaxopt_lab."):
        return f"Write {name}={value}, outside of a list."
    if isinstance(value, Mapping):
        return "Spaces are not nested: the values of a hyperparameter are one flat list."
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0):
        return "Write one flat list of numbers."
    if isinstance(value, complex | np.complexfloating):
        return "A program takes real numbers: give real and imaginary part as two hyperparameters."
    if isinstance(value, str) and _reads_as_number(value):
        return f"Write {value.strip()} without quotes."
    return f"Structural values are given as {name}=jl.static([...])."


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def structural(name: str, value: Any) -> Any:
    """The value, where programs can be told apart by it: it can be hashed, and equals itself."""
    try:
        hash(value)
        if bool(value == value):
            return value
    except Exception:  # of an array, a list, a traced value, each an error of its own
        pass
    hint = "write a tuple instead of a list" if isinstance(value, list) else "a number, a string, a tuple or a function"
    raise TypeError(f"{name}: jl.static takes values that can be hashed and compared ({hint}), got {quoted(value)}.")


def is_number(value: Any) -> bool:
    """Whether it is a real number: of Python, or of NumPy or JAX without axes."""
    if isinstance(value, bool | np.bool_ | str | complex | Tracer) or value is None:
        return False
    return isinstance(value, int | float) or (
        isinstance(value, np.number | np.ndarray | jax.Array)
        and np.ndim(value) == 0
        and jnp.issubdtype(value.dtype, np.number)
        and not jnp.issubdtype(value.dtype, np.complexfloating)
    )


def as_float(value: Any) -> float:
    """The number as a float; infinity for an integer that is larger than any."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_key(key: Any) -> bool:
    """Whether it is a random key of JAX's: a typed one, or a raw one of old."""
    if not isinstance(key, jax.Array) or isinstance(key, Tracer):
        return False
    raw = jax.random.key_data(jax.random.key(0))
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    return typed or (key.dtype, key.shape) == (raw.dtype, raw.shape)


def check_mapping(what: str, space: Any) -> None:
    """Raise TypeError where a space is not a dict."""
    if not isinstance(space, Mapping):
        raise TypeError(f"{what} takes a dict of hyperparameters, got {quoted(space)}.")
