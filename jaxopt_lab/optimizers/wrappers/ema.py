"""EMA: an exponential moving average of the parameters as the method's answer."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import copied, needs_params
from jaxopt_lab.optimizers._numerics import needs_numbers, widened
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import ExtraArgsOptimizer, MaskedNode, Optimizer, Params, Scalar


class EmaState(NamedTuple):
    average: Params  # running mean of the parameters
    inner: Any  # the optimizer's state

    def evaluation_params(self, params: Params) -> Params:
        """Return the average, which is the answer; `params` where `optax.masked` has left parameters out."""
        is_hole = lambda x: isinstance(x, MaskedNode)
        chosen = lambda average, w: w if is_hole(average) else average.astype(jnp.result_type(w))
        return jax.tree.map(chosen, self.average, params, is_leaf=is_hole)


def ema(optimizer: Optimizer, decay: Scalar = 0.999, *, average_dtype: Any = None) -> Optimizer:
    """Average the parameters that an optimizer visits (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046).

        w       <- w + update(g, w)
        average <- decay average + (1 - decay) w            from the initial parameters

    The average is the answer, at which a sweep evaluates held-out data: `state.evaluation_params(params)`. Training is
    not affected. The average begins at the initial parameters without bias correction, as practice has it: after t
    steps it still holds decay^t of them, so `decay` should be well below 1 - 1/t for the length t of a trial.

    In a sweep, write a function of its hyperparameters:

        def averaged(learning_rate, ema_decay):
            return jl.ema(jl.adamw(learning_rate), ema_decay)

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. In a chain, `ema` is
            around the whole of it, since it needs the final updates.
        decay: Share of the average that a step keeps, in [0, 1]; 0 averages nothing. Scalar or traced.
        average_dtype: Of the average, for example "float32" beside bfloat16 parameters; None keeps the parameters', but
            for float32 beside float16 ones.

    Returns:
        The (init, update) pair, with the optimizer's own updates.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> EmaState:
        needs_numbers(params)
        return EmaState(copied(params, average_dtype), optimizer.init(params))

    def update(grads, state, params=None, **extra):
        needs_params(params, "ema", "averages")
        updates, inner = optimizer.update(grads, state.inner, params, **accepted(optimizer.update, extra))

        def moved(average, w, u):
            new = jnp.asarray(w + u).astype(jnp.result_type(w))  # as `optax.apply_updates`
            return (decay * widened(average) + (1 - decay) * widened(new)).astype(average.dtype)

        return updates, EmaState(jax.tree.map(moved, state.average, params, updates), inner)

    return ExtraArgsOptimizer(init, cast(Any, update))
