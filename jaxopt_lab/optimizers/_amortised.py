"""Costly work every few steps, by a condition that stays one where many trials are mapped together.

JAX turns a batched `lax.cond` into a selection, which computes both sides in every step. Trials that step together
need their costly work in the same steps, unless some skip steps, so here the mapped condition is whether any needs it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool


def every(interval: int, t: Array, costly: Callable[..., Any], cheap: Callable[..., Any], *operands: Any) -> Any:
    """Return costly(*operands) at steps t = 0, interval, 2 interval ..., and cheap(*operands) at all others."""
    return when(t % interval == 0, costly, cheap, *operands)


def when(due: Bool[Array, ""], costly: Callable[..., Any], cheap: Callable[..., Any], *operands: Any) -> Any:
    """Return costly(*operands) if due, else cheap(*operands); mapped, costly is computed if any is due.

    Neither may close over traced arrays: they are operands. Results have the dtypes of those of `cheap`.
    """
    leaves, tree = jax.tree.flatten(operands)
    like, results = jax.tree.flatten(jax.eval_shape(cheap, *operands))
    cast = lambda found: [jnp.asarray(x, y.dtype) for x, y in zip(jax.tree.leaves(found), like, strict=True)]
    of_leaves = lambda function: lambda *leaves: cast(function(*tree.unflatten(leaves)))
    return results.unflatten(_condition(of_leaves(costly), of_leaves(cheap))(jnp.asarray(due), *leaves))


def _condition(costly: Callable[..., list[Array]], cheap: Callable[..., list[Array]]) -> Callable[..., list[Array]]:
    """Return the condition as a function of the predicate and of the operands."""
    plain = lambda due, *operands: jax.lax.cond(due, costly, cheap, *operands)
    mapped = custom_vmap(plain)

    @mapped.def_vmap
    def over_trials(trials, is_mapped, due, *operands):
        axes = tuple(0 if yes else None for yes in is_mapped[1:])
        dear, free = (jax.vmap(f, in_axes=axes, axis_size=trials) for f in (costly, cheap))

        def some(due, *operands):
            select = lambda a, b: jnp.where(due.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            return list(map(select, dear(*operands), free(*operands)))

        if is_mapped[0]:  # again a condition of this kind: its own predicate may be mapped by an outer axis
            found = _condition(some, lambda due, *operands: free(*operands))(jnp.any(due), due, *operands)
        else:
            found = _condition(dear, free)(due, *operands)
        return found, [True] * len(found)

    differentiable = jax.custom_jvp(mapped)  # a `custom_vmap` by itself has no derivative backwards
    differentiable.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))
    return differentiable
