"""What a rule is."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A rule that rewrites an operation.

    Attributes:
        name: Its name in results.
        apply: A function of the traced equation and its operands; returns the value of the equation by other
            operations, or None where the equation stays as it is.

    """

    name: str
    apply: Callable[..., Any]
