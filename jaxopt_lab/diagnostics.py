"""Diagnostics: further curves of a trial, measured in its training loop, each at a stride of its own.

- update_ratio: |update| / |weights|, for each top-level key of the parameters' tree: curves "update_ratio.KEY".
- gradient_norm, update_norm: Euclidean norms of the step's gradient, and of what the step adds to the parameters.
- cosine: between the update and the negative gradient.
- noise_scale: tr(Sigma) / |G|^2 of the gradient, in examples: see `noise_scale`. About one further gradient.
- sharpness: the largest eigenvalue of the training loss's Hessian on the step's batch: see `sharpness`. Twenty
  products with the Hessian, each of about two gradients.
- preconditioned_sharpness: likewise of P^-1 H, where P is the diagonal that divides the step of an adaptive method:
  of Adam, AdamW, Adagrad and RMSProp.
- learning_rate: not measured; it asks for the curve "learning_rate_in_force", also where the rate is constant.

All are of the parameters before the step, and of its batch. A curve keeps its value from one measurement to the next,
and after the last step; it is NaN once the trial has diverged. The gradients do not count as `gradients_taken`.

Where a diagnostic is not due it is not computed: the number of the step, which decides that, is the same for all trials
of a chunk, so the branch remains a branch when trials are mapped.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxopt_lab.types import Batch, Params, random_key

LEARNING_RATE = "learning_rate"  # no measurement: it asks for the curve of the learning rate in force
PRECONDITIONED = "preconditioned_sharpness"  # of methods that register what divides their step
PRODUCTS = 20  # products with the Hessian in a measurement of the sharpness
MEMORY = 0.9  # of the noise scale's running means, from one measurement to the next

Own = Callable[[Params, Params, Params, Any, Batch], Any]
"""A user's diagnostic: (params, grads, updates, state, batch) -> scalar."""


class Step(NamedTuple):
    """What a diagnostic sees of a step."""

    params: Params  # before the step
    grads: Params
    updates: Params  # what the step adds to the parameters
    state: Any  # the optimizer's, with which it made the updates: after the step
    batch: Batch
    gradient: Callable[[Params, Batch], Params]  # of the step's training loss, at other parameters or other examples
    preconditioner: Any = None  # a function of the state: the diagonal that divides the step, where it is known


class NoiseMeans(NamedTuple):
    """Running means, both scaled by 1 - MEMORY^(measurements so far), which their ratio does not see."""

    noise: Float[Array, ""]  # of the estimates of tr(Sigma)
    signal: Float[Array, ""]  # of the estimates of |G|^2


@dataclasses.dataclass(frozen=True)
class Diagnostic:
    """One diagnostic of a plan.

    Attributes:
        name: One of BUILT_IN, or the name of a user's own.
        stride: It is due at the first step at or after each multiple of this, in the plan's units.
        per_step: How many of these units a step takes.
        own: The function, where it is a user's own.

    """

    name: str
    stride: int
    per_step: int = 1
    own: Own | None = None

    def due(self, t: Int[Array, ""]) -> Bool[Array, ""]:
        """Return whether it is measured in step `t`."""
        return (t.astype(jnp.uint32) * jnp.uint32(self.per_step)) % jnp.uint32(self.stride) < self.per_step

    def curves(self, params: Params) -> list[str]:
        """Return the names of its curves; only the shapes of the parameters matter."""
        if self.name == "update_ratio":
            return list(groups(params))
        return [] if self.name == LEARNING_RATE else [self.name]


def curves(diagnostics: Iterable[Diagnostic], params: Params) -> list[str]:
    """Return the names of the curves of some diagnostics; only the shapes of the parameters matter."""
    return [name for one in diagnostics for name in one.curves(params)]


def start(diagnostics: Iterable[Diagnostic]) -> Any:
    """Return what the diagnostics keep from step to step, before the first; None where they keep nothing."""
    zero = jnp.zeros([], float)
    return NoiseMeans(zero, zero) if any(one.name == "noise_scale" for one in diagnostics) else None


def measured(
    diagnostics: Iterable[Diagnostic], step: Step, t: Int[Array, ""], before: Mapping[str, Array], kept: Any
) -> tuple[dict[str, Array], Any]:
    """Measure those that are due in step `t`; the others' curves go on at their values `before`.

    Returns:
        The values of all curves by name, and what is kept for the next step.

    """
    values, when = {}, lambda one: (one.stride, one.per_step)
    for _, together in itertools.groupby(sorted(diagnostics, key=when), when):
        some = list(together)
        names = curves(some, step.params)
        if not names:
            continue

        def look(some=some, kept=kept):
            found: dict[str, Any] = {}
            for one in some:
                if one.own is not None:
                    found[one.name] = one.own(*step[:5])
                elif one.name == "noise_scale":
                    found[one.name], kept = noise_scale(step, kept)
                elif one.name != LEARNING_RATE:
                    found |= BUILT_IN[one.name](step)
            return {name: jnp.asarray(x).astype(before[name].dtype) for name, x in found.items()}, kept

        def wait(names=names, kept=kept):
            return {name: before[name] for name in names}, kept

        found, kept = jax.lax.cond(some[0].due(t), look, wait)
        values |= found
    return values, kept


def groups(params: Params) -> dict[str, list[int]]:
    """Group the leaves of parameters by the top-level keys of their tree: positions, by the name of the curve."""
    found: dict[str, list[int]] = {}
    for n, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
        key = f".{jax.tree_util.keystr(path[:1], simple=True)}" if path else ""
        found.setdefault(f"update_ratio{key}", []).append(n)
    return found


def update_ratio(step: Step) -> dict[str, Array]:
    """Return |update| / |weights| for each group of leaves; infinity for weights that are all zero."""
    leaves, moves = jax.tree.leaves(step.params), jax.tree.leaves(step.updates)
    part = lambda leaves, own: norm([leaves[n] for n in own])
    return {name: part(moves, own) / part(leaves, own) for name, own in groups(step.params).items()}


def cosine(step: Step) -> Array:
    """Return the cosine between the update and the negative gradient; NaN where either is zero."""
    return -dot(step.updates, step.grads) / (norm(step.updates) * norm(step.grads))


def noise_scale(step: Step, means: NoiseMeans) -> tuple[Array, NoiseMeans]:
    """Measure the gradient noise scale tr(Sigma) / |G|^2, in examples, and bring its running means up to date.

    From the gradient of the step's batch of B examples and those of two halves of b = B // 2 examples (McCandlish et
    al. 2018, Appendix A.1, https://arxiv.org/abs/1812.06162), where |G_b|^2 is the mean over both halves:

        |G|^2     ~ (B |G_B|^2 - b |G_b|^2) / (B - b)
        tr(Sigma) ~ (|G_b|^2 - |G_B|^2) / (1 / b - 1 / B)

    Both are unbiased and noisy, so the ratio is that of their running means over measurements. It is infinite where
    that of |G|^2 is not positive: there the gradient cannot be told from noise. Measurements that are not finite leave
    the means as they are.
    """
    big = jax.tree.leaves(step.batch)[0].shape[0]
    small = big // 2
    halves = jax.tree.map(lambda x: x[: 2 * small].reshape(2, small, *x.shape[1:]), step.batch)
    of_half = jax.vmap(lambda half: square(step.gradient(step.params, half)))(halves).mean()
    of_batch = square(step.grads)
    signal = (big * of_batch - small * of_half) / (big - small)
    noise = (of_half - of_batch) / (1 / small - 1 / big)
    finite = jnp.isfinite(signal) & jnp.isfinite(noise)
    mean = lambda old, new: jnp.where(finite, MEMORY * old + (1 - MEMORY) * new.astype(old.dtype), old)
    means = NoiseMeans(mean(means.noise, noise), mean(means.signal, signal))
    return jnp.where(means.signal > 0, means.noise / means.signal, jnp.inf), means


def sharpness(
    gradient: Callable[[Params], Params], params: Params, preconditioner: Params | None = None, products: int = PRODUCTS
) -> Float[Array, ""]:
    """Return the largest eigenvalue of a Hessian, or of a preconditioned one, at `params`.

    It is the largest Ritz value of the Lanczos method after `products` products with the Hessian, from a fixed random
    vector: as power iteration, it needs no matrix, and it gets closer in as many products. It never exceeds the
    eigenvalue, but for rounding; with as many products as parameters it is exact.

    Gradient descent is stable where the sharpness is below 2 / eta, and with heavy-ball momentum b below (2 + 2 b) /
    eta (Cohen et al. 2021, https://arxiv.org/abs/2103.00065). For Adam the same holds of P^-1 H, where P is the
    diagonal that divides its step, below (2 + 2 b1) / ((1 - b1) eta): 38 / eta at b1 = 0.9 (Cohen et al. 2022,
    https://arxiv.org/abs/2207.14484). "preconditioned_sharpness" knows P for some methods; for
    another, a function of your own is a diagnostic: `sharpness(jax.grad(lambda w: loss(w, batch)), params, p)`.

    Args:
        gradient: The gradient of the loss, as a function of the parameters.
        params: Where; any tree of floating-point arrays.
        preconditioner: The diagonal P, positive, as a tree like `params`: the eigenvalue is then that of P^-1 H.
        products: The number of products with the Hessian.

    """
    _, times_hessian = jax.linearize(gradient, params)
    narrow = lambda v: jax.tree.map(lambda v, w: v.astype(w.dtype), v, params)  # the vectors themselves are wide
    root = None if preconditioner is None else jax.tree.map(lambda p: jnp.sqrt(_wide(p)), preconditioner)
    divided = lambda v: v if root is None else jax.tree.map(jnp.divide, v, root)
    # P^-1/2 H P^-1/2 has the eigenvalues of P^-1 H.
    times = lambda v: divided(jax.tree.map(_wide, times_hessian(narrow(divided(v)))))
    first = _random_like(params)
    zero = jnp.zeros_like(norm(first))
    eps = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(params))

    def turn(carry, _):
        before, v, beta, size, live = carry
        w = times(v)
        alpha = dot(v, w)
        w = jax.tree.map(lambda w, v, u: w - _like(alpha, w) * v - _like(beta, w) * u, w, v, before)
        beta = norm(w)
        size = jnp.maximum(size, jnp.abs(alpha) + beta)
        goes_on = live & (beta > eps * size)  # else the vectors so far span an invariant subspace
        following = jax.tree.map(lambda w: w / _like(jnp.where(goes_on, beta, 1), w), w)
        beta = jnp.where(goes_on, beta, 0)
        return (v, following, beta, size, goes_on), (alpha, beta, live)

    v = jax.tree.map(lambda x: x / _like(norm(first), x), first)
    carry = jax.tree.map(jnp.zeros_like, v), v, zero, zero, jnp.asarray(True)
    _, (alpha, beta, live) = jax.lax.scan(turn, carry, length=products)
    alpha = jnp.where(live, alpha, alpha[0])  # after the end, a value that is no larger than the largest
    found = largest_of_tridiagonal(alpha, beta[:-1])
    return jnp.where(jnp.isfinite(alpha).all() & jnp.isfinite(beta).all(), found, jnp.nan)


def largest_of_tridiagonal(diagonal: Float[Array, " n"], beside: Float[Array, " n-1"]) -> Float[Array, ""]:
    """Return the largest eigenvalue of a symmetric tridiagonal matrix: it is below x where all pivots are negative.

    LAPACK's function, called from a loop in several threads at once, may wait for ever on a CPU.
    """
    squares = beside**2
    radius = jnp.pad(jnp.abs(beside), (0, 1)) + jnp.pad(jnp.abs(beside), (1, 0))

    def halve(_, bounds):
        low, high = bounds
        x = low + (high - low) / 2
        pivot = diagonal[0] - x
        below = pivot < 0
        for n in range(1, len(diagonal)):
            pivot = diagonal[n] - x - squares[n - 1] / jnp.where(pivot == 0, -jnp.finfo(x.dtype).tiny, pivot)
            below &= pivot < 0
        return jnp.where(below, low, x), jnp.where(below, x, high)

    bounds = diagonal.max(), (diagonal + radius).max()
    return jax.lax.fori_loop(0, jnp.finfo(diagonal.dtype).nmant + 8, halve, bounds)[1]


def dot(a: Any, b: Any) -> Float[Array, ""]:
    """Return the inner product of two trees over the real numbers, in float32 or wider."""
    pairs = zip(map(_wide, jax.tree.leaves(a)), map(_wide, jax.tree.leaves(b)), strict=True)
    return sum((jnp.sum(jnp.real(x * jnp.conj(y))) for x, y in pairs), start=jnp.zeros([], jnp.float32))


def square(tree: Any) -> Float[Array, ""]:
    """Return the squared Euclidean norm of a tree, in float32 or wider."""
    return dot(tree, tree)


def norm(tree: Any) -> Float[Array, ""]:
    """Return the Euclidean norm of a tree, in float32 or wider."""
    return jnp.sqrt(square(tree))


BUILT_IN: Mapping[str, Callable[[Step], dict[str, Array]]] = {
    "update_ratio": update_ratio,
    "gradient_norm": lambda step: {"gradient_norm": norm(step.grads)},
    "update_norm": lambda step: {"update_norm": norm(step.updates)},
    "cosine": lambda step: {"cosine": cosine(step)},
    "sharpness": lambda step: {"sharpness": _sharpness(step)},
    PRECONDITIONED: lambda step: {PRECONDITIONED: _sharpness(step, step.preconditioner(step.state))},
}
NAMES = (*BUILT_IN, "noise_scale", LEARNING_RATE)
SPARSE = ("sharpness", PRECONDITIONED, "noise_scale")  # measured less often by default: they take further gradients


def _sharpness(step: Step, preconditioner: Params | None = None) -> Array:
    return sharpness(lambda w: step.gradient(w, step.batch), step.params, preconditioner)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _like(number: Array, x: Array) -> Array:
    """Return a number in the precision of an array, which it thus does not widen."""
    return number.astype(jnp.real(x).dtype)


def _random_like(params: Params) -> Params:
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(random_key(0), len(leaves))
    return tree.unflatten(
        jax.random.normal(key, x.shape, x.dtype) for key, x in zip(keys, map(_wide, leaves), strict=True)
    )
