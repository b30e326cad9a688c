"""The extra arguments that a method may ask for, and how they are passed to it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

EXTRAS = {
    "value": "the loss at params",
    "value_fn": "the loss as a function of the parameters",
    "key": "a random key of this step",
}
"""What a method may need beside the gradient. The training loop passes all of it."""

ALIASES = {"obj_fn": "value_fn"}
"""Optax's names for the same: its Sophia asks for `obj_fn`."""


def accepted(update: Callable[..., Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extra arguments that `update` accepts: all if it ends in `**extra`, else those that it names."""
    parameters = list(inspect.signature(update).parameters.values())
    positional, others = {p.name for p in parameters[:3]}, {p.name for p in parameters[3:]}  # under any names
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return {n: value for n, value in extra.items() if n in others or (takes_all and n not in positional)}
