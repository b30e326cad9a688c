"""KL-Shampoo: Shampoo whose factors estimate the covariance of the gradient in the Kullback-Leibler sense."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._amortised import every, when
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
from jaxopt_lab.optimizers._kronecker import (
    adjoints,
    along,
    along_all,
    by_axis,
    by_shape,
    eigenvectors,
    identities,
    products,
    scaled,
    sides,
    sizes,
)
from jaxopt_lab.optimizers._numerics import real_dtype, squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class KLShampooState(NamedTuple):
    t: Int[Array, ""]  # calls so far; the first moves no matrix
    m: Params  # running mean of g
    v: Params  # running mean of g^2, of vectors and in KL-SOAP; None elsewhere
    factors: Params  # of each axis of each tensor, the running mean of whitened products
    q: Params  # their eigenvectors as columns, approximately
    d: Params  # their eigenvalues^(-1/2), approximately


def renewed(t: Array, factors: Any, q: Any) -> tuple[Array | None, ...]:
    """Bring the bases nearer to the eigenvectors by a step of orthogonal iteration; the first call's are exact."""
    exact = lambda factor, old: eigenvectors(factor)
    iterated = lambda factor, old: decomposed(jnp.linalg.qr, factor @ old)[0]
    return by_axis(lambda _, *pair: when(t == 0, exact, iterated, *pair), factors, q)


def whitened(r: Array, d: Sequence[Array | None], axis: int) -> Array:
    """Divide by the square roots of the eigenvalues of all other axes."""
    return scaled([None if i == axis else x for i, x in enumerate(d)], r)


def variances(r: Array, d: Sequence[Array | None], axis: int, damping: Scalar) -> Array:
    """Return the mean squares along an axis, whitened along all others; r has the axes of the eigenvectors."""
    mean = jnp.mean(squared(whitened(r, d, axis)), [i + 1 for i in range(r.ndim - 1) if i != axis])
    return mean + damping * math.prod(
        jnp.mean(x**2, -1, keepdims=True) for x in (*d[:axis], *d[axis + 1 :]) if x is not None
    )


@method(
    learning_rate=Prior(1e-4, 1e-1, "log", "as SOAP's"),
    b1=Prior(0.8, 0.99, "one_minus", "as SOAP's, around the authors' 0.9"),
    b2=Prior(0.8, 0.999, "one_minus", "as SOAP's, around the authors' 0.98"),
    eps=Prior(1e-10, 1e-2, "log", "as SOAP's, up to where it dominates"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def klshampoo(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.98,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    shampoo_beta: Scalar | None = None,
    init_factor: Scalar = 0.1,
    max_clamp_value: Scalar | None = 4000.0,
    *,
    update_interval: int = 10,
    max_precond_dim: int = 10000,
    klsoap: bool = False,
    damping: bool = False,
    normalize: bool = False,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """KL-Shampoo and KL-SOAP (Lin et al. 2025, https://arxiv.org/abs/2509.03378).

        m <- b1 m + (1 - b1) g
        e <- d_L d_R';  e <- e / (1 + eps e)
        w <- w - learning_rate * Q_L ((Q_L' m Q_R) e) Q_R'       KL-SOAP: (Q_L' m Q_R) / (sqrt(v) + eps), v that of r^2
        w <- w - learning_rate * weight_decay * w
        L <- beta L + (1 - beta) x x' / columns,  x = g Q_R diag(d_R);  R likewise
        d_L <- (beta d_L^-2 + (1 - beta) row means of (r diag(d_R))^2)^(-1/2),  r = Q_L' g Q_R;  d_R likewise
        Q_L, Q_R <- QR(L Q_L), QR(R Q_R)                         every update_interval steps

    for matrices, with beta `shampoo_beta`; a larger tensor has as many factors as axes. The first call takes L from g
    g', Q from its eigenvectors and d = init_factor^(-1/2), and does not move. This is the authors' own code, which
    keeps eigenvalues of its own and corrects no bias: another algorithm than `shampoo(kl=True)`, Meta's, under the same
    name. Vectors and scalars, which their code refuses, are trained by Adam.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of g, in [0, 1).
        b2: Decay of the mean of r^2 in KL-SOAP, and of Adam's, in [0, 1).
        eps: Damping of e, >= 0: no element is larger than 1 / eps; in KL-SOAP and in Adam added to the root.
        weight_decay: Share of w taken off after each step, times the learning rate; >= 0; scalar, traced or a schedule.
        shampoo_beta: Decay of the factors and eigenvalues, in [0, 1); None: b2.
        init_factor: Eigenvalue that all start with, > 0, in units of g.
        max_clamp_value: Largest d, but for the side's length if that is less, and 10 at least; None does not clamp.
        update_interval: Steps from one renewal of the bases to the next. Its cost (QR) is paid in these steps only,
            also where many trials are mapped together.
        max_precond_dim: An axis longer than this has no factor.
        klsoap: Whether the step is KL-SOAP's.
        damping: Whether eps times the mean of the other side's d^2 is added to the means.
        normalize: Whether each tensor's direction is divided by its root mean square.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None decays all.
        moment_dtype: Dtype of the state, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair. Beside the mean, the state has two square matrices for each axis of a matrix.

    Raises:
        ValueError: An interval or size < 1, or `update` was called without the parameters.

    """
    update_interval = static_count("update_interval", update_interval)
    max_precond_dim = static_count("max_precond_dim", max_precond_dim)
    beta = b2 if shampoo_beta is None else shampoo_beta

    def init(params: Params) -> KLShampooState:
        needs_leaves(params, "klshampoo")
        eyes = lambda w: identities(w, sides(w, max_precond_dim), moment_dtype)
        first = lambda _, q: jnp.full(len(q), init_factor**-0.5, real_dtype(q.dtype))
        q = jax.tree.map(eyes, params)
        d = jax.tree.map(lambda w: by_axis(first, eyes(w)), params)
        v = jax.tree.map(lambda w, v: v if klsoap or w.ndim < 2 else None, params, reals_like(params, moment_dtype))
        factors = jax.tree.map(lambda w: jax.tree.map(jnp.zeros_like, eyes(w)), params)
        return KLShampooState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), v, factors, q, d)

    def update(grads, state, params=None):
        needs_params(params, "klshampoo", "decays")
        t, moves = next_step(state.t), state.t > 0

        def of_vectors(g, m, v):
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * squared(g)
            root = jnp.sqrt(v / one_minus_power(b2, t)) + eps
            return m / one_minus_power(b1, t) / root, m, v

        def direction(r, v, d):
            if klsoap:
                return r / (jnp.sqrt(v) + eps)
            e = scaled(d, jnp.ones_like(r, real_dtype(r.dtype)))
            return r * (e / (1 + eps * e))

        def step(g, m, v, factors, q, d):
            if g.ndim < 3:
                return *of_vectors(g, m, v), factors, q, d
            back = adjoints(q)
            r, next_m = along_all(back, g), b1 * m + (1 - b1) * g
            next_v = b2 * v + (1 - b2) * squared(r) if klsoap else v
            a = along_all(q, direction(along_all(back, next_m), next_v, d))
            a = a / (1e-30 + sizes(a)) if normalize else a

            known = by_axis(lambda _, x: jnp.where(moves, x, 1), d)  # the first call knows no eigenvalues

            def factor(axis, old, own):
                x = along(own, whitened(r, known, axis), axis)
                return beta * old + (1 - beta) * products(x, axis) / (x[0].size // x.shape[axis + 1])

            def eigenvalue(axis, old):
                new = jax.lax.rsqrt(beta / old**2 + (1 - beta) * variances(r, known, axis, eps if damping else 0.0))
                if max_clamp_value is not None:
                    new = jnp.minimum(new, jnp.maximum(jnp.minimum(old.shape[-1], max_clamp_value), 10))
                return jnp.where(moves, new, old)

            factors, d = by_axis(factor, factors, q), by_axis(eigenvalue, d)
            q = every(update_interval, state.t, renewed, lambda t, factors, q: q, state.t, factors, q)
            m, v = jax.tree.map(lambda new, old: jnp.where(moves, new, old), (next_m, next_v), (m, v))
            return jnp.where(moves, a, 0), m, v, factors, q, d

        a, *rest = by_shape(step, 6, grads, *state[1:])
        rate = value_at(learning_rate, state.t)
        steps = jax.tree.map(lambda a: rate * a, a)
        left = jax.tree.map(jnp.subtract, params, steps)  # it decays after the step
        steps = decayed(steps, left, value_at(weight_decay, state.t), weight_decay_mask, rate)
        updates = jax.tree.map(lambda s: -s if s.ndim < 2 else jnp.where(moves, -s, 0), steps)
        return updates, KLShampooState(t, *rest)

    return optimizer(init, update)
