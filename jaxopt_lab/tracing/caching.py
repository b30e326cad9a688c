"""Remembering what was computed, by exactly what it was computed from."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxopt_lab.tracing.settings import settings

P = ParamSpec("P")
R = TypeVar("R")


def remembered(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache`, but by JAX's settings too, and by arguments that are `exact`ly the same.

    Calls whose arguments cannot be told apart by their value (an object that cannot be hashed) are simply made.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.lru_cache(maxsize)
        def cached(call: Any) -> R:
            return function(*call.args, **call.kwargs)  # pyright: ignore[reportCallIssue]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            made = _Call((exact(args), exact(kwargs), settings()), args, kwargs)
            try:
                hash(made)
            except TypeError:
                return function(*args, **kwargs)
            return cached(made)

        return call

    return decorate


def exact(value: Any) -> Any:
    """A key that is equal for values of one type and content alone, inside of tuples, lists and dicts as well.

    To Python, 1, True and 1.0 are equal, and so are 0.0 and -0.0; NaN is not equal to itself. Programs differ by all of
    these. Functions and other objects are what they are by themselves.
    """
    kind = type(value)
    if isinstance(value, float | complex):
        return kind, repr(value)
    if isinstance(value, tuple | list):
        return kind, tuple(map(exact, value))
    if isinstance(value, Mapping):
        return kind, tuple((exact(name), exact(x)) for name, x in value.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(exact, value))
    if isinstance(value, functools.partial):
        return kind, exact(value.func), exact(value.args), exact(value.keywords)
    if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
        return kind, value.dtype, value.shape, value.tobytes()
    if isinstance(value, jax.Array) and not isinstance(value, Tracer):
        held = jax.random.key_data(value) if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value
        return kind, value.dtype, value.weak_type, value.shape, np.asarray(held).tobytes()
    if dataclasses.is_dataclass(kind) and kind.__dataclass_params__.eq:  # pyright: ignore[reportAttributeAccessIssue]
        return kind, tuple(exact(getattr(value, field.name)) for field in dataclasses.fields(kind))
    try:
        hash(value)
    except TypeError:
        return _Itself(value)
    return kind, value


@dataclasses.dataclass(frozen=True, eq=False)
class _Call:
    """A call, equal to another with the same key."""

    key: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclasses.dataclass(frozen=True, eq=False)
class _Itself:
    """An object that may change: equal to itself, and no key of a cache."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    __hash__ = None  # pyright: ignore[reportAssignmentType]
