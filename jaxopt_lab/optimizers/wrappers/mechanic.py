"""Mechanic: the scale of a method's steps, learned from how well they would have gone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxopt_lab.optimizers._base import copied, needs_params, zeros_like
from jaxopt_lab.optimizers._base import optimizer as pair
from jaxopt_lab.optimizers._sums import inner
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import Optimizer, Params, Scalar

BETAS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)


class MechanicState(NamedTuple):
    start: Params  # the initial parameters
    delta: Params | None  # sum of the optimizer's steps, if it is stored
    s: Float[Array, " n"]  # scale of each beta; their sum is that of the steps
    m: Float[Array, " n"]  # running maximum of |h|
    v: Float[Array, " n"]  # running sum of h**2
    r: Float[Array, " n"]  # reward: running sum of -h, times the scale
    inner: Any  # the optimizer's state


def mechanic(
    optimizer: Optimizer,
    s_init: Scalar = 1e-8,
    s_decay: Scalar = 1e-2,
    eps: Scalar = 1e-8,
    *,
    betas: Sequence[Scalar] = BETAS,
    store_delta: bool = False,
    state_dtype: Any = None,
) -> Optimizer:
    """Mechanic, a tuner of the learning rate of any optimizer (Cutkosky et al. 2023, https://arxiv.org/abs/2306.00144).

        u <- update(g, w),  S = s_1 + ... + s_n                       n betas
        h <- <delta, g + s_decay S |g| (w + u) / |w + u|>             delta: the sum of all u before
        m <- max(beta m, |h|)                                         the following for each beta by itself
        v <- beta^2 v + h^2
        r <- max(beta r - s h, 0)
        s <- (s_init m / n + r) / (sqrt(v) + eps)
        w <- start + (s_1 + ... + s_n) (delta + u)                    start: the initial parameters

    Products and norms are over all parameters at once. Use an optimizer with its usual schedule, and learning rate 1:

        def method(s_init):
            return jl.mechanic(jl.adamw(1.0), s_init)

    The authors' code by default does not store delta but recomputes it, as (w - start) / (S + eps). That is
    S / (S + eps) of it, with few correct digits while S is small and parameters are float32 or narrower;
    `store_delta` keeps it, as the paper does. Optax's `mechanize` differs in the first s, in clipping h by m and in
    where it decays.

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. In a chain, `mechanic`
            is around the whole of it, since it makes the final updates, but within `master_weights`.
        s_init: Scale to start from, > 0: the first steps are about as long as the optimizer's times 100 s_init.
        s_decay: Weight decay in h, >= 0, relative to |g|.
        eps: Added to sqrt(v), to S and to |w + u|, > 0.
        betas: Decays of m, v and r, in [0, 1]; their number is structural.
        store_delta: Whether delta is kept in the state.
        state_dtype: Dtype of delta, for example "float32" for bfloat16 parameters. None keeps the parameters' dtype,
            but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the initial parameters, and delta, have the shapes of the parameters.

    Raises:
        ValueError: `update` was called without the parameters.

    """

    def init(params: Params) -> MechanicState:
        delta = zeros_like(params, state_dtype) if store_delta else None
        s, m, v, r = (jnp.full(len(betas), first, float) for first in (0.0, 1e-6, 0.0, 0.0))
        return MechanicState(copied(params), delta, s, m, v, r, optimizer.init(params))

    def update(grads, state, params=None, **extra):
        needs_params(params, "mechanic", "scales the way of")
        u, inner_state = optimizer.update(grads, state.inner, params, **accepted(optimizer.update, extra))
        start, delta, s, m, v, r, _ = state
        total, b = jnp.sum(s), jnp.stack([jnp.asarray(beta, s.dtype) for beta in betas])
        if delta is None:
            delta = jax.tree.map(lambda w, start: (w - start) / (total + eps), params, start)
        ahead = jax.tree.map(jnp.add, params, u)
        decay = s_decay * total * jnp.sqrt(inner(grads, grads)) / (jnp.sqrt(inner(ahead, ahead)) + eps)
        h = inner(delta, grads) + decay * inner(delta, ahead)

        m = jnp.maximum(b * m, jnp.abs(h))
        v = b**2 * v + h**2
        r = jnp.maximum(b * r - s * h, 0)
        s = (s_init * m / len(betas) + r) / (jnp.sqrt(v) + eps)

        delta = jax.tree.map(jnp.add, delta, u)
        scale = jnp.maximum(jnp.sum(s), 0)
        updates = jax.tree.map(lambda start, delta, w: start + scale * delta - w, start, delta, params)
        return updates, MechanicState(start, delta if store_delta else None, s, m, v, r, inner_state)

    return pair(init, update)
