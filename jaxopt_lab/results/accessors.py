"""Accessors: attributes such as `results.plot` that higher layers add to results, which do not import those layers."""

from collections.abc import Callable
from typing import Any


class Accessor:
    """An attribute of a class whose value is made from the instance each time it is read."""

    def __init__(self, make: Callable[[Any], Any]):
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self._make(instance)


def register(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    """Give the class `owner` an attribute `name`, which `make` makes from the instance.

    Raises:
        ValueError: The class already has an attribute of that name.

    """
    if hasattr(owner, name):
        raise ValueError(f"{owner.__name__} already has {name!r}. Register the accessor under another name.")
    setattr(owner, name, Accessor(make))


def register_method(owner: type, function: Callable[..., Any]) -> None:
    """Give the class `owner` a method: a function whose first argument is the instance.

    Raises:
        ValueError: The class already has an attribute of that name.

    """
    name = function.__name__
    if hasattr(owner, name):
        raise ValueError(f"{owner.__name__} already has {name!r}. Register the method under another name.")
    setattr(owner, name, function)
