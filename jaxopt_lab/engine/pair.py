"""What an optimizer's `update` must return, looked at while a step is traced."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.validation import quoted


def checked(name: str, optimizer: Any) -> Any:
    """The optimizer `name`, which raises TypeError where its state or its updates change in kind from step to step."""
    if not isinstance(optimizer, optax.GradientTransformation):
        return optimizer  # a pair of another kind

    @functools.wraps(optimizer.update)
    def update(grads, state, params=None, **extra):
        found: Any = optimizer.update(grads, state, params, **extra)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"Optimizer {name!r}: update must return (updates, state), got {quoted(found, 80)}. Return both."
            )
        _check_alike(f"Optimizer {name!r}: the updates", "the parameters", found[0], params, shapes_only=True)
        _check_alike(f"Optimizer {name!r}: the state after a step", "the state before", found[1], state)
        return found

    return optimizer._replace(update=update)


def _check_alike(what: str, other: str, tree: Any, like: Any, shapes_only: bool = False) -> None:
    """Raise TypeError where one tree has other leaves than the other."""
    if (found := jax.tree.structure(tree)) != (wanted := jax.tree.structure(like)):
        raise TypeError(f"{what} must be a tree like {other}, {quoted(wanted)}, got {quoted(found)}.")
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(like), strict=True):
        where = f"{what}{jax.tree_util.keystr(path)}"
        for z in (x, y):
            if not hasattr(z, "dtype") and not isinstance(z, bool | int | float | complex):
                raise TypeError(f"{where} must be an array, got {quoted(z, 80)}. Keep it out of what is carried on.")
        if jnp.shape(x) != jnp.shape(y):
            raise TypeError(f"{where} must have the shape of {other}, {jnp.shape(y)}, got {jnp.shape(x)}.")
        if not shapes_only and jnp.result_type(x) != jnp.result_type(y):
            raise TypeError(
                f"{where} must have the type of {other}, {jnp.result_type(y)}, got {jnp.result_type(x)}. Convert it."
            )
