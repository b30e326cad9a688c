"""The online problem on which Adam converges to the worst point, and the projection that it needs."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function
from jaxopt_lab.types import ExtraArgsOptimizer, Optimizer, Scalar


@about("theory", 100_000, "the best fixed point is -1; Adam goes to +1, AMSGrad to -1 (Reddi et al. 2018)")
@task_function
def reddi(large: float = 1010.0, small: float = 10.0, period: int = 101) -> Task:
    """Step t = 1, 2, ... has the loss large * x if t mod period = 1, else -small * x, for x in [-1, 1].

    A rare large gradient outweighs the frequent small ones, but Adam scales it down (Reddi, Kale & Kumar 2018,
    https://openreview.net/forum?id=ryQu7f-RZ, section 3). The mean loss of a period is m x, with
    m = (large - small (period - 1)) / period, 10 / 101 by default; its minimum is -m, at x = -1. Starts at x = 0 for
    every seed. The order of the losses is always the same: the loss counts t in its state.

    The domain is the optimizer's affair: train with `projected(method)`, which is in this file. The validation loss is
    m x at the point of [-1, 1] that is nearest to the trained one. In the paper's experiment, b1 = .9, b2 = .99 and
    the learning rate falls as 1 / sqrt(t) over 1e6 steps.

    Args:
        large: The rare gradient, > small * (period - 1).
        small: Size of the frequent gradients, > 0.
        period: Steps from one rare gradient to the next, >= 2. The paper's Theorem 1 has `small=1, period=3`.

    Raises:
        ValueError: An argument is out of range.

    """
    period = check_count("period", period, least=2)
    large, small = check_number("large", large), check_number("small", small)
    if not 0 < small * (period - 1) < large:
        raise ValueError(
            f"small must be > 0, and large > small * (period - 1), got large={large}, small={small}, period={period}."
        )
    mean = (large - small * (period - 1)) / period

    def loss(x, _, *, state, training):
        if training:
            return jnp.where(state % period == 1, large, -small).astype(x.dtype) * x, state + 1
        return mean * jnp.clip(x, -1, 1), state

    return Task(
        name="reddi",
        init=lambda key: (jnp.zeros(()), jnp.ones((), jnp.int32)),
        loss=loss,
        train=None,
        validation=np.zeros(1),  # not used, but without it nothing is evaluated
        minimum=-mean,
    )


def projected(optimizer: Optimizer, low: Scalar = -1.0, high: Scalar = 1.0) -> ExtraArgsOptimizer:
    """Project the parameters onto a box after each step of an optimizer.

        w <- clip(w + update(g, w), low, high)

    In a sweep, write a function of the method's hyperparameters:

        def adam_in_the_box(learning_rate):
            return projected(jl.adam(learning_rate))

    Args:
        optimizer: Any (init, update) pair. Its state does not see the projection.
        low: Least value of each parameter.
        high: Largest value of each parameter, >= low.

    Returns:
        The (init, update) pair, whose `update` needs the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def update(grads, state, params=None, **extra):
        if params is None:
            raise ValueError("projected moves parameters into a box, so call update(grads, state, params).")
        updates, state = optimizer.update(grads, state, params, **accepted(optimizer.update, extra))
        return jax.tree.map(lambda w, u: jnp.clip(w + u, low, high) - w, params, updates), state

    return optax.GradientTransformationExtraArgs(optimizer.init, cast(optax.TransformUpdateExtraArgsFn, update))
