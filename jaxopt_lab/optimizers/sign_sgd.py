"""Sign descent: every parameter moves by the learning rate, against the sign of its gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, step_count, value_at
from jaxopt_lab.types import Optimizer, Params, Prior, ScalarOrSchedule


class SignSGDState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule


@method(learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's, whose steps are no larger"))
def sign_sgd(learning_rate: ScalarOrSchedule) -> Optimizer:
    """SignSGD (Bernstein et al. 2018, Algorithm 1, https://arxiv.org/abs/1802.04434).

        w <- w - learning_rate * sign(g)      sign(0) = 0

    Steps do not shrink with the gradient: the iterates end within learning_rate of a minimum unless a schedule shrinks
    the steps.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.

    Returns:
        The (init, update) pair; the state is the number of steps taken, under a schedule.

    """

    def init(params: Params) -> SignSGDState:
        return SignSGDState(step_count(learning_rate))

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda g: -rate * jnp.sign(g), grads), SignSGDState(next_step(state.t))

    return optimizer(init, update, real_only="sign_sgd")
