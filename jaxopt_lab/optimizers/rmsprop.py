"""RMSProp: steps divided by a running root mean square of the gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    step_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class RMSPropState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule or bias correction
    v: Params  # running mean of g**2
    m: Params | None  # running mean of g; None unless centred
    trace: Params | None  # decaying sum of steps; None without momentum


def preconditioner(
    state: RMSPropState, *, decay: Scalar, eps: Scalar, eps_in_sqrt: bool, bias_correction: bool, **_: Any
) -> Params:
    """Return what divides g."""
    scale = 1 / one_minus_power(decay, state.t) if bias_correction and state.t is not None else 1
    root = _root(scale, eps, eps_in_sqrt)
    return jax.tree.map(root, state.v) if state.m is None else jax.tree.map(root, state.v, state.m)


def _root(scale: Scalar, eps: Scalar, eps_in_sqrt: bool) -> Callable[..., Array]:
    """Return the function of v, and of m where it is centred, that gives what divides g."""

    def root(v, m=None):
        # A variance is never negative, but a difference of rounded means can be.
        variance = scale * v if m is None else jnp.maximum(scale * v - squared(scale * m), 0)
        found = jnp.sqrt(variance + eps) if eps_in_sqrt else jnp.sqrt(variance) + eps
        return jnp.where(v == 0, jnp.inf, found)  # no step where v = 0, even if eps is 0

    return root


@method(
    preconditioner=preconditioner,
    learning_rate=Prior(1e-5, 1e-1, "log", "the usual values and decades either way; our choice"),
    decay=Prior(0.8, 0.999, "one_minus", "a memory of a few steps to a thousand; our choice"),
    eps=Prior(
        1e-10,
        1e-1,
        "log",
        "up to where it dominates, as Choi et al. 2019 found to pay, https://arxiv.org/abs/1910.05446",
    ),
    momentum=Prior(0.5, 0.999, "one_minus", "a memory of a few steps to a thousand; our choice"),
)
def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    momentum: Scalar | None = None,
    *,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    nesterov: bool = False,
    bias_correction: bool = False,
    moment_dtype: Any = None,
) -> Optimizer:
    """RMSProp (Tieleman & Hinton 2012, lecture 6.5; centred: Graves 2013, https://arxiv.org/abs/1308.0850).

        v <- decay * v + (1 - decay) g^2
        m <- decay * m + (1 - decay) g                        centred; else m = 0
        s <- learning_rate * g / sqrt(v - m^2 + eps)          s: the step
        w <- w - s, or with momentum: trace <- momentum * trace + s;  w <- w - trace

    Conventions are Optax's. In PyTorch: decay 0.99, eps outside the root, and the learning rate applied after the
    momentum's sum instead of before it (which differs only under a schedule).

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        decay: Decay of the running means, in [0, 1).
        eps: Added under the root (in units of g^2) or, without `eps_in_sqrt`, to it (in units of g); >= 0.
        initial_scale: Where v starts, >= 0, in units of g^2.
        momentum: Decay of the sum of steps, in [0, 1); None (the default) keeps no sum.
        eps_in_sqrt: Whether eps is added under the root.
        centered: Whether the variance of g is estimated instead of its second moment.
        nesterov: Whether a step with momentum looks one decay ahead.
        bias_correction: Whether the running means are divided by 1 - decay^t.
        moment_dtype: Dtype of `v`, `m` and `trace`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `v`, `m` and `trace` have the shapes of the parameters.

    """

    def init(params: Params) -> RMSPropState:
        v = reals_like(params, moment_dtype, initial_scale)
        m = zeros_like(params, moment_dtype) if centered else None
        trace = None if momentum is None else zeros_like(params, moment_dtype)
        return RMSPropState(jnp.zeros([], jnp.int32) if bias_correction else step_count(learning_rate), v, m, trace)

    def update(grads, state, params=None):
        t = next_step(state.t)
        rate = value_at(learning_rate, state.t)
        root = _root(1 / one_minus_power(decay, t) if bias_correction else 1, eps, eps_in_sqrt)
        step = lambda g, *means: rate * g / root(*means)
        v = jax.tree.map(lambda v, g: decay * v + (1 - decay) * squared(g), state.v, grads)
        if centered:
            m = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.m, grads)
            steps = jax.tree.map(step, grads, v, m)
        else:
            m = None
            steps = jax.tree.map(step, grads, v)
        trace = None
        if momentum is not None:
            decay_and_add = lambda s, trace: s + momentum * trace
            trace = jax.tree.map(decay_and_add, steps, state.trace)
            steps = jax.tree.map(decay_and_add, steps, trace) if nesterov else trace
        return jax.tree.map(jnp.negative, steps), RMSPropState(t, v, m, trace)

    return optimizer(init, update)
