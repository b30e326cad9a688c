"""Accessors: what rooms above add to results, such as `results.plot`, without results knowing of them."""

from collections.abc import Callable
from typing import Any


class Accessor:
    """An attribute of a class whose value is made of the instance, each time it is asked for."""

    def __init__(self, make: Callable[[Any], Any]):
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self._make(instance)


def register(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    """Give the class `owner` an attribute `name`, made of each instance by `make`.

    Raises:
        ValueError: The class has an attribute of that name already.

    """
    if hasattr(owner, name):
        raise ValueError(f"{owner.__name__} already has {name!r}. Register the accessor under another name.")
    setattr(owner, name, Accessor(make))
