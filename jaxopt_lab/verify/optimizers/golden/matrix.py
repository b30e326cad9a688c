"""Methods that see matrices, curvature or the neighbourhood, against their authors' code and PyTorch 2.13."""

from functools import partial

import jax
import jax.numpy as jnp

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.problems import flat, start
from jaxopt_lab.verify.optimizers.golden.row import Row


def squares(share):
    """For curvature, a share of the squares of gradients, as was recorded."""
    return lambda value_fn, w, g, key: jax.tree.map(lambda g: share * g**2, g)


def squares_but_of_the_first(share):
    """The same, with no estimate before the first step: the authors' training script makes it after a step."""
    moved = lambda w: jnp.any(flat(w) != flat(start()))
    return lambda value_fn, w, g, key: jax.tree.map(lambda g: jnp.where(moved(w), share * g**2, 0), g)


def authors_sophia(learning_rate, b1, b2, gamma, estimate, weight_decay=0.0, **flags):
    """Without bias correction."""
    return partial(jl.sophia, learning_rate, b1, b2, 1e-15, weight_decay, gamma)(
        bias_correction=False, hessian_diagonal_fn=estimate, **flags
    )


ROWS = {
    "madgrad/default": Row("madgrad", lambda: jl.madgrad(0.01)),
    "madgrad/l2_eps": Row("madgrad", lambda: jl.madgrad(0.02, 0.8, 0.01, 1e-3)),
    "madgrad/decoupled": Row("madgrad", lambda: jl.madgrad(0.02, 0.8, 0.1, decouple_decay=True)),
    "madgrad/no_momentum": Row("madgrad", lambda: jl.madgrad(0.005, 0.0)),
    # PyTorch's step is at most 1 / sqrt(t), its eps a floor under the root, its decay times the learning rate.
    "torch_adafactor/default": Row(
        "adafactor", lambda: jl.adafactor(lambda t: jnp.minimum(0.01, (t + 1.0) ** -0.5), min_dim_size_to_factor=1)
    ),
    "torch_adafactor/rel_wd": Row(
        "adafactor",
        lambda: jl.adafactor(
            lambda t: jnp.minimum(0.3, (t + 1.0) ** -0.5),
            0.6,
            clipping_threshold=1.5,
            weight_decay_rate=0.3 * 0.02,
            min_scale=0.01,
            min_dim_size_to_factor=1,
        ),
    ),
    "sam/sgd_momentum": Row("sam", lambda: jl.sam(0.05)),
    "sam/adaptive_adamw": Row(
        "sam", lambda: jl.sam(0.02, 0.5, base=partial(jl.adamw, b1=0.8, b2=0.95, weight_decay=0.1), adaptive=True)
    ),
    "sophia_g/default_before_k10": Row(
        "sophia", lambda: authors_sophia(0.05, 0.965, 0.99, 0.04 * 5120, squares(1.0), 0.1, estimate_first=True)
    ),
    "sophia_g/betas_wd_after_new_k2": Row(
        "sophia",
        lambda: authors_sophia(
            0.02, 0.9, 0.95, 0.1 * 1000, squares_but_of_the_first(0.5), 0.2, estimate_first=True, update_interval=2
        ),
    ),
    "sophia_g/after_old_k5": Row(
        "sophia", lambda: authors_sophia(0.02, 0.9, 0.95, 0.05 * 400, squares(1.0), update_interval=5)
    ),
}
