"""AdaBound: Adam whose step sizes are clipped ever more closely, until they are SGD's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import method, needs_params, one_minus_power, optimizer, reals_like, value_at
from jaxopt_lab.optimizers._decay import Mask, decayed, is_off
from jaxopt_lab.optimizers.adam import AdamState, adam_means, adam_start
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AdaBoundState(NamedTuple):
    adam: AdamState
    v_max: Params | None  # the largest v so far; None without AMSBound


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    final_learning_rate=Prior(1e-3, 1.0, "log", "SGD's with momentum; the default is 0.1"),
    gamma=Prior(1e-4, 1e-1, "log", "the authors' default 1e-3, a decade and two"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    weight_decay=Prior(1e-8, 1e-3, "log", "AdamW's times a rate of 1e-3 or 1e-2: it is not multiplied by the rate"),
)
def adabound(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    final_learning_rate: ScalarOrSchedule = 0.1,
    gamma: Scalar = 1e-3,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    amsbound: bool = False,
    bias_correction: bool = True,
    over_root_t: bool = False,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdaBound (Luo, Xiong, Liu & Sun 2019, Algorithm 2, https://arxiv.org/abs/1902.09843).

        rate <- learning_rate * sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v) + eps)              m, v: Adam's
        rate <- clip(rate, final * (1 - 1 / (gamma t + 1)), final * (1 + 1 / (gamma t)))   final: final_learning_rate
        w <- w - rate * m - weight_decay * w

    The paper does not correct m and v, and divides the clipped rate by sqrt(t); the authors' code corrects both and
    does not divide. Decay is their AdaBoundW's, which is not multiplied by the learning rate; their AdaBound adds it to
    g: `optax.add_decayed_weights` before the method.

    Args:
        learning_rate: Step size of Adam, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        final_learning_rate: Step size of SGD to which the limits tend, > 0, in units of w per unit of g; scalar, traced
            or a schedule. The authors' code scales it as a scheduler scales the learning rate: for a schedule s give
            `lambda t: 0.1 * s(t) / s(0)`.
        gamma: How fast the limits close, > 0: they are within a factor of 2 of their end after 1 / gamma steps.
        eps: Added to the root, >= 0, in units of g.
        weight_decay: Share of w taken off each step, >= 0, whatever the learning rate; scalar, traced or a schedule.
        amsbound: Whether v never falls: its largest value so far takes its place (AMSBound).
        bias_correction: Whether m and v are corrected for their start at 0.
        over_root_t: Whether the clipped rate is divided by sqrt(t).
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, `v` and `v_max`, for example "float32" for bfloat16 parameters. None keeps the
            parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m`, `v` and `v_max` have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters, and there is decay.

    """

    def init(params: Params) -> AdaBoundState:
        return AdaBoundState(adam_start(params, moment_dtype), reals_like(params, moment_dtype) if amsbound else None)

    def update(grads, state, params=None):
        rate, final, decay = (
            value_at(value, state.adam.t) for value in (learning_rate, final_learning_rate, weight_decay)
        )
        adam = adam_means(grads, state.adam, b1, b2)
        v_max = jax.tree.map(jnp.maximum, state.v_max, adam.v) if amsbound else None
        t = jnp.asarray(adam.t, float)
        if bias_correction:  # both means start at 0
            rate = rate * (jnp.sqrt(one_minus_power(b2, adam.t)) / one_minus_power(b1, adam.t))
        lower, upper = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        last = 1 / jnp.sqrt(t) if over_root_t else 1

        step = lambda m, v: last * jnp.clip(rate / (jnp.sqrt(v) + eps), lower, upper) * m
        steps = jax.tree.map(step, adam.m, v_max if amsbound else adam.v)
        if not is_off(weight_decay):
            needs_params(params, "adabound", "decays")
            steps = decayed(steps, params, decay, mask)
        return jax.tree.map(jnp.negative, steps), AdaBoundState(adam, v_max)

    return optimizer(init, update)
