"""QHM: a mixture of the gradient and its running mean."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import method, next_step, optimizer, zeros_like
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class QHMState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g


@method(
    learning_rate=Prior(1e-3, 10.0, "log", "SGD's, a decade higher: the mean of g is damped"),
    momentum=Prior(0.9, 0.9999, "one_minus", "around 0.999, Ma & Yarats 2019, https://arxiv.org/abs/1810.06801"),
    nu=Prior(0.5, 1.0, "linear", "around 0.7 of the same"),
    weight_decay=Prior(1e-6, 1e-2, "log", "around 1e-4, usual with SGD"),
)
def qhm(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar = 0.999,
    nu: Scalar = 0.7,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """QHM, quasi-hyperbolic momentum (Ma & Yarats 2019, equations 3 and 4, https://arxiv.org/abs/1810.06801).

        m <- momentum * m + (1 - momentum) g
        w <- w - learning_rate * ((1 - nu) g + nu m + weight_decay * w)

    The defaults of momentum and nu are the paper's advice; the authors' code has none. At nu = 1 it is heavy ball
    with a learning rate 1 / (1 - momentum) as large, at nu = momentum Nesterov's, at nu = 0 gradient descent. Decay is
    the authors' option "direct"; their default adds it to g: `optax.add_decayed_weights` before the method.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        momentum: Decay of the mean of g, in [0, 1).
        nu: Share of the mean in the step, in [0, 1]; the rest is g.
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

    def init(params: Params) -> QHMState:
        return QHMState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype))

    def ascend(grads, state, params=None):
        m = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, state.m, grads)
        return jax.tree.map(lambda m, g: (1 - nu) * g + nu * m, m, grads), QHMState(next_step(state.t), m)

    return decoupled(optimizer(init, ascend), "qhm", learning_rate, weight_decay, mask)
