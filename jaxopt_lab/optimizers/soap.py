"""SOAP: Adam in the slowly rotating eigenbasis of Shampoo's preconditioner."""

from typing import Any, NamedTuple

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
from jaxopt_lab.optimizers._kronecker import (
    adjoints,
    along,
    along_all,
    by_axis,
    by_shape,
    eigenvectors,
    identities,
    merged,
    permuted,
    products,
    sides,
    sizes,
)
from jaxopt_lab.optimizers._numerics import adjoint, squared
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class SoapState(NamedTuple):
    t: Int[Array, ""]  # calls so far; the first does not move
    m: Params  # running mean of g, rotated
    v: Params  # running mean of |g|^2 of the rotated g
    factors: Params  # of each axis of each tensor, the running mean of g g'
    q: Params  # their eigenvectors as columns, approximately


def turned(t: Array, factors: Any, q: Any, m: Array, v: Array) -> tuple[tuple[Array | None, ...], Array, Array]:
    """Bring the bases nearer to the eigenvectors by a step of orthogonal iteration; those of the first call are exact.

    Columns are sorted by eigenvalue before it. m is rotated into the new basis; v is only permuted.
    """

    def exact(factor, old):
        return eigenvectors(factor), jnp.broadcast_to(jnp.arange(old.shape[-1], dtype="int32"), old.shape[:-1])

    def iterated(factor, old):
        near = factor @ old
        order = jnp.argsort(-jnp.real(jnp.sum(jnp.conj(old) * near, -2)), -1).astype(jnp.int32)
        return decomposed(jnp.linalg.qr, permuted(near, order, 1))[0], order

    m, new = along_all(q, m), list(q)
    for axis, (factor, old) in enumerate(zip(factors, q, strict=True)):
        if old is not None:
            new[axis], order = when(t == 0, exact, iterated, factor, old)
            v, m = permuted(v, order, axis), along(adjoint(new[axis]), m, axis)
    return tuple(new), m, v


@method(
    learning_rate=Prior(1e-4, 1e-1, "log", "the paper's 3.16e-4 to 1e-2 (Section 5), a decade more for small problems"),
    b1=Prior(0.8, 0.99, "one_minus", "the authors' 0.95, about a factor of 5 either way"),
    b2=Prior(0.8, 0.999, "one_minus", "as Adam's, around the authors' 0.95"),
    eps=Prior(1e-10, 1e-1, "log", "as Adam's"),
    weight_decay=Prior(1e-5, 1e-1, "log", "as AdamW's"),
)
def soap(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.95,
    b2: Scalar = 0.95,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    weight_decay: ScalarOrSchedule = 0.01,
    shampoo_beta: Scalar | None = None,
    *,
    update_interval: int = 10,
    max_precond_dim: int = 10000,
    merge_dims: bool = False,
    precondition_1d: bool = False,
    normalize: bool = False,
    bias_correction: bool = True,
    heavyball: bool = False,
    weight_decay_mask: Mask = None,
    moment_dtype: Any = None,
) -> Optimizer:
    """SOAP (Vyas et al. 2025, Algorithm 3, https://arxiv.org/abs/2409.11321).

        r <- Q_L' g Q_R                                          for matrices; along every axis of a larger tensor
        m <- b1 m + (1 - b1) r;  v <- b2 v + (1 - b2) r^2
        w <- w - learning_rate * Q_L (m / (sqrt(v + eps_root) + eps)) Q_R' * sqrt(1 - b2^t) / (1 - b1^t)
        w <- w - learning_rate * weight_decay * w
        L <- beta L + (1 - beta) g g';  R <- beta R + (1 - beta) g' g        beta: shampoo_beta
        Q_L, Q_R <- QR(L Q_L), QR(R Q_R)                         every update_interval steps; m is rotated along

    The first call sets Q to the eigenvectors of the first gradient's factors, does not move, and is not counted in t.
    Vectors and scalars are trained by Adam, their first step left out too. In float32 with a full batch, eps = 1e-8
    lets rounding decide the second step's direction where the rotated gradient is 0: choose it larger.

    Args:
        learning_rate: Step size, > 0, in units of w; scalar, traced or a schedule `step -> value`.
        b1: Decay of the mean of r, in [0, 1).
        b2: Decay of the mean of r^2, in [0, 1).
        eps: Added to the root, >= 0, in units of g.
        eps_root: Added under the root, >= 0, in units of g^2; the paper's (with eps = 0 and `bias_correction=False`).
        weight_decay: Share of w taken off after each step, times the learning rate; >= 0; scalar, traced or a schedule.
        shampoo_beta: Decay of the means of g g' and g' g, in [0, 1); None: b2.
        update_interval: Steps from one renewal of the bases to the next. Its cost (QR) is paid in these steps only,
            also where many trials are mapped together.
        max_precond_dim: An axis longer than this is not rotated.
        merge_dims: Whether neighbouring axes are joined while their product is at most max_precond_dim.
        precondition_1d: Whether vectors are rotated too.
        normalize: Whether each tensor's direction is divided by its root mean square.
        bias_correction: Whether the means are corrected for their start at 0.
        heavyball: Take the conventions of the library HeavyBall: eps is the least value of the corrected root instead
            of being added to the uncorrected one; the first call counts in the interval; w decays before the step.
        weight_decay_mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it),
            or a function from the parameters to one; None decays all.
        moment_dtype: Dtype of the state, for example "float32" for bfloat16 parameters, whose bases are otherwise
            orthogonal to two digits only. None keeps the parameters' dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair. Beside the two means, the state has two square matrices for each axis of a matrix.

    Raises:
        ValueError: An interval or size < 1, or `update` was called without the parameters.

    """
    update_interval = static_count("update_interval", update_interval)
    max_precond_dim = static_count("max_precond_dim", max_precond_dim)
    beta = b2 if shampoo_beta is None else shampoo_beta
    fold = lambda w: w.reshape(merged(w.shape, max_precond_dim)) if merge_dims else w

    def init(params: Params) -> SoapState:
        needs_leaves(params, "soap")
        eyes = lambda w: identities(w, sides(w, max_precond_dim, 1 if precondition_1d else 2), moment_dtype)
        like = jax.tree.map(fold, params)
        q, zeros = jax.tree.map(eyes, like), lambda w: jax.tree.map(jnp.zeros_like, eyes(w))
        m, v = zeros_like(like, moment_dtype), reals_like(like, moment_dtype)
        return SoapState(jnp.zeros([], jnp.int32), m, v, jax.tree.map(zeros, like), q)

    def update(grads, state, params=None):
        needs_params(params, "soap", "decays")
        k, moves = jnp.maximum(state.t, 1), state.t > 0  # k: steps, this one included
        m_scale, v_scale = (1 / one_minus_power(b, k) if bias_correction else 1 for b in (b1, b2))
        counted = state.t + 1 if heavyball else state.t
        due = (state.t == 0) | (counted % update_interval == 0)

        def step(g, m, v, factors, q):
            r = along_all(adjoints(q), g)
            next_m, next_v = b1 * m + (1 - b1) * r, b2 * v + (1 - b2) * squared(r)
            if heavyball:
                n = m_scale * next_m / jnp.maximum(jnp.sqrt(v_scale * next_v + eps_root), eps)
            else:
                n = m_scale / jnp.sqrt(v_scale) * next_m / (jnp.sqrt(next_v + eps_root) + eps)
            a = along_all(q, n)
            a = a / (1e-30 + sizes(a)) if normalize else a
            factors = by_axis(lambda axis, f: beta * f + (1 - beta) * products(g, axis), factors)
            m, v = (jnp.where(moves, new, old) for new, old in ((next_m, m), (next_v, v)))
            keep = lambda t, factors, q, m, v: (q, m, v)
            q, m, v = when(due, turned, keep, state.t, factors, q, m, v)
            return a, m, v, factors, q

        a, *rest = by_shape(step, 5, jax.tree.map(fold, grads), state.m, state.v, state.factors, state.q)
        rate = value_at(learning_rate, state.t)
        steps = jax.tree.map(lambda a, w: rate * a.reshape(w.shape), a, params)
        left = params if heavyball else jax.tree.map(jnp.subtract, params, steps)  # what decays
        steps = decayed(steps, left, value_at(weight_decay, state.t), weight_decay_mask, rate)
        return jax.tree.map(lambda s: jnp.where(moves, -s, 0), steps), SoapState(next_step(state.t), *rest)

    return optimizer(init, update)
