"""What an optimizer's `update` must return, looked at while a step is traced."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.validation import quoted


def checked(name: str, optimizer: Any) -> Any:
    """The optimizer `name`, which raises TypeError where its state or its updates are of a kind that no step can take.

    That updates have the shapes of the parameters, and a state those that it had, is checked where they are used.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"Optimizer {name!r} must return an (init, update) pair, got {type(optimizer).__name__}.")
    if not isinstance(optimizer, optax.GradientTransformation):
        return optimizer

    @functools.wraps(optimizer.update)
    def update(grads, state, params=None, **extra):
        found: Any = optimizer.update(grads, state, params, **extra)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"Optimizer {name!r}: update must return (updates, state), got {quoted(found, 80)}. Return both."
            )
        if jax.tree.structure(state) == jax.tree.structure(found[1]):
            for (path, old), new in zip(
                jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(found[1]), strict=True
            ):
                _check_leaf(f"Optimizer {name!r}: its state{jax.tree_util.keystr(path)}", old, new)
        return found

    return optimizer._replace(update=update)


def _check_leaf(where: str, old: Any, new: Any) -> None:
    for x in (old, new):
        if not hasattr(x, "dtype") and not isinstance(x, bool | int | float | complex):
            raise TypeError(f"{where} must be an array, got {quoted(x, 80)}. Keep it out of what is carried on.")
    before, after = jnp.result_type(old), jnp.result_type(new)
    if before != after and not jax.typeof(old).weak_type:
        raise TypeError(f"{where} is {before} at first and {after} after a step. Convert it to one type.")
