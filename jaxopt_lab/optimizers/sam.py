"""SAM: another optimizer's step, with the gradient taken at the nearby point of highest loss."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, needs_params, optimizer
from jaxopt_lab.optimizers._sums import inner
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.types import Optimizer, OptimizerFactory, Params, Prior, Scalar, ScalarOrSchedule


class SAMState(NamedTuple):
    base: Any  # the other optimizer's state


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "as SGD's with momentum"),
    rho=Prior(0.01, 0.5, "log", "Foret et al. 2021, Section 3.1, https://arxiv.org/abs/2010.01412"),
)
def sam(
    learning_rate: ScalarOrSchedule, rho: Scalar = 0.05, *, base: OptimizerFactory | None = None, adaptive: bool = False
) -> Optimizer:
    """Sharpness-aware minimisation (Foret et al. 2021, Algorithm 1, https://arxiv.org/abs/2010.01412).

        e <- rho g / |g|                   adaptive: rho w^2 g / ||w| g|  (Kwon et al. 2021,
        g <- gradient at w + e                       https://arxiv.org/abs/2102.11600)
        w <- w + step of base(learning_rate) from g

    with the Euclidean norm over all parameters. A step costs two gradients, both of the same batch.

    Args:
        learning_rate: Given to `base`; scalar, traced or a schedule `step -> value`.
        rho: Distance at which the second gradient is taken, >= 0, in units of w (adaptive: as a share of w).
        base: The factory of the other optimizer, called with the learning rate alone; None: `momentum`, heavy ball with
            0.9. Set its other hyperparameters with `functools.partial`. It gets the extra arguments that it accepts;
            `value` and `grad` are those at the point of the second gradient.
        adaptive: Whether the neighbourhood is scaled by |w|, element by element.

    Returns:
        The (init, update) pair; `update` needs `value_fn`.

    Raises:
        ValueError: `update` was called without the parameters or without `value_fn`.

    """
    descent = (momentum if base is None else base)(learning_rate)

    def init(params: Params) -> SAMState:
        return SAMState(descent.init(params))

    def update(grads, state, params=None, *, value_fn, **extra):
        needs_params(params, "sam", "looks around")
        scaled = jax.tree.map(lambda g, w: jnp.abs(w) * g, grads, params) if adaptive else grads
        norm = jnp.sqrt(inner(scaled, scaled))
        size = rho / jnp.where(norm > 0, norm, 1)
        away = lambda w, x: (w + size * (jnp.abs(w) * x if adaptive else x)).astype(w.dtype)
        value, gradient = jax.value_and_grad(value_fn)(jax.tree.map(away, params, scaled))
        sharp = jax.tree.map(jnp.conj, gradient)
        extra = accepted(descent.update, extra | {"value": value, "grad": sharp, "value_fn": value_fn})
        updates, new = descent.update(sharp, state.base, params, **extra)
        return updates, SAMState(new)

    return optimizer(init, update)
