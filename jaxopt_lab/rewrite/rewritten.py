"""The rules together, and functions rewritten by them."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax

from jaxopt_lab.rewrite.convolutions import PATCHES
from jaxopt_lab.rewrite.pooling import MAXIMUM, SUM
from jaxopt_lab.rewrite.products import MERGED
from jaxopt_lab.rewrite.walk import rewritten_by

F = TypeVar("F", bound=Callable[..., Any])

RULES = {
    "dot_general": MERGED,
    "conv_general_dilated": PATCHES,
    "reduce_window_max": MAXIMUM,
    "reduce_window_sum": SUM,
}
"""By the name of JAX's operation: the rule that rewrites it."""


def rewriting(function: F, used: Callable[[str], None] = lambda name: None) -> F:
    """Rewrite a function whatever the device; `used` is called with the name of a rule each time it applies."""
    return rewritten_by(RULES, function, used)


def rewritten(function: F) -> F:
    """Rewrite a loss, or a model, to operations that a CPU runs faster, for a training loop of your own.

        step = jax.jit(jax.value_and_grad(jl.rewritten(loss)))

    Convolutions become products of patches, pooling becomes slices, and products with several axes become products of
    matrices. The results and their derivatives are the same numbers, except that sums may be in another order. Sweeps
    do this by themselves, unless `rewrite=False`. Rewrite what is differentiated, not its gradient, and compile what
    calls it.

    Args:
        function: Any function that JAX can trace. Arguments that are not JAX arrays, such as flags, stay as they are.

    Returns:
        A function with the same arguments and results. Where JAX's default backend is not a CPU, it calls `function`.

    """
    on_cpu = rewriting(function)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return (on_cpu if jax.default_backend() == "cpu" else function)(*args, **kwargs)

    return cast(F, run)
