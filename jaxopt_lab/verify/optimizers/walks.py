"""Two hundred steps of an optimizer beside its twin."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.verify.optimizers.case import Bounds, Case
from jaxopt_lab.verify.optimizers.cases import CASES, METHODS
from jaxopt_lab.verify.optimizers.haste import TRACING, compiled
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, TOGETHER, Problem

STEPS = 200


class Differences(NamedTuple):
    """How far ours is from the twin, in the units of `case.Bounds`."""

    step: float
    traced: float
    free: float

    def beyond(self, bounds: Bounds, precision: str) -> dict[str, float]:
        """Those that exceed their bound, or are not numbers at all."""
        step, free = (bounds.step64, bounds.free64) if precision == "float64" else (bounds.step32, bounds.free32)
        allowed = {"step": step, "traced": step, "free": free}
        return {what: gap for what, gap in self._asdict().items() if not gap <= allowed[what]}


def differences(case_name: str, precision: str) -> Differences:
    """Walk ours beside the twin of that row of `CASES`, in "float64" or "float32"."""
    case = CASES[case_name]
    thorough = case.thorough or (case_name in METHODS and precision == "float64")
    return walked(case, TOGETHER if thorough else PROBLEMS["mlp"], precision)


def walked(case: Case, problem: Problem, precision: str) -> Differences:
    """Walk ours beside the twin of a case.

    `step`: hyperparameters as Python numbers, each step from the twin's point with the twin's gradient.
    `traced`: the same, every numeric hyperparameter traced and under `vmap`.
    `free`: traced and under `vmap` too, each on its own way from the start.
    """
    with TRACING, jax.enable_x64(precision == "float64"):
        values = {name: jnp.asarray(value) for name, value in case.traceable().items()}
        start = problem.start()
        lowered = jax.jit(lambda start, values: _walk(case, problem, start, values)).lower(start, values)
    sizes, ends = jax.device_get(compiled(lowered)(start, values))
    start = jax.device_get(start)
    every_step = precision == "float64"
    return Differences(
        step=_over_largest(sizes["ours - twin"], sizes["twin"], every_step),
        traced=_over_largest(sizes["traced - twin"], sizes["twin"], every_step),
        free=_over_way(ends["traced"], ends["twin"], start),
    )


def _walk(case: Case, problem: Problem, start, values):
    ours, twin = (optax.with_extra_args_support(o) for o in (case.make_ours(), case.make_twin()))
    two = lambda tree: jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tree)
    put_first = lambda tree, leaves: jax.tree.map(lambda leaf, first: leaf.at[0].set(first), tree, leaves)
    first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)

    def extended(optimizer, g, state, w, t):
        return optax.with_extra_args_support(optimizer).update(g, state, w, grad=g, **problem.extras(w, t))

    def traced_update(values, g, state, w, t):
        return extended(case.make_traced(values), g, state, w, t)

    def step(carry, t):
        ws, (twin_state, ours_state, traced_states) = carry  # ws[0]: the twin's parameters; ws[1]: of ours, free
        gs = jax.vmap(problem.gradient)(ws)
        w, g = first(ws), first(gs)
        twin_update, twin_state = extended(twin, g, twin_state, w, t)
        ours_update, ours_state = extended(ours, g, ours_state, w, t)
        traced_updates, traced_states = jax.vmap(traced_update, (0, 0, 0, 0, None))(
            two(values), gs, traced_states, ws, t
        )
        ws = optax.apply_updates(ws, put_first(traced_updates, twin_update))
        sizes = {
            "twin": _largest(twin_update),
            "ours - twin": _largest(jax.tree.map(jnp.subtract, ours_update, twin_update)),
            "traced - twin": _largest(jax.tree.map(jnp.subtract, first(traced_updates), twin_update)),
        }
        return (ws, (twin_state, ours_state, traced_states)), sizes

    traced_states = jax.vmap(lambda values: case.make_traced(values).init(start), axis_size=2)(two(values))
    states = (twin.init(start), ours.init(start), traced_states)
    (ws, _), sizes = jax.lax.scan(step, (two(start), states), jnp.arange(STEPS))
    return sizes, {"twin": first(ws), "traced": jax.tree.map(lambda leaf: leaf[1], ws)}


def _largest(tree):
    """The largest element of every leaf: one vector."""
    return jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)])


def _over_largest(gap, largest, every_step: bool) -> float:
    """The worst element of any step, over the largest element of that leaf's update in that step.

    Or, without `every_step`, in any step: where a decaying sum passes through 0, float32 has no digits left.
    """
    assert np.isfinite(largest).all(), "the twin left the finite numbers: such a row proves nothing"
    if not every_step:
        gap, largest = gap.max(0), largest.max(0)
    with np.errstate(divide="ignore"):  # ours alone has moved: infinitely far
        return float(np.max(gap / np.where(gap == 0, 1, largest)))  # neither has: nothing


def _over_way(ours, twin, start) -> float:
    """Distance of the two ends, over the twin's distance from the start (Euclidean norms over all leaves)."""
    flat = lambda tree: np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
    return float(np.linalg.norm(flat(ours) - flat(twin)) / np.linalg.norm(flat(twin) - flat(start)))
