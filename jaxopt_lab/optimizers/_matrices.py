"""Methods for matrices, and beside them Adam for all other parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxopt_lab.optimizers._base import needs_params, optimizer
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._layout import as_matrices, as_tensor, layouts_of
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import MaskedNode, Optimizer, Params, Scalar, ScalarOrSchedule


class MatricesState(NamedTuple):
    matrices: Any  # the method's state of the parameters that are matrices
    adam: Any  # Adam's state of the other parameters


def beside_adam(
    name: str,
    of_matrices: Callable[[Mask], Optimizer],
    of_others: Callable[[Mask], Optimizer],
    matrices: Any,
    mask: Mask,
) -> Optimizer:
    """Train the matrices by one method and all other parameters by another.

    Args:
        name: The public name of the pair.
        of_matrices: Makes the method of a tree of matrices, from the mask of weight decay. They have the shape
            (..., inputs, outputs): a stack of matrices has its further axes first.
        of_others: Makes the other method.
        matrices: Which parameters are matrices, and how: see `muon`.
        mask: Which parameters decay.

    """

    def parts(params):
        now = mask(params) if callable(mask) else mask
        return layouts_of(matrices, params), of_matrices(now), of_others(now)

    def init(params: Params) -> MatricesState:
        needs_leaves(params, name)
        layouts, inner, other = parts(params)
        inside, outside = _split(params, layouts)
        return MatricesState(inner.init(inside), other.init(outside))

    def update(grads, state, params=None):
        needs_params(params, name, "decays")
        layouts, inner, other = parts(params)
        (g, other_g), (w, other_w) = _split(grads, layouts), _split(params, layouts)
        steps, inner_state = inner.update(g, state.matrices, w)
        other_steps, other_state = other.update(other_g, state.adam, other_w)
        join = lambda g, layout, step, other: as_tensor(step, g.shape, layout) if layout else other
        return jax.tree.map(join, grads, layouts, steps, other_steps), MatricesState(inner_state, other_state)

    return optimizer(init, update)


def beside_adamw(
    name: str,
    ascent: Optimizer,
    adam: Optimizer,
    rates: tuple[ScalarOrSchedule, ScalarOrSchedule | None],
    decays: tuple[ScalarOrSchedule, ScalarOrSchedule],
    matrices: Any,
    mask: Mask,
    cautious: bool = False,
) -> Optimizer:
    """Train the matrices against `ascent` and all other parameters against `adam`, both with decoupled weight decay.

    Args:
        name: The public name of the pair.
        ascent: The direction of the matrices' step, uphill.
        adam: That of the other parameters.
        rates: The learning rates of both; None is the matrices'.
        decays: The weight decays of both.
        matrices: As in `beside_adam`.
        mask: As in `beside_adam`.
        cautious: Whether only parameters decay whose step goes the same way.

    """
    rate, other_rate = rates
    other_rate = rate if other_rate is None else other_rate
    return beside_adam(
        name,
        lambda mask: decoupled(ascent, name, rate, decays[0], mask, cautious=cautious),
        lambda mask: decoupled(adam, name, other_rate, decays[1], mask, cautious=cautious),
        matrices,
        mask,
    )


def _split(tree: Params, layouts: Params) -> tuple[Params, Params]:
    """Split a tree into its matrices and its other leaves, each with holes in place of what the other has."""
    hole = MaskedNode()
    matrices = jax.tree.map(lambda x, layout: as_matrices(x, layout) if layout else hole, tree, layouts)
    return matrices, jax.tree.map(lambda x, layout: hole if layout else x, tree, layouts)


def shape_factor(x: Array, scaling: str | None, consistent_rms: Scalar | None = None) -> Any:
    """Return what an orthogonal step of the shape of x is multiplied by, as a method's arguments of these names ask.

    Args:
        x: A matrix (inputs, outputs), or a stack of them.
        scaling: "original": sqrt(max(1, outputs / inputs)); "spectral_norm": sqrt(outputs / inputs); None: 1.
        consistent_rms: In place of it, consistent_rms * sqrt(max(inputs, outputs)).

    """
    inputs, outputs = x.shape[-2:]
    if consistent_rms is not None:
        return consistent_rms * max(inputs, outputs) ** 0.5
    if scaling not in ("original", "spectral_norm", None):
        raise ValueError(f'scaling must be "original", "spectral_norm" or None, got {scaling!r}.')
    if scaling is None:
        return 1.0
    ratio = outputs / inputs
    return (max(1.0, ratio) if scaling == "original" else ratio) ** 0.5


def frobenius(x: Array) -> Array:
    """Return the Frobenius norm of each matrix of a stack; its derivative is 0 where all elements are 0."""
    square = jnp.sum(squared(x), (-2, -1), keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def over(x: Any, divisor: Array) -> Array:
    """Return x / divisor, and 0 where the divisor is 0."""
    return jnp.where(divisor > 0, x / jnp.where(divisor > 0, divisor, 1), 0)


def with_rms(x: Array, rms: Scalar | None) -> Array:
    """Scale each matrix to this root mean square of its elements; None: Adam's, about 0.2."""
    rows, columns = x.shape[-2:]
    return over((0.2 if rms is None else rms) * (rows * columns) ** 0.5, frobenius(x)) * x
