"""What a golden row is: how a recorded setting of the authors' own code is expressed in ours."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax


class Row(NamedTuple):
    method: str  # the name in `jaxopt_lab.OPTIMIZERS`
    make: Callable[[], Any]
    bound: float = 1e-10  # largest difference of a parameter, over the largest way from the start
    why: str = ""


def with_l2(decay, optimizer):
    """Weight decay as L2 regularisation: added to the gradient."""
    return optax.chain(optax.add_decayed_weights(decay), optimizer)
