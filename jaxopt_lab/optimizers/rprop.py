"""Rprop: one step size per element, grown while its gradient keeps its sign and cut when the sign changes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, optimizer, reals_like, zeros_like
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar


class RpropState(NamedTuple):
    size: Params  # of the step of every parameter
    sign: Params  # of the gradient of the step before: -1, 0 or 1; 0 where no step was made


@method(
    learning_rate=Prior(
        1e-4, 1e-1, "log", "PyTorch's default 1e-2 and further down: sizes grow fast, and are cut fast"
    ),
)
def rprop(
    learning_rate: Scalar,
    eta_minus: Scalar = 0.5,
    eta_plus: Scalar = 1.2,
    min_step_size: Scalar = 1e-6,
    max_step_size: Scalar = 50.0,
    *,
    moment_dtype: Any = None,
) -> Optimizer:
    """Rprop without weight backtracking (Riedmiller & Braun 1993, https://doi.org/10.1109/ICNN.1993.298623), in its
    improved form iRprop- (Igel & Huesken 2003, https://doi.org/10.1016/S0925-2312(01)00700-7).

        size <- eta_plus * size          where g keeps the sign of the step before
        size <- eta_minus * size         where it changes; there no step is made, and the next one counts as the first
        size <- clip(size, min_step_size, max_step_size)      where either
        w <- w - size * sign(g)

    As in PyTorch, except for one thing: PyTorch also clips a size that neither grew nor shrank, which matters only if
    `learning_rate` is outside the limits. Optax 0.2.8 makes every step one step late. Meant for full batches: the sign
    of a random gradient changes by chance, and every change halves the step.

    Args:
        learning_rate: First step size of every parameter, > 0, in units of w; scalar or traced.
        eta_minus: Factor of a step size whose gradient turned, in (0, 1).
        eta_plus: Factor of a step size whose gradient kept its sign, > 1.
        min_step_size: Least step size, > 0, in units of w.
        max_step_size: Largest step size, in units of w.
        moment_dtype: Dtype of `size` and `sign`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `size` and `sign` have the shapes of the parameters.

    """

    def init(params: Params) -> RpropState:
        return RpropState(reals_like(params, moment_dtype, learning_rate), zeros_like(params, moment_dtype))

    def update(grads, state, params=None):
        kept = jax.tree.map(jnp.multiply, grads, state.sign)  # > 0: the sign was kept; < 0: it turned; 0: neither

        def resize(size, kept):
            factor = jnp.where(kept > 0, eta_plus, eta_minus)
            return jnp.where(kept == 0, size, jnp.clip(size * factor, min_step_size, max_step_size))

        size = jax.tree.map(resize, state.size, kept)
        sign = jax.tree.map(lambda g, kept: jnp.where(kept < 0, 0, jnp.sign(g)), grads, kept)
        return jax.tree.map(lambda size, sign: -size * sign, size, sign), RpropState(size, sign)

    return optimizer(init, update, real_only="rprop")
