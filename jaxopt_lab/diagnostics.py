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
of a chunk, so the branch remains a branch when trials are mapped. Where all are seldom due, the steps in between have a
loop of their own, without a branch.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxopt_lab.sharpness import dot, norm, sharpness, square
from jaxopt_lab.types import Batch, Params

LEARNING_RATE = "learning_rate"  # no measurement: it asks for the curve of the learning rate in force
PRECONDITIONED = "preconditioned_sharpness"  # of methods that register what divides their step
SELDOM = 4  # the least stride, in steps, at which the steps between measurements have a loop of their own
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

    def next_due(self, t: Int[Array, ""]) -> Int[Array, ""]:
        """Return the first step from `t` on in which it is measured."""
        stride, per_step, t = jnp.uint32(self.stride), jnp.uint32(self.per_step), t.astype(jnp.uint32)
        multiple = jnp.where(t == 0, 0, ((jnp.maximum(t, 1) - 1) * per_step // stride + 1) * stride)
        return ((multiple + (per_step - 1)) // per_step).astype(jnp.int32)

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


def advanced(
    diagnostics: tuple[Diagnostic, ...],
    plain: Callable[..., Any],
    full: Callable[..., Any],
    carry: tuple[Any, dict[str, Array]],
    first: Int[Array, ""],
    count: Int[Array, ""] | int,
    loop: Callable[..., Any],
    bad: Callable[[Any], Int[Array, ""]],
) -> tuple[Any, dict[str, Array]]:
    """Make `count` steps from `first` on; where few of them measure, by a loop of plain steps before each that does.

    A branch in each step would cost more than what it leaves out, since XLA could no longer compute an update together
    with the parameters; and each curve takes some small kernels in each step.

    Args:
        diagnostics: What is measured.
        plain: Makes step `first + i` of the trial without diagnostics: `(i, carry) -> carry`.
        full: Likewise with them.
        carry: The trial's state, and its curves from `first` on.
        first: The first step.
        count: How many to make.
        loop: As `jax.lax.fori_loop`.
        bad: Gives the first step in which curves are NaN, since the trial diverged: a function of the state.

    """
    measured = [one for one in diagnostics if one.name != LEARNING_RATE]
    if min((one.stride // one.per_step for one in measured), default=0) < SELDOM:
        return loop(0, count, full, carry)
    (state, curves), end = carry, jnp.asarray(count, jnp.int32)
    own = {name for one in measured for name in one.curves(state.params)}
    mine = lambda named: {name: x for name, x in named.items() if name in own}
    others = lambda named: {name: x for name, x in named.items() if name not in own}
    before = mine(state.info)

    def apart(state, curves):
        rest = state._replace(info=others(state.info), watched=None), others(curves)
        return rest, (mine(state.info), state.watched, mine(curves))

    def joined(rest, kept):
        (state, curves), (info, watched, measured) = rest, kept
        return state._replace(info=state.info | info, watched=watched), curves | measured

    def block(reached):
        i, rest, kept = reached
        nearest = jnp.stack([one.next_due(first + i) for one in measured]).min() - first
        due = jnp.minimum(nearest, end)
        following = jnp.minimum(due + 1, end)
        return following, *loop(
            due, following, lambda i, parts: apart(*full(i, joined(*parts))), (loop(i, due, plain, rest), kept)
        )

    _, *parts = jax.lax.while_loop(lambda reached: reached[0] < end, block, (jnp.int32(0), *apart(state, curves)))
    state, curves = joined(*parts)
    ended, i = bad(state), jnp.arange(len(next(iter(curves.values()))), dtype=jnp.int32)
    due = jnp.stack([one.due(first + i) for one in measured]).any(axis=0)
    at = jax.lax.cummax(jnp.where(due, i, -1))  # the last measurement before each step, whose values are kept
    known = (i < end) & (first + i < ended)
    fill = lambda curve, before: jnp.where(known, jnp.where(at >= 0, curve[jnp.maximum(at, 0)], before), jnp.nan)
    last = {name: jnp.where(first + end > ended, jnp.nan, x) for name, x in mine(state.info).items()}
    filled = {name: fill(curve, before[name]) for name, curve in mine(curves).items()}
    return state._replace(info=state.info | last), curves | filled


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
