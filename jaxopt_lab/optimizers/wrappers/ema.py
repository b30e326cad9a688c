"""EMA: an exponential moving average of the parameters as the method's answer."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import copied, needs_params, next_step, step_count, value_at
from jaxopt_lab.optimizers._numerics import needs_numbers, widened
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.optimizers.wrappers.filled import answered
from jaxopt_lab.types import ExtraArgsOptimizer, Optimizer, Params, ScalarOrSchedule


class EmaState(NamedTuple):
    average: Params  # running mean of the parameters
    inner: Any  # the optimizer's state
    t: Int[Array, ""] | None = None  # steps taken so far, if decay is a schedule

    def evaluation_params(self, params: Params) -> Params:
        """Return the average, which is the answer; `params` where `optax.masked` has left parameters out."""
        return answered(lambda average, _: average, self.average, params)


def ema(optimizer: Optimizer, decay: ScalarOrSchedule = 0.999, *, average_dtype: Any = None) -> Optimizer:
    """Average the parameters that an optimizer visits (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046).

        w       <- w + update(g, w)
        average <- decay average + (1 - decay) w            from the initial parameters

    The average is the answer, at which a sweep evaluates held-out data: `state.evaluation_params(params)`. Training is
    not affected. The average begins at the initial parameters without bias correction, as practice has it: after t
    steps it still holds decay^t of them, so `decay` should be well below 1 - 1/t for the length t of a trial. PyTorch's
    `AveragedModel` begins at the parameters after the first step: a decay that is 0 there, and from the second step on
    as it is. A decay of t / (t + 1) weighs all steps equally (stochastic weight averaging), and one of 1 waits.

    In a sweep, write a function of its hyperparameters:

        def averaged(learning_rate, ema_decay):
            return jl.ema(jl.adamw(learning_rate), ema_decay)

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. In a chain, `ema` is
            around the whole of it, since it needs the final updates.
        decay: Share of the average that a step keeps, in [0, 1]; 0 averages nothing. Scalar, traced or a schedule
            `step -> value` of the steps taken before.
        average_dtype: Of the average, for example "float32" beside bfloat16 parameters; None keeps the parameters', but
            for float32 beside float16 ones.

    Returns:
        The (init, update) pair, with the optimizer's own updates.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> EmaState:
        needs_numbers(params)
        return EmaState(copied(params, average_dtype), optimizer.init(params), step_count(decay))

    def update(grads, state, params=None, **extra):
        needs_params(params, "ema", "averages")
        updates, inner = optimizer.update(grads, state.inner, params, **accepted(optimizer.update, extra))
        kept = value_at(decay, state.t)

        def moved(average, w, u):
            new = jnp.asarray(w + u).astype(jnp.result_type(w))  # as `optax.apply_updates`
            return (kept * widened(average) + (1 - kept) * widened(new)).astype(average.dtype)

        return updates, EmaState(jax.tree.map(moved, state.average, params, updates), inner, next_step(state.t))

    return ExtraArgsOptimizer(cast(Any, init), cast(Any, update))
