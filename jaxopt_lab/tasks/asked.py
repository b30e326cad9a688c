"""What a task's functions ask for: what they need beyond their first arguments, they name after a bare `*`."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FIRST = {"init": 1, "train": 1, "augment": 2, "loss": 2, "metric": 2, "predict": 2, "rebuild": 1}
"""How many arguments each function gets by position."""
PROVIDED = {
    "init": {},
    "train": {},
    "augment": {},
    "loss": {
        "key": "a random key of the step; None on held-out data",
        "state": "what the loss keeps from step to step, such as batch statistics",
        "training": "True in a training step, False on held-out data",
    },
    "metric": {"state": "the loss's state"},
    "predict": {"state": "the loss's state"},
}
"""What each function may ask for, beside its own hyperparameters."""
MISTAKEN = {
    **dict.fromkeys(("train", "is_training", "is_train", "train_mode", "deterministic"), "training"),
    **dict.fromkeys(("rng", "rngs", "rng_key", "prng_key", "random_key"), "key"),
}
"""Names that other libraries have for what a loss may ask for; one of them would silently keep its default."""
NAMES = frozenset(name for names in PROVIDED.values() for name in names)
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def asked(function: Callable[..., Any], first: int) -> Mapping[str, Any]:
    """Return the names that a function takes beyond its `first` arguments, with their defaults.

    The default of a name without one is `inspect.Parameter.empty`. A function written in C has no names.
    """
    try:
        return _asked(function, first)
    except TypeError:  # it cannot be hashed
        return _asked.__wrapped__(function, first)


@functools.lru_cache(maxsize=1024)
def _asked(function: Callable[..., Any], first: int) -> Mapping[str, Any]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return {}
    taken = [p for p in parameters if p.kind in POSITIONAL][:first]
    return {p.name: p.default for p in parameters if p.kind in NAMED and p not in taken}


def is_numeric(default: Any) -> bool:
    """Return whether a default is a number, so that its name is a numeric hyperparameter."""
    number = isinstance(default, int | float | np.integer | np.floating)
    return number and not isinstance(default, bool | np.bool_)
