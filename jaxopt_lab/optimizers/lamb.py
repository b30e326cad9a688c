"""LAMB: AdamW with each tensor's step scaled to the norm of the tensor."""

from typing import Any

import jax

from jaxopt_lab.optimizers._base import method, needs_params, optimizer, value_at
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._trust import norm, trust_ratio
from jaxopt_lab.optimizers.adam import adam_direction
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


@method(
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-4, 1e-1, "log", "the paper's 1e-2, to a decade above and two below"),
)
def lamb(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """LAMB (You et al. 2020, Algorithm 2, https://arxiv.org/abs/1904.00962), for every tensor w by itself:

        a <- m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps) + weight_decay * w      m, v: Adam's
        w <- w - learning_rate * |w| / |a| * a

    |.| is the Euclidean (Frobenius) norm; where either is 0, the ratio is 1. The paper's phi, which may limit |w|, is
    the identity here and in Optax.

    Args:
        learning_rate: Relative size of a step, > 0, without a unit; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2.
        weight_decay: Added to Adam's direction per unit of w, >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is Adam's.

    Raises:
        ValueError: `update` was called without the parameters.

    """
    adam = adam_direction(b1, b2, eps, eps_root, moment_dtype=moment_dtype)

    def init(params: Params) -> Any:
        needs_leaves(params, "lamb")
        return adam.init(params)

    def update(grads, state, params=None):
        needs_params(params, "lamb", "scales its steps by")
        rate, decay = value_at(learning_rate, state.t), value_at(weight_decay, state.t)
        a, new_state = adam.update(grads, state, params)
        a = decayed(a, params, decay, mask)
        return jax.tree.map(lambda a, w: -rate * trust_ratio(norm(w), norm(a)) * a, a, params), new_state

    return optimizer(init, update)
