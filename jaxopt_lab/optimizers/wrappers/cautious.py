"""Cautious steps: a method moves only where its step goes against the gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._base import optimizer as pair
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Scalar


def cautious(optimizer: Optimizer, least_share: Scalar = 1e-3, *, paper_scaling: bool = False) -> Optimizer:
    """Cautious steps of any optimizer (Liang et al. 2024, https://arxiv.org/abs/2411.16085).

        u <- update(g, w)
        s <- 1 where u g < 0, else 0
        w <- w + u s / max(mean(s), least_share)        mean: over the elements of the tensor
        w <- w + u s n / (sum(s) + 1)                   paper_scaling; n: number of elements

    The paper's scaling is that of the authors' code for Lion (C-Lion), the other that of their code for AdamW
    (C-AdamW). An optimizer's own weight decay is masked with the rest of its step. The authors leave it whole: put it
    after the wrapper, as in

        def method(learning_rate, weight_decay):
            decay = optax.add_decayed_weights(-learning_rate * weight_decay)
            return optax.chain(jl.cautious(jl.lion(learning_rate, weight_decay=0.0), paper_scaling=True), decay)

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. It sees its unmasked
            steps only by its own means: its state is that of the optimizer alone.
        least_share: The smallest mean(s) that is divided by, in (0, 1], so that a step grows by at most its inverse.
        paper_scaling: Whether s is scaled by n / (sum(s) + 1).

    Returns:
        The (init, update) pair; its state is the optimizer's own.

    Raises:
        TypeError: A parameter is complex.
        ValueError: The parameters are held flat.

    """

    def init(params: Params) -> Any:
        needs_leaves(params, "cautious")
        return optimizer.init(params)

    def update(grads, state, params=None, **extra):
        updates, state = optimizer.update(grads, state, params, **accepted(optimizer.update, extra))

        def masked(u, g):
            s = jnp.where(jnp.sign(u) * jnp.sign(g) < 0, 1, 0).astype(u.dtype)  # u * g might underflow
            share = (jnp.sum(s) + 1) / s.size if paper_scaling else jnp.maximum(jnp.mean(s), least_share)
            return u * (s / share)

        return jax.tree.map(masked, updates, grads), state

    return pair(init, update, real_only="cautious")
