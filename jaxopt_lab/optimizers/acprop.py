"""ACProp: gradients divided by the deviation from their running mean up to the last step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, one_minus_power, optimizer, reals_like, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers._numerics import squared
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ACPropState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    s: Params  # running mean of (g - m)**2


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-16, 1e-3, "log", "the default and as much of Adam's range as a deviation may need"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def acprop(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-16,
    eps_root: Scalar = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """ACProp (Zhuang et al. 2021, https://arxiv.org/abs/2110.05454).

        a <- g / (sqrt(s / (1 - b2^(t-1))) + eps)       s of the last step; in the first step a <- g
        m <- b1 m + (1 - b1) g
        s <- b2 s + (1 - b2) (g - m)^2 + eps_root
        w <- w - learning_rate * (a + weight_decay * w)

    Optax 0.2.8 takes g's deviation from the m before this step, which is 1 / b1 times as large; its documentation, the
    paper and the authors' code take it from the m that includes g. This is the authors' code with `rectify=False`.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`. In the first step
            in units of w per unit of g.
        b1: Decay of the mean of g, in [0, 1); at 0 there is no deviation, and eps alone divides.
        b2: Decay of the mean of (g - m)^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added to s in every step, >= 0, in units of g^2.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `s`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` and `s` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> ACPropState:
        return ACPropState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), reals_like(params, moment_dtype))

    def update(grads, state, params=None):
        t, first = next_step(state.t), state.t == 0
        s_scale = 1 / one_minus_power(b2, jnp.maximum(t - 1, 1))  # s is still that of the last step; it started at 0
        # `where` also before the root, since the derivative of the root at 0 is infinite.
        root = lambda s: jnp.where(first, 1, jnp.sqrt(jnp.where(first, 1, s_scale * s)) + eps)
        a = jax.tree.map(lambda g, s: g / root(s), grads, state.s)
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, grads)
        s = jax.tree.map(lambda s, g, m: b2 * s + (1 - b2) * squared(g - m) + eps_root, state.s, grads, m)
        return a, ACPropState(t, m, s)

    return decoupled(optimizer(init, update), "acprop", learning_rate, weight_decay, mask)
