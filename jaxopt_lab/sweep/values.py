"""Single values of hyperparameters: which are numbers, which can be structural, what to write instead of others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, Code, Part

DRAWN = Code("jl.random or jl.sobol", "`sample`")
TRUE_OR_FALSE = Code("True or False", "true or false")


def as_static(name: str, inside: str = "...") -> Code:
    """Return the code for structural values of a hyperparameter."""
    dotted = "." in name
    python = f"{name!r}: jl.static([{inside}])" if dotted else f"{name}=jl.static([{inside}])"
    key = f'"{name}"' if dotted else name
    return Code(python, f"{key} = {{ static = [{inside}] }}")


def as_range(spacing: str, inside: str, integer: bool = False) -> Code:
    """Return the code for a range of numbers; `spacing` is "log", "linear" or "one_minus"."""
    python, toml = (", integer=True", ", integer = true") if integer else ("", "")
    return Code(f"jl.{spacing}({inside}{python})", f"{{ {spacing} = [{inside}]{toml} }}")


def instead(name: str, value: Any) -> Sequence[Part]:
    """Say what to write in place of a hyperparameter's value that is not a number."""
    if type(value).__module__.startswith("jaxopt_lab."):
        return (f"Write {name}={value}, outside of a list.",)
    return (_flat(value),) if _flat(value) else ("Structural values are given as ", as_static(name), ".")


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "Spaces are not nested: the values of a hyperparameter are one flat list."
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0):
        return "Write one flat list of numbers."
    if isinstance(value, complex | np.complexfloating):
        return "A program takes real numbers: give real and imaginary part as two hyperparameters."
    if isinstance(value, str) and _reads_as_number(value):
        return f"Write {value.strip()} without quotes."
    return ""


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def structural(name: str, value: Any) -> Any:
    """Return the value if programs can be distinguished by it: it can be hashed, and equals itself."""
    try:
        hash(value)
        if bool(value == value):
            return value
    except Exception:  # an array, a list and a traced value each raise their own error
        pass
    hint = "write a tuple instead of a list" if isinstance(value, list) else "a number, a string, a tuple or a function"
    said = f" takes values that can be hashed and compared ({hint}), got {quoted(value)}."
    raise ArgumentTypeError(f"{name}: ", Code("jl.static", "static"), said)


def is_number(value: Any) -> bool:
    """Return whether it is a real number: Python's, or NumPy's or JAX's without axes."""
    if isinstance(value, bool | np.bool_ | str | complex | Tracer) or value is None:
        return False
    return isinstance(value, int | float) or (
        isinstance(value, np.number | np.ndarray | jax.Array)
        and np.ndim(value) == 0
        and jnp.issubdtype(value.dtype, np.number)
        and not jnp.issubdtype(value.dtype, np.complexfloating)
    )


def as_float(value: Any) -> float:
    """Convert the number to a float; infinity for an integer that is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def is_key(key: Any) -> bool:
    """Return whether it is a JAX random key: a typed one, or an old raw one."""
    if not isinstance(key, jax.Array) or isinstance(key, Tracer):
        return False
    raw = jax.random.key_data(jax.random.key(0))
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    return typed or (key.dtype, key.shape) == (raw.dtype, raw.shape)


def check_mapping(what: str, space: Any) -> None:
    """Raise TypeError where a space is not a dict."""
    if not isinstance(space, Mapping):
        raise ArgumentTypeError(f"{what} takes a dict of hyperparameters, got {quoted(space)}.")
