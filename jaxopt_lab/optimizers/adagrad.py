"""Adagrad: steps divided by the root of the sum of all squared gradients so far."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, reals_like, step_count, value_at
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdagradState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    s: Params  # sum of g**2


def preconditioner(state: AdagradState, *, eps: Scalar, eps_in_sqrt: bool, **_: Any) -> Params:
    """Return what divides g."""
    return jax.tree.map(_root(eps, eps_in_sqrt), state.s)


def _root(eps: Scalar, eps_in_sqrt: bool) -> Callable[[Array], Array]:
    root = lambda s: jnp.sqrt(s + eps) if eps_in_sqrt else jnp.sqrt(s) + eps
    return lambda s: jnp.where(s == 0, jnp.inf, root(s))  # no step where s = 0


@method(
    preconditioner=preconditioner,
    learning_rate=Prior(1e-4, 1.0, "log", "the usual values and decades either way; our choice"),
    eps=Prior(1e-10, 1e-2, "log", "the default, some decades either way"),
)
def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: Scalar = 0.1,
    eps: Scalar = 1e-7,
    *,
    eps_in_sqrt: bool = True,
    moment_dtype: Any = None,
) -> Optimizer:
    """Adagrad (Duchi, Hazan & Singer 2011, diagonal case, https://jmlr.org/papers/v12/duchi11a.html).

        s <- s + g^2
        w <- w - learning_rate * g / sqrt(s + eps)      no step where s = 0

    Conventions are Optax's. PyTorch starts s at 0 and adds eps = 1e-10 to the root.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        initial_accumulator_value: Where s starts, >= 0, in units of g^2.
        eps: Added under the root, >= 0, in units of g^2; or to the root, in units of g.
        eps_in_sqrt: Whether eps is under the root.
        moment_dtype: Dtype of `s`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `s` has the shapes of the parameters.

    """

    def init(params: Params) -> AdagradState:
        s = reals_like(params, moment_dtype, initial_accumulator_value)
        return AdagradState(step_count(learning_rate), s)

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t)
        s = jax.tree.map(lambda s, g: s + squared(g), state.s, grads)
        root = _root(eps, eps_in_sqrt)
        step = lambda g, s: -rate * g / root(s)
        return jax.tree.map(step, grads, s), AdagradState(next_step(state.t), s)

    return optimizer(init, update)
