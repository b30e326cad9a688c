"""Evaluate a loss on parameters of which Optax's wrappers show only a part."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxopt_lab.types import MaskedNode, Params


class Filled:
    """The loss of parameters of which some are missing; see `filled`."""

    def __init__(self, loss: Callable[..., Any], params: Params) -> None:
        functools.update_wrapper(self, loss)  # Optax's line searches read which arguments it takes
        self.loss, self.params = loss, params

    def __call__(self, params: Params, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the loss at the completed parameters."""
        return self.loss(self._completed(params), *args, **kwargs)

    def _completed(self, params: Params) -> Params:
        if has_holes(params):
            complete = lambda part, whole: whole if _is_hole(part) else part
            return jax.tree.map(complete, params, self.params, is_leaf=_is_hole)
        shape = lambda tree: (jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)])
        if getattr(params, "ndim", 0) == 1 and shape(params) != shape(self.params):
            return ravel_pytree(self.params)[1](params)
        return params


def filled(loss: Callable[..., Any], params: Params) -> Callable[..., Any]:
    """Make the loss accept the parameters as Optax's wrappers pass them.

    `optax.partition` and `optax.masked` show a method only the parameters that it trains, with `optax.MaskedNode` in
    place of the others; `optax.flatten` shows it one vector. A method that evaluates the loss by itself (`sam`,
    `sophia`, `adahessian`, `lbfgs`) calls it with these. Missing parameters are taken from `params`, and a vector is
    cut into their shapes. A sweep does this by itself; in a loop of your own, pass

        updates, state = optimizer.update(grads, state, params, value_fn=jl.filled(loss, params))

    Args:
        loss: The loss, a function of all parameters. Further arguments are passed on to it.
        params: All parameters, as they are before the step.

    Returns:
        The loss, as a function of the parameters, whole, with holes, or as one vector.

    """
    return Filled(loss, params)


def answered(derive: Callable[[Any, Any], Any], kept: Params, params: Params) -> Params:
    """Return `derive(kept, w)` for every parameter w, in its dtype; w itself where `optax.masked` has left it out."""
    chosen = lambda kept, w: w if _is_hole(kept) else derive(kept, w).astype(jnp.result_type(w))
    return jax.tree.map(chosen, kept, params, is_leaf=_is_hole)


def has_holes(params: Params) -> bool:
    """Tell whether `optax.masked` has left out some of the parameters."""
    return any(map(_is_hole, jax.tree.leaves(params, is_leaf=_is_hole)))


def _is_hole(x: Any) -> bool:
    return isinstance(x, MaskedNode)
