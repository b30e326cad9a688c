"""Decompositions of matrices, on a CPU one after the other."""

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array


def decomposed(decompose: Callable[..., Any], *stacks: Array) -> Any:
    """Decompose matrices, (..., rows, columns): on a CPU one after the other, also where trials are mapped together.

    JAX's kernels for a CPU divide a stack among XLA's threads, and wait for them inside one of these threads. Where as
    many kernels run at once as there are threads, such as those of two factors on two cores, all threads wait, and the
    step never ends. A kernel that gets one matrix computes it where it is called: see `engine.compile.decompositions`.

    Args:
        decompose: A function of one matrix of each stack, which also takes stacks, as those of `jax.numpy.linalg` do.
        *stacks: Their axes before the last two are the same.

    """
    plain = lambda *matrices: decompose(*matrices)
    alone = jax.custom_jvp(sequential_vmap(plain))  # a `custom_vmap` by itself has no derivative backwards
    alone.defjvp(lambda primals, tangents: jax.jvp(plain, primals, tangents))

    def in_turn(*stacks):
        if not (lead := stacks[0].shape[:-2]):
            return alone(*stacks)
        found = jax.lax.map(lambda matrices: alone(*matrices), [x.reshape(-1, *x.shape[-2:]) for x in stacks])
        return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), found)

    return jax.lax.platform_dependent(*stacks, cpu=in_turn, default=plain)
