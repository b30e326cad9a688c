"""Parameters held as one vector, for methods that treat every element alike."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.optimizers._numerics import needs_numbers
from jaxopt_lab.types import Params


@functools.partial(jax.tree_util.register_dataclass, data_fields=["vectors"], meta_fields=["places", "structure"])
@dataclasses.dataclass(frozen=True)
class Flat:
    """A tree of arrays in one vector for each of their dtypes; itself a tree of these vectors.

    Attributes:
        vectors: The leaves, one after the other.
        places: Of each leaf, the index of its vector and its shape.
        structure: Of the tree.

    """

    vectors: tuple[Array, ...]
    places: tuple[tuple[int, tuple[int, ...]], ...]
    structure: Any

    @property
    def tree(self) -> Params:
        """Return the tree of arrays, as a model reads it. Gradients are joined as the parameters are."""
        of = lambda vector: [math.prod(shape) for index, shape in self.places if index == vector]
        pieces = [iter(jax.lax.split(vector, of(i))) for i, vector in enumerate(self.vectors)]
        return jax.tree.unflatten(self.structure, [next(pieces[i]).reshape(shape) for i, shape in self.places])


def flat(params: Params) -> Flat:
    """Hold parameters as one vector (one for each dtype), so that a thousand small leaves cost what one array costs.

    Each leaf takes one to three kernels, in every step and when compiling. Held flat from the first step to the last,
    all leaves share one:

        w = jl.flat(params)
        state = optimizer.init(w)
        grads = jax.grad(lambda w: loss(w.tree))(w)
        updates, state = optimizer.update(grads, state, w)
        w = optax.apply_updates(w, updates)

    or, where gradients come as a tree, `grads = jl.flat(grads)`. Likewise a task's `init` may return `jl.flat(params)`
    and its loss read `w.tree`. This pays for many small leaves. On a CPU, a function that reads `w.tree` takes longer
    to compile, since XLA compiles the slice of each leaf by itself: a short training of a model with hundreds of leaves
    is faster without.

    An element's step must not depend on the tensor it is in: methods that measure each tensor by itself (such as
    `lars`, `lamb`, `muon`, `adafactor`, `sm3`, `adamp`, `adam_mini` and layerwise `dog`) and masks of weight decay
    raise ValueError. Optax's methods of that kind do not, and treat the vector as one tensor.

    Args:
        params: Any tree of arrays.

    Returns:
        The vectors and how to read them: `Flat.tree`.

    Raises:
        TypeError: A leaf is not a floating-point or complex array.

    """
    needs_numbers(params)
    leaves, structure = jax.tree.flatten(params)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    dtypes = list(dict.fromkeys(leaf.dtype for leaf in leaves))
    vectors = tuple(jnp.concatenate([leaf.ravel() for leaf in leaves if leaf.dtype == dtype]) for dtype in dtypes)
    return Flat(vectors, tuple((dtypes.index(leaf.dtype), leaf.shape) for leaf in leaves), structure)


def needs_leaves(params: Params, what: str) -> None:
    """Raise ValueError if the parameters are held flat: `what` treats each tensor by itself."""
    is_flat = lambda x: isinstance(x, Flat)
    if any(map(is_flat, jax.tree.leaves(params, is_leaf=is_flat))):
        raise ValueError(
            f"{what} treats each tensor of the parameters by itself, which jl.flat has joined: give it the tree itself."
        )
