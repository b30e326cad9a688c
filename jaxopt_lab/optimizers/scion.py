"""Scion: steps of a fixed length in a norm that suits each parameter: spectral, of signs, of columns or of rows."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._layout import as_matrices, as_tensor, layouts_of
from jaxopt_lab.optimizers._newton_schulz import JORDAN, orthogonalizer
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import MaskedNode, Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ScionState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g


def _length(x: Array, axis: int) -> Array:
    return jnp.sqrt(jnp.sum(squared(x), axis, keepdims=True))


SPECTRAL: dict[str, Callable[[int, int], float]] = {
    "spectral": lambda inputs, outputs: (outputs / inputs) ** 0.5,
    "spectral_max": lambda inputs, outputs: max(1, outputs / inputs) ** 0.5,
    "spectral_unscaled": lambda inputs, outputs: outputs**0.5,
}
"""For the names of spectral norms, what an orthogonal matrix is multiplied by."""

OTHERS: dict[str, Callable[[Array, Scalar], Array]] = {
    "sign": lambda x, eps: jnp.sign(x) / x.shape[-2],
    "sign_unscaled": lambda x, eps: jnp.sign(x),
    "columns": lambda x, eps: x / (_length(x, -1) / x.shape[-1] ** 0.5 + eps),
    "rows": lambda x, eps: x / (_length(x, -2) * x.shape[-2] ** 0.5 + eps),
}
"""For the names of the other norms of matrices (..., inputs, outputs), the direction of the step, uphill."""


@method(
    learning_rate=Prior(1e-4, 1e-1, "log", "the authors' examples, 2^-12 and more, up to where it reaches the scale"),
    beta=Prior(0.5, 0.99, "one_minus", "around the authors' 0.9 (they count from the other side: 0.1)"),
    scale=Prior(1.0, 3000.0, "log", "the authors' 50 for hidden layers, 3000 for the last, down to their default 1"),
)
def scion(
    learning_rate: ScalarOrSchedule,
    beta: Scalar = 0.9,
    scale: Any = 1.0,
    eps: Scalar = 1e-7,
    norm_eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 1.0,
    *,
    norms: Any = None,
    ns_coeffs: Sequence[Any] | str = JORDAN,
    ns_steps: int = 5,
    ns_dtype: Any = None,
    matrices: Any = None,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Scion (Pethick et al. 2025, Algorithms 1 and 2, https://arxiv.org/abs/2502.07529).

        m <- beta m + (1 - beta) g
        a <- the matrix with the largest inner product with m among those of norm 1
        w <- w - learning_rate * (scale * a + weight_decay * w)

    With weight_decay 1, w stays within the ball of radius `scale` of its norm (Algorithm 2, constrained); with 0 it is
    free (Algorithm 1, unconstrained). Every parameter has its norm, by name; for matrices w of shape (inputs, outputs),

        spectral        a <- sqrt(outputs / inputs) o                          o: m, orthogonalised as in Muon
        spectral_max    a <- sqrt(max(1, outputs / inputs)) o
        sign            a <- sign(m) / inputs                                  advised for the last layer
        columns         a <- m / (root mean square over the outputs)           advised for the first, of one-hot inputs
        rows            a <- m / (root of the sum of squares over the inputs * sqrt(inputs))
        rms             a <- m / (root mean square of all elements)            for vectors

    and `spectral_unscaled`, `sign_unscaled` without `inputs`. This is the authors' code; columns and rows are those of
    its matrices (outputs, inputs).

    Args:
        learning_rate: Step size, > 0; with weight_decay 1 the share of the way to the bound, < 1; scalar, traced or a
            schedule `step -> value`.
        beta: Decay of the mean of g, in [0, 1): 1 - `momentum` in the authors' code, whose default is 0 and which has
            0.9 in its examples.
        scale: Size of the steps, > 0, in units of w; a number, or a tree of numbers with the parameters' structure or
            a prefix of it.
        eps: Added to the Frobenius norm before the orthogonalisation, > 0, in units of g.
        norm_eps: Added to the other divisors, > 0, in units of g.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; may be a schedule.
        norms: The name of each parameter's norm: a tree of names with the parameters' structure (or a prefix), or a
            function from the parameters to one. None, and where a name is "auto": spectral for matrices, rms for all
            other parameters.
        ns_coeffs: The Newton-Schulz polynomials, or their name, or "exact": see `muon`.
        ns_steps: Number of Newton-Schulz steps, where there is one triple of coefficients.
        ns_dtype: Dtype of the Newton-Schulz steps of real matrices: "bfloat16" as in the authors' code. None: at least
            float32.
        matrices: Which parameters are matrices, and how: see `muon`. None: those of two axes.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters; a norm has another name, or is one of matrices where the
            parameter is none; or `matrices` or `ns_coeffs` is wrong as `muon` says.

    """
    orthogonalized = orthogonalizer(ns_coeffs, ns_steps, eps, ns_dtype)

    def named(name, w, layout):
        """Return the name of the norm of the parameter w, checked."""
        name = name if name != "auto" else "spectral" if layout else "rms"
        if name != "rms" and not (layout and name in {**SPECTRAL, **OTHERS}):
            names = ("auto", "rms", *SPECTRAL, *OTHERS) if layout else ("auto", "rms")
            raise ValueError(
                f"scion got the norm {name!r} for a parameter of shape {w.shape}, which is {'' if layout else 'not '}a "
                f"matrix: give one of {names}, or see the argument `matrices`."
            )
        return name

    def init(params: Params) -> ScionState:
        needs_leaves(params, "scion")
        return ScionState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def ascend(grads, state, params=None):
        m = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.m, grads)
        layouts = layouts_of(matrices, params)
        said = "auto" if norms is None else norms(params) if callable(norms) else norms
        names = jax.tree.map(named, jax.tree.broadcast(said, params), params, layouts)
        flat = lambda m, layout: as_matrices(m, layout) if layout else m
        spectral = lambda m, layout, name: flat(m, layout) if name in SPECTRAL else MaskedNode()
        o = in_stacks(orthogonalized, jax.tree.map(spectral, m, layouts, names))

        def direction(m, layout, name, o, scale):
            if name == "rms":
                return scale * m / (jnp.sqrt(jnp.mean(squared(m))) + norm_eps)
            x = flat(m, layout)
            a = SPECTRAL[name](*x.shape[-2:]) * o if name in SPECTRAL else OTHERS[name](x, norm_eps)
            return scale * as_tensor(a, m.shape, layout)

        a = jax.tree.map(direction, m, layouts, names, o, jax.tree.broadcast(scale, params))
        return a, ScionState(next_step(state.t), m)

    return decoupled(optimizer(init, ascend), "scion", learning_rate, weight_decay, weight_decay_mask)
