"""Arrays whose axes are in another order than their program says, and the transposes that bring them into one."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Order = tuple[int, ...]

CARRIED, GIVEN = 1, 2  # bits for what a value depends on: the loop's state, arrays from outside the loop


class Laid(NamedTuple):
    """An array in some axis order; or an array raveled to one axis, possibly out of another order.

    Attributes:
        value: `transpose(array, order)`.
        order: The order of the array's axes.
        depends: What it depends on, as bits.
        spread: Whether it repeats one number or row, so that a transpose is free.
        within: For an array raveled from another axis order: its shape and that order.

    """

    value: Any
    order: Order
    depends: int = 0
    spread: bool = False
    within: tuple[Order, Order] | None = None


class Orders:
    """Brings arrays into orders, and counts what that moves.

    Attributes:
        copies: Whether products may take transposed copies of their operands, which pay on a CPU.
        swapped: Whether the operands of a product are swapped.
        moved: How many numbers per trial are transposed.
        moved_before: How many are transposed as originally written.

    """

    def __init__(self, copies: bool):
        self.copies = copies
        self.swapped, self.moved, self.moved_before = False, 0, 0

    def ordered(self, x: Laid, order: Order, within: Any = None) -> Any:
        """Return the array in this order."""
        if (x.order, x.within) == (order, within):
            return x.value
        value = x.value
        if x.within is not None:
            shape, inner = x.within
            value = self._moved(x, value.reshape([shape[axis] for axis in inner]), inverse(inner)).reshape(-1)
        value = self._moved(x, value, [x.order.index(axis) for axis in order])
        return value if within is None else self._moved(x, value.reshape(within[0]), within[1]).reshape(-1)

    def _moved(self, x: Laid, value: Any, permutation: Sequence[int]) -> Any:
        """Transpose a value of `x`, and count it."""
        self.moved += numbers_moved(x, value.shape, permutation)
        return turned(value, permutation)

    def plain(self, x: Laid) -> Any:
        """Return the array in its original order."""
        return self.ordered(x, tuple(sorted(x.order)))

    def unraveled(self, x: Laid) -> Laid:
        """Return a raveled array in its original order."""
        return x if x.within is None else x._replace(value=self.plain(x), within=None)


def as_given(x: Any) -> Order:
    return tuple(range(jnp.ndim(x)))


def is_turned(order: Sequence[int]) -> bool:
    return list(order) != sorted(order)


def numbers_moved(x: Laid, shape: Sequence[int], permutation: Sequence[int]) -> int:
    """Count the numbers per trial that a transpose moves."""
    moves = is_turned([axis for axis in permutation if shape[axis] != 1])
    return math.prod(shape) if moves and x.depends & CARRIED and not x.spread else 0


def turned(x: Any, order: Sequence[int]) -> Any:
    return jax.lax.transpose(x, order) if is_turned(order) else x


def inverse(order: Order) -> Order:
    return tuple(order.index(axis) for axis in range(len(order)))


def without(order: Order, axes: Sequence[int]) -> Order:
    """Return the order of the remaining axes, renumbered."""
    left = [axis for axis in order if axis not in axes]
    return tuple(sorted(left).index(axis) for axis in left)
