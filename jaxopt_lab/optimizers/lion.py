"""Lion: steps of equal size along the sign of a mean of the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class LionState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g


@method(
    learning_rate=Prior(
        1e-6,
        1e-2,
        "log",
        "a tenth of Adam's, as advised: Chen et al. 2023, https://arxiv.org/abs/2302.06675",
    ),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    weight_decay=Prior(1e-4, 1.0, "log", "ten times AdamW's, as the learning rate is a tenth: the same"),
)
def lion(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    weight_decay: ScalarOrSchedule = 1e-3,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Lion (Chen et al. 2023, Algorithm 2, https://arxiv.org/abs/2302.06675).

        a <- sign(b1 m + (1 - b1) g)
        m <- b2 m + (1 - b2) g
        w <- w - learning_rate * (a + weight_decay * w)

    The default weight decay is Optax's; the authors' is 0.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Weight of the mean of g beside the present g in the direction, in [0, 1].
        b2: Decay of the mean of g, in [0, 1).
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m`, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype, but
            float32 for float16 parameters.

    Returns:
        The (init, update) pair; `m` has the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> LionState:
        return LionState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def ascend(grads, state, params=None):
        a = jax.tree.map(lambda m, g: jnp.sign(b1 * m + (1 - b1) * g), state.m, grads)
        m = jax.tree.map(lambda m, g: b2 * m + (1 - b2) * g, state.m, grads)
        return a, LionState(next_step(state.t), m)

    return decoupled(optimizer(init, ascend, real_only="lion"), "lion", learning_rate, weight_decay, mask)
