"""What is kept of a trial: the parameters of its last step, or of its best evaluated one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxopt_lab.trial import TrialState, answer


class Kept(NamedTuple):
    """What is kept of a trial's best evaluated step."""

    value: Float[Array, ""]  # of the metric that selects, its sign changed where more is better; +inf before
    step: Int[Array, ""]
    params: Any  # as `kept` returns them


def kept(state: TrialState) -> Any:
    """Return what is kept of a trial: its parameters, in a pair with the loss's state if it has one.

    These are the parameters of its `answer`, at its last step or at its best one. The result has the form of what the
    task's `init` returns.
    """
    if state.best is not None:
        return state.best.params
    params = state.params if state.optimizer is None else answer(state.optimizer, state.params)
    return params if state.model is None else (params, state.model)


def with_best(state: TrialState) -> TrialState:
    """Return a state before the first step that will keep the parameters of its best evaluated step."""
    none = Kept(jnp.full([], jnp.inf, float), jnp.zeros([], jnp.int32), kept(state))
    return state._replace(best=none)


def keeping(state: TrialState, value: Array, step: Array) -> TrialState:
    """Return the state with what is kept after an evaluation at `step`, by `value`, of which less is better."""
    assert state.best is not None
    now = Kept(value.astype(state.best.value.dtype), step.astype(jnp.int32), kept(state._replace(best=None)))
    better = now.value < state.best.value
    return state._replace(best=jax.tree.map(lambda new, old: jnp.where(better, new, old), now, state.best))
