"""Caching of results, keyed by the exact arguments and JAX's settings."""

import dataclasses
import functools
import threading
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
    """Cache as `functools.lru_cache` does, but keyed by JAX's settings too, and by the `exact` keys of arguments.

    A thread that asks for what another one is making waits for it, so that no program is compiled twice. Calls with
    arguments that cannot be hashed are not cached.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        making: dict[Any, threading.RLock] = {}
        changing = threading.Lock()

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
            with changing:
                alone = making.setdefault(made, threading.RLock())
            try:
                with alone:
                    return cached(made)
            finally:
                with changing:
                    making.pop(made, None)

        return call

    return decorate


def exact(value: Any) -> Any:
    """Return a key that is equal only for values of the same type and content, inside tuples, lists and dicts too.

    To Python, 1, True and 1.0 are equal, and so are 0.0 and -0.0; NaN is not equal to itself. Programs may differ
    between all of these. Functions and other objects are compared by their own equality.
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
    """A mutable object: equal only to itself, and not usable as a cache key."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.value is other.value

    __hash__ = None  # pyright: ignore[reportAssignmentType]
