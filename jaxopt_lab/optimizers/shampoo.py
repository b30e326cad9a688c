"""Shampoo: the gradient divided, along every axis of a tensor, by a root of the mean of its products."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._amortised import when
from jaxopt_lab.optimizers._base import (
    method,
    needs_params,
    next_step,
    one_minus_power,
    optimizer,
    reals_like,
    static_count,
    value_at,
    zeros_like,
)
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._decompositions import decomposed
from jaxopt_lab.optimizers._kronecker import along_all, by_axis, by_shape, identities, merged, products, sides, sizes
from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class ShampooState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    m: Params  # running mean of g
    factors: Params  # of each axis of each tensor, the sum or running mean of g g'
    roots: Params  # their inverse roots
    v: Params  # of g^2, for grafting; None without


def inverse_root(factor: Array, eps: Scalar, power: Scalar) -> Array:
    """Return (factor + eps)^-power; if rounding leaves eigenvalues below eps, all are shifted so that none is."""
    values, vectors = decomposed(jnp.linalg.eigh, factor)
    values = values + eps
    values = values + jnp.maximum(eps - jnp.min(values, -1, keepdims=True), 0)
    return (vectors * (values**-power)[..., None, :]) @ adjoint(vectors)


def weights(b: Scalar, t: Array) -> tuple[Any, Any]:
    """Return the weight of a new term in a running mean and the mean's bias; in a sum (b = 1), 1 and 1."""
    return jnp.where(b == 1, 1, 1 - b), jnp.where(b == 1, 1, one_minus_power(b, t))


@method(
    learning_rate=Prior(1e-4, 1e-1, "log", "around the values of Shi et al. 2023, https://arxiv.org/abs/2309.06497"),
    b1=Prior(0.5, 0.99, "one_minus", "as Adam's, around the authors' 0.9"),
    eps=Prior(1e-8, 1e-2, "log", "from what float32 resolves, above the authors' 1e-12, to where it dominates"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def shampoo(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 1.0,
    eps: Scalar = 1e-12,
    weight_decay: ScalarOrSchedule = 0.0,
    b3: Scalar | None = None,
    power: Scalar | None = None,
    graft_b2: Scalar = 0.999,
    graft_eps: Scalar = 1e-8,
    *,
    update_interval: int = 1,
    start: int | None = None,
    max_precond_dim: int = 1024,
    fewest_axes: int = 1,
    grafting: Literal["sgd", "adam"] | None = None,
    kl: bool = False,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """Shampoo (Gupta, Koren & Singer 2018, https://arxiv.org/abs/1802.09568), as in Distributed Shampoo.

        L <- b2 L + (1 - b2) g g';  R <- b2 R + (1 - b2) g' g        b2 = 1: L + g g', R + g' g
        f <- (b3 m + (1 - b3) g) / (1 - b3 b1^(t-1));  m <- b1 m + (1 - b1) g
        a <- (L / (1 - b2^t) + eps)^-p f (R / (1 - b2^t) + eps)^-p   p: power
        a <- a |f / (sqrt(v / (1 - graft_b2^t)) + graft_eps)| / |a|  with grafting; v: as Adam's
        w <- w - learning_rate * (a + weight_decay * w)

    for matrices; a tensor of k axes has k factors and p = 1 / (2 k). Conventions are those of Distributed Shampoo (Shi
    et al. 2023, https://arxiv.org/abs/2309.06497), which by default makes one vector of every tensor of at most
    `max_precond_dim` elements: with its one factor and p = 1/2 this is full-matrix Adagrad. `fewest_axes=2` keeps
    matrices, as in the papers. In float32 choose eps larger than its default: eigenvalues that are 0 but for rounding
    are raised to it, and their directions are scaled up by eps^-p.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the means of g g' and g' g, in [0, 1]; 1 sums, without a division.
        eps: Added to the factors' eigenvalues, > 0, in units of g^2.
        weight_decay: Share of w taken off each step, times the learning rate; >= 0; scalar, traced or a schedule.
        b3: Share of m before this step in f, in [0, 1); None: b1, so that f is the corrected mean.
        power: The power p of matrices and larger tensors, > 0; None: 1 / (2 k). Vectors always have 1/2.
        graft_b2: Decay of Adam's mean of g^2, in [0, 1]; 1 sums, which is Adagrad's.
        graft_eps: Added to Adam's root, >= 0, in units of g.
        update_interval: Steps from one renewal of the roots to the next. Its cost (eigenvectors) is paid in these steps
            only, also where many trials are mapped together.
        start: The step, from 1, that first computes roots; until then the step is that of grafting, or f. None:
            `update_interval`.
        max_precond_dim: The longest axis that has a factor, and the largest product of axes that are joined.
            A longer axis is left as it is, where the authors cut it into blocks.
        fewest_axes: Neighbouring axes are joined while more than this remain.
        grafting: Whose length each tensor's step has: "sgd", that of f; "adam", Adam's. None: its own.
        kl: Whether factors are the means of (g R^-p)(g R^-p)' and (L^-p g)'(L^-p g), with the roots of the step before:
            KL-Shampoo (Lin et al. 2025, https://arxiv.org/abs/2509.03378) as in Distributed Shampoo; the paper has
            power = 1/2. See also `klshampoo`.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None decays all.
        moment_dtype: Dtype of the state, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair. Beside the mean, the state has two square matrices for each factor.

    Raises:
        ValueError: An interval, step or size < 1, an unknown grafting, or `update` was called without the parameters.

    """
    update_interval = static_count("update_interval", update_interval)
    max_precond_dim = static_count("max_precond_dim", max_precond_dim)
    fewest_axes = static_count("fewest_axes", fewest_axes)
    start = update_interval if start is None else static_count("start", start)
    if grafting not in (None, "sgd", "adam"):
        raise ValueError(f'grafting must be "sgd", "adam" or None, got {grafting!r}.')
    b3 = b1 if b3 is None else b3
    fold = lambda w: w.reshape(merged(w.shape, max_precond_dim, fewest_axes))

    def init(params: Params) -> ShampooState:
        needs_leaves(params, "shampoo")
        eyes = lambda w: identities(w, sides(w, max_precond_dim, 1), moment_dtype)
        like = jax.tree.map(fold, params)
        zeros = lambda w: jax.tree.map(jnp.zeros_like, eyes(w))
        v = reals_like(like, moment_dtype) if grafting == "adam" else jax.tree.map(lambda _: None, like)
        m, factors, roots = zeros_like(like, moment_dtype), jax.tree.map(zeros, like), jax.tree.map(eyes, like)
        return ShampooState(jnp.zeros([], jnp.int32), m, factors, roots, v)

    def update(grads, state, params=None):
        needs_params(params, "shampoo", "decays")
        t = next_step(state.t)
        (share, bias), (graft_share, graft_bias) = weights(b2, t), weights(graft_b2, t)
        keep = jnp.where(jnp.asarray(b2) == 1, 1.0, b2)
        f_bias = 1 - b3 + b3 * jnp.where(t > 1, one_minus_power(b1, jnp.maximum(t - 1, 1)), 0)  # 1 - b3 b1^(t-1)
        due = (t == start) | ((t > start) & (t % update_interval == 0))

        def step(g, m, factors, roots, v):
            p = 1 / (2 * max(g.ndim - 1, 1)) if power is None or g.ndim < 3 else power

            def term(axis):
                other = [None if i == axis else root for i, root in enumerate(roots)]
                return products(along_all(other, g) if kl else g, axis)

            def renewed(factors, roots, bias, eps, p):
                return by_axis(lambda _, f: inverse_root(f / bias, eps, p), factors)

            factors = by_axis(lambda axis, f: keep * f + share * term(axis), factors)
            roots = when(due, renewed, lambda factors, roots, *_: roots, factors, roots, bias, eps, p)
            f = (b3 * m + (1 - b3) * g) / f_bias
            m = b1 * m + (1 - b1) * g
            a = along_all(roots, f)
            if grafting:
                whose = f
                if grafting == "adam":
                    v = graft_b2 * v + graft_share * squared(g)
                    whose = f / (jnp.sqrt(v / graft_bias) + graft_eps)
                a = jnp.where(t < start, whose, a * (sizes(whose) / (sizes(a) + 1e-16)))
            return a, m, factors, roots, v

        a, *rest = by_shape(step, 5, jax.tree.map(fold, grads), *state[1:])
        a = jax.tree.map(lambda a, w: a.reshape(w.shape), a, params)
        a = decayed(a, params, value_at(weight_decay, state.t), weight_decay_mask)
        rate = value_at(learning_rate, state.t)
        return jax.tree.map(lambda a: -rate * a, a), ShampooState(t, *rest)

    return optimizer(init, update)
