"""Methods that see curvature or the neighbourhood, beside their twins."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import (
    Bounds,
    Case,
    halving,
    matrices,
    pair_with_extras,
    rate,
    slow,
    slow_halving,
    steady,
)

# SAM

heavy_ball = partial(optax.sgd, momentum=0.9)


def opaque_sam(ascent, learning_rate, base):
    """Optax's in its opaque mode, which asks for a gradient function of two arguments."""
    inner = optax.contrib.sam(base(learning_rate), ascent, opaque_mode=True)

    def update(grads, state, params=None, *, value_fn, **_):
        return inner.update(grads, state, params, grad_fn=lambda w, _: jax.grad(value_fn)(w))

    return pair_with_extras(inner.init, update)


def sam_twin(learning_rate, rho=0.05, *, base=heavy_ball):
    return opaque_sam(optax.chain(optax.contrib.normalize(), optax.sgd(rho)), learning_rate, base)


def adaptive_sam_twin(learning_rate, rho=0.05, *, base, adaptive):
    """The same, climbing as Kwon et al. do."""
    assert adaptive
    times = lambda power: optax.stateless(lambda g, w: jax.tree.map(lambda g, w: jnp.abs(w) ** power * g, g, w))
    return opaque_sam(optax.chain(times(1), optax.contrib.normalize(), times(1), optax.sgd(rho)), learning_rate, base)


def adamw_of_either(learning_rate):
    return optax.adamw(learning_rate, 0.8, 0.95, weight_decay=0.1)


SAM = {
    "sam": Case(
        jl.sam,
        sam_twin,
        slow,
        differs={"base": "a factory of ours, an optimizer of Optax's", "adaptive": "not in Optax"},
        mended="in opaque mode",
        convention=(
            "One step is ascent and descent together, as in Optax's opaque mode; otherwise Optax takes two "
            "steps. Optax has no adaptive SAM (`adaptive=True`)."
        ),
    ),
    "sam values": Case(jl.sam, sam_twin, slow | {"rho": 0.3}, {"base": optax.sgd}),
    "sam schedule": Case(jl.sam, sam_twin, {"learning_rate": slow_halving}),
    "sam adaptive": Case(
        jl.sam, adaptive_sam_twin, slow | {"rho": 0.3}, {"base": adamw_of_either, "adaptive": True}, steady
    ),
}

# Sophia


def signs_times_curvature():
    """Hutchinson's estimate with this step's key; Optax's own keeps a key of its own from step to step."""

    def update(grads, state, params: Any = None, *, value_fn, key, **_):
        r = optax.tree.random_like(key, params, jax.random.rademacher)
        _, along = jax.jvp(jax.grad(value_fn), (params,), (r,))
        return optax.tree.mul(r, along), state

    return pair_with_extras(lambda params: (), update)


def squares(value_fn, params, grads, key):
    return jax.tree.map(jnp.square, grads)


def sophia_twin(
    learning_rate,
    b1=0.965,
    b2=0.99,
    eps=1e-8,
    weight_decay=1e-4,
    gamma=0.01,
    clip_threshold=1.0,
    update_interval=10,
    *,
    weight_decay_mask=None,
):
    """Optax's, given the same random signs."""
    return optax.contrib.sophia(
        learning_rate,
        b1,
        b2,
        eps,
        weight_decay,
        weight_decay_mask,
        gamma,
        clip_threshold,
        update_interval,
        signs_times_curvature(),
    )


def sophia_of_squares(learning_rate, update_interval=10, *, hessian_diagonal_fn):
    """Optax's, with squares of gradients for curvature."""
    assert hessian_diagonal_fn is squares
    estimate = optax.stateless(lambda g, _: jax.tree.map(jnp.square, g))
    return optax.contrib.sophia(learning_rate, update_interval=update_interval, hessian_diagonal_fn=estimate)


clipped = Bounds(
    step64=1e-11,
    step32=1e-4,
    free64=1e-2,
    free32=1e-1,
    why="means of both signs cancel; a clipped step is of one size, so that signs flip near a minimum",
)

SOPHIA = {
    "sophia": Case(
        jl.sophia,
        sophia_twin,
        slow,
        bounds=clipped,
        differs={
            "hessian_diagonal_fn": "a function of ours, a transformation of Optax's",
            "seed": "Optax's is an argument of its estimate",
            "bias_correction": "Optax always corrects, the authors never",
            "estimate_first": "Optax's estimate serves the next step, the paper's its own",
        },
        mended="with the step's random signs",
        not_traced={
            "seed": "it is a constant of the program",
        },
        real_only=True,
        convention=(
            "As Optax: the mean is corrected, and an estimate of the curvature serves the next step. The "
            "authors do not correct (`bias_correction=False`), and the paper estimates before the step that "
            "uses the estimate (`estimate_first=True`)."
        ),
    ),
    "sophia values": Case(
        jl.sophia,
        sophia_twin,
        slow
        | {"b1": 0.8, "b2": 0.9, "eps": 1e-2, "weight_decay": 0.1, "gamma": 0.3}
        | {"clip_threshold": 0.7, "update_interval": 3},
        bounds=clipped,
    ),
    "sophia unclipped": Case(jl.sophia, sophia_twin, slow | {"eps": 1.0, "clip_threshold": None}, bounds=clipped),
    "sophia mask": Case(jl.sophia, sophia_twin, slow | {"weight_decay": 0.5}, {"weight_decay_mask": matrices}, clipped),
    "sophia squares": Case(
        jl.sophia, sophia_of_squares, slow | {"update_interval": 2}, {"hessian_diagonal_fn": squares}, clipped
    ),
    "sophia schedule": Case(jl.sophia, sophia_twin, {"learning_rate": slow_halving}, bounds=clipped),
}

# L-BFGS

remembered = Bounds(
    step64=1e-11,
    step32=1e-5,
    free64=1e-2,
    free32=0.5,
    why="curvatures are quotients of differences: Optax's own end moves by 2e-4 where its start moves by 1e-15",
)


def lbfgs_twin(learning_rate=None, *, memory_size=10, scale_init_precond=True, linesearch=None):
    """Optax's, and where ours backtracks its own search with the same rule: halve until the decrease is enough.

    But for pairs of negative curvature, which it would use: at such a step it is told that it is at its first, for
    which it leaves the newest pair out. Its memory is turned then, so that the newest place is where that looks for it.
    """
    halve = optax.scale_by_backtracking_linesearch(30, decrease_factor=0.5, increase_factor=jnp.inf)
    inner: Any = optax.lbfgs(learning_rate, memory_size, scale_init_precond, halve if linesearch else None)

    def turned(memories, by):
        roll = lambda leaf: jnp.roll(leaf, by, axis=0)
        names = ("diff_params_memory", "diff_updates_memory", "weights_memory")
        return memories._replace(**{name: jax.tree.map(roll, getattr(memories, name)) for name in names})

    def update(grads, state, params=None, *, value, value_fn, grad, **_):
        (memory, *others), difference = state, optax.tree.sub
        curvature = optax.tree.vdot(difference(grads, memory.updates), difference(params, memory.params))
        anew, count = jnp.less_equal(curvature, 0), memory.count
        by = jnp.where(anew, count % memory_size, 0)
        memory = turned(memory, -by)._replace(count=jnp.where(anew, 0, count))
        updates, (memory, *others) = inner.update(
            grads, (memory, *others), params, value=value, value_fn=value_fn, grad=grad
        )
        return updates, (turned(memory, by)._replace(count=count + 1), *others)

    return pair_with_extras(inner.init, update)


halved = remembered._replace(
    free64=0.1,
    why="near the minimum rounding decides how often a step is halved: Optax's own end moves by 3e-2 to 8e-2 where its "
    "start moves by 1e-15",
)

LBFGS = {
    "lbfgs": Case(
        jl.lbfgs,
        lbfgs_twin,
        rate,
        {"linesearch": None},
        remembered,
        {"linesearch": "a name of ours, a transformation of Optax's"},
        mended="with the same extra arguments",
        not_traced={
            "memory_size": "it is a shape of the state",
        },
        convention=(
            "The line search finds a point that meets the weak Wolfe conditions; Optax's zoom search is a "
            "different one."
        ),
    ),
    "lbfgs values": Case(
        jl.lbfgs, lbfgs_twin, rate, {"linesearch": None, "memory_size": 3, "scale_init_precond": False}, remembered
    ),
    "lbfgs schedule": Case(
        jl.lbfgs, lbfgs_twin, {"learning_rate": halving}, {"linesearch": None}, remembered, thorough=True
    ),
    "lbfgs backtracking": Case(jl.lbfgs, lbfgs_twin, {}, {"linesearch": "backtracking"}, halved),
}

CASES = {**SAM, **SOPHIA, **LBFGS}
