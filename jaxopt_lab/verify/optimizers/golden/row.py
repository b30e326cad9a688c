"""One golden row: how ours expresses a recorded setting of the authors' own code."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax


class Row(NamedTuple):
    method: str  # the name in `jaxopt_lab.OPTIMIZERS`, or of the wrapper
    make: Callable[[], Any]
    bound: float = 1e-10  # largest difference of a parameter, relative to the largest distance from the start
    why: str = ""


def with_l2(decay, optimizer):
    """Add weight decay to the gradient, as L2 regularisation."""
    return optax.chain(optax.add_decayed_weights(decay), optimizer)
