"""AggMo: the average of several momenta, from none to long."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import (
    method,
    next_step,
    optimizer,
    static_count,
    step_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class AggMoState(NamedTuple):
    t: Int[Array, ""] | None  # steps taken so far; None without a schedule
    m: tuple[Params, ...]  # decaying sums of g, one for each beta


@method(
    learning_rate=Prior(1e-4, 1.0, "log", "as SGD's"),
    ratio=Prior(0.03, 0.3, "log", "around the default 0.1, Lucas et al. 2019, https://arxiv.org/abs/1804.00325"),
)
def aggmo(
    learning_rate: ScalarOrSchedule,
    ratio: Scalar = 0.1,
    *,
    count: int = 3,
    betas: Sequence[Scalar] | None = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """AggMo, aggregated momentum (Lucas, Sun, Zemel & Grosse 2019, https://arxiv.org/abs/1804.00325).

        m_i <- beta_i m_i + g                           beta_i = 1 - ratio^i,  i = 0, ..., count - 1
        w <- w - learning_rate / count * (m_0 + m_1 + ...)

    Long momenta are fast along flat directions, short ones damp the oscillations of the long along steep directions.
    By default the betas are the authors' 0, 0.9 and 0.99.

    Args:
        learning_rate: Step size, > 0, in units of w per unit of g; scalar, traced or a schedule `step -> value`.
        ratio: Ratio of 1 - beta_i to the one before, in (0, 1): the paper's a.
        count: Number of momenta, >= 1: the paper's K.
        betas: The decays themselves, each in [0, 1), numbers or traced, in place of `ratio` and `count`.
        moment_dtype: Dtype of the sums, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the state has `count` times the size of the parameters.

    Raises:
        ValueError: `count` is not a whole number of at least 1.

    """
    decays = [1 - ratio**i for i in range(static_count("count", count))] if betas is None else list(betas)

    def init(params: Params) -> AggMoState:
        return AggMoState(step_count(learning_rate), tuple(zeros_like(params, moment_dtype) for _ in decays))

    def update(grads, state, params=None):
        rate = value_at(learning_rate, state.t) / len(decays)
        add = lambda beta, sums: jax.tree.map(lambda m, g: beta * m + g, sums, grads)
        m = tuple(add(beta, sums) for beta, sums in zip(decays, state.m, strict=True))
        return jax.tree.map(lambda *m: -rate * sum(m), *m), AggMoState(next_step(state.t), m)

    return optimizer(init, update)
