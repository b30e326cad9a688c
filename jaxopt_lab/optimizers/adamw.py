"""AdamW: Adam with weight decay apart from the gradient."""

from typing import Any

from jaxopt_lab.optimizers._base import method
from jaxopt_lab.optimizers._decay import Mask, decoupled
from jaxopt_lab.optimizers.adam import adam_direction, preconditioner
from jaxopt_lab.types import Optimizer, Prior, Scalar, ScalarOrSchedule


@method(
    preconditioner=preconditioner,
    learning_rate=Prior(1e-5, 1e-1, "log", "as Adam's"),
    b1=Prior(0.5, 0.999, "one_minus", "as Adam's"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "the usual values and decades either way; our choice"),
)
def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 1e-4,
    *,
    mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019, Algorithm 2, https://arxiv.org/abs/1711.05101).

        a <- m / (1 - b1^t) / (sqrt(v / (1 - b2^t) + eps_root) + eps)      m, v: Adam's
        w <- w - learning_rate * (a + weight_decay * w)

    The default weight decay is Optax's; PyTorch's is 1e-2. In both libraries decay is multiplied by the learning rate;
    in the paper it is not.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of g^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        moment_dtype: Dtype of `m` and `v`, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state is Adam's.

    Raises:
        ValueError: `update` was called without the parameters.

    """
    direction = adam_direction(b1, b2, eps, eps_root, moment_dtype=moment_dtype)
    return decoupled(direction, "adamw", learning_rate, weight_decay, mask)
