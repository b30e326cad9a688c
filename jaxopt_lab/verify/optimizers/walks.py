"""Run optimizers beside their twins for two hundred steps."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.verify.optimizers.case import Bounds, Case
from jaxopt_lab.verify.optimizers.cases import CASES, METHODS
from jaxopt_lab.verify.optimizers.haste import TRACING, compiled
from jaxopt_lab.verify.optimizers.problems import HELD_FLAT, PROBLEMS, TOGETHER, Problem, tensors

STEPS = 200


class Differences(NamedTuple):
    """Differences between ours and the twin, in the units of `case.Bounds`."""

    step: float
    traced: float
    free: float

    def beyond(self, bounds: Bounds, precision: str) -> dict[str, float]:
        """Return the differences that exceed their bound or are not finite."""
        step, free = (bounds.step64, bounds.free64) if precision == "float64" else (bounds.step32, bounds.free32)
        allowed = {"step": step, "traced": step, "free": free}
        return {what: gap for what, gap in self._asdict().items() if not gap <= allowed[what]}


def differences(case_name: str, precision: str) -> Differences:
    """Walk ours beside the twin of that row of `CASES`, in "float64" or "float32"."""
    return walked([CASES[case_name]], problem(case_name, precision), precision)[0]


def problem(case_name: str, precision: str) -> Problem:
    """Choose the problem for a row: the network or, if more is to be seen, all problems together."""
    case = CASES[case_name]
    if not case.thorough and (case_name not in METHODS or precision == "float32"):
        return PROBLEMS["mlp"]
    try:
        with TRACING:
            ours = case.make_ours()
            jax.eval_shape(lambda w: _extended(ours, HELD_FLAT, 0, w, w, 0.0, ours.init(w)), HELD_FLAT.start())
    except ValueError:  # it treats each tensor by itself, or masks some
        return TOGETHER
    return HELD_FLAT


def walked(cases: Sequence[Case], problem: Problem, precision: str) -> list[Differences]:
    """Walk ours beside the twin of each case, all in one program.

    `step`: hyperparameters as Python numbers, each step from the twin's point with the twin's gradient.
    `traced`: the same, every numeric hyperparameter traced and under `vmap`.
    `free`: traced and under `vmap` too, each on its own way from the start.

    A method without a twin is its own, and does not walk twice with Python numbers.
    """
    with TRACING, jax.enable_x64(precision == "float64"):
        values = [{name: jnp.asarray(value) for name, value in case.traceable().items()} for case in cases]
        start = problem.start()
        lowered = jax.jit(lambda start, values: _walk(cases, problem, start, values)).lower(start, values)
    updates, ends = jax.device_get(compiled(lowered)(start, values))
    start = jax.device_get(start)
    borders = np.cumsum([tensor.size for tensor in tensors(start)])[:-1]
    largest = lambda gap: np.stack([abs(tensor).max(1) for tensor in np.split(gap, borders, axis=1)], 1)
    every_step = precision == "float64"
    return [
        Differences(
            step=_over_largest(largest(ours - twin), largest(twin), every_step),
            traced=_over_largest(largest(traced - twin), largest(twin), every_step),
            free=_over_way(ours_end, twin_end, start),
        )
        for (twin, ours, traced), (ours_end, twin_end) in zip(updates, ends, strict=True)
    ]


def _walk(cases: Sequence[Case], problem: Problem, start, values):
    """Return for each case the updates of every step (the twin's, ours, ours traced) and both ends, ours first."""
    two = lambda tree: jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tree)
    one = lambda tree, i: jax.tree.map(lambda leaf: leaf[i], tree)
    row = lambda tree: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])

    def advance(case: Case, values, ws, gs, losses, states, t):
        """`ws[0]`: the twin's parameters; `ws[1]`: of ours, free."""
        extended = lambda optimizer, w, g, loss, state: _extended(optimizer, problem, t, w, g, loss, state)
        w, g, loss, (twin_state, ours_state, traced_states) = one(ws, 0), one(gs, 0), losses[0], states
        twin_update, twin_state = extended(case.make_twin(), w, g, loss, twin_state)
        if case.twin is None:
            ours_update, ours_state = twin_update, twin_state
        else:
            ours_update, ours_state = extended(case.make_ours(), w, g, loss, ours_state)
        traced = lambda values, w, g, loss, state: extended(case.make_traced(values), w, g, loss, state)
        traced_updates, traced_states = jax.vmap(traced)(two(values), ws, gs, losses, traced_states)
        moves = jax.tree.map(lambda leaf, first: leaf.at[0].set(first), traced_updates, twin_update)
        rows = [row(update) for update in (twin_update, ours_update, one(traced_updates, 0))]
        return optax.apply_updates(ws, moves), (twin_state, ours_state, traced_states), rows

    def step(carry, t):
        ws, states = carry
        losses, gs = jax.vmap(jax.vmap(jax.value_and_grad(problem.loss)))(ws)
        moved = [
            advance(case, values[i], one(ws, i), one(gs, i), losses[i], states[i], t) for i, case in enumerate(cases)
        ]
        ws = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(w for w, _, _ in moved))
        return (ws, [states for _, states, _ in moved]), [rows for _, _, rows in moved]

    def first_states(case: Case, values):
        traced = jax.vmap(lambda values: case.make_traced(values).init(start), axis_size=2)(two(values))
        twin = case.make_twin().init(start)
        return twin, twin if case.twin is None else case.make_ours().init(start), traced

    states = [first_states(case, v) for case, v in zip(cases, values, strict=True)]
    ws = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(cases), 2, *leaf.shape)), start)
    (ws, _), updates = jax.lax.scan(step, (ws, states), jnp.arange(STEPS))
    return updates, [(one(one(ws, i), 1), one(one(ws, i), 0)) for i in range(len(cases))]


def _extended(optimizer, problem: Problem, t, w, g, loss, state):
    return optax.with_extra_args_support(optimizer).update(g, state, w, grad=g, **problem.extras(loss, t))


def _over_largest(gap, largest, every_step: bool) -> float:
    """Return the worst element of any step, relative to the largest element of that leaf's update in that step.

    Without `every_step`, relative to the largest in any step: where a decaying sum passes through 0, float32 has no
    digits left.
    """
    assert np.isfinite(largest).all(), "the twin left the finite numbers: such a row proves nothing"
    if not every_step:
        gap, largest = gap.max(0), largest.max(0)
    with np.errstate(divide="ignore"):  # only ours has moved: the ratio is infinite
        return float(np.max(gap / np.where(gap == 0, 1, largest)))  # neither has: nothing


def _over_way(ours, twin, start) -> float:
    """Return the distance of the two ends, relative to the twin's distance from the start (norms over all leaves)."""
    flat = lambda tree: np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
    return float(np.linalg.norm(flat(ours) - flat(twin)) / np.linalg.norm(flat(twin) - flat(start)))
