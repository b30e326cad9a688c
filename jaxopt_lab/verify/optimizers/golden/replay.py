"""Replay recorded runs of the authors' own code with ours."""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.trial import answer
from jaxopt_lab.types import random_key
from jaxopt_lab.verify.optimizers.golden.problems import IN_HALVES, PROBLEMS, flat, held
from jaxopt_lab.verify.optimizers.haste import TRACING, compiled

FOLDER = resources.files("jaxopt_lab.verify.optimizers.golden")


@functools.cache
def recorded() -> dict[str, np.ndarray]:
    """Load the records: `SOURCE/VARIANT` is the flat parameters after each of `steps`, and `... eval` its answer.

    `... Q PARAMETER SIDE` is the basis that some methods had for that side of a matrix after their first step: the sign
    of an eigenvector is arbitrary, and a replay begins with those of the record.
    """
    with resources.as_file(FOLDER / "recorded.npz") as path, np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@functools.cache
def sources() -> dict[str, Any]:
    """Load for each source whose code it was, its version, its paper, and the hyperparameters of each variant."""
    return json.loads((FOLDER / "sources.json").read_text("utf-8"))


def difference(name: str, optimizer: Any) -> float:
    """Return the largest difference of the optimizer from that record; see `differences`."""
    return differences({name: optimizer})[name]


def problem(name: str) -> tuple[Any, Any]:
    """Return the start of a record and its loss."""
    source, run = name.split("/")
    problems = IN_HALVES if run.endswith("_two_half_batches") else PROBLEMS
    return problems[sources()[source]["settings"][run].get("problem", "")]


def differences(optimizers: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest differences of optimizers from the records of these names, on one problem, in float64.

    The largest difference of a parameter at any recorded step, relative to the largest distance from the start.
    """
    arrays = recorded()
    (begin, objective), steps = problem(next(iter(optimizers))), arrays["steps"]
    with TRACING, jax.enable_x64(True):
        origin = begin()
        lowered = jax.jit(lambda w: _walk(list(optimizers.values()), objective, w, steps[-1])).lower(origin)
    seen, origin = jax.device_get((compiled(lowered)(origin), flat(origin)))
    worst = dict.fromkeys(optimizers, 0.0)
    for name, rows in zip(optimizers, seen, strict=True):
        for kind, ours in zip(("", " eval"), rows, strict=True):
            for t, there in zip(steps, arrays.get(name + kind, []), strict=False):
                of = held(len(there))
                gap, way = abs(ours[t - 1][of] - there).max(), abs(there - origin[of]).max()
                if gap != 0:  # some methods do not move in their first step
                    worst[name] = max(worst[name], float(gap / way) if np.isfinite(gap) and way > 0 else np.inf)
    return worst


def _walk(optimizers, objective, w, steps):
    """Return for each optimizer the parameters and answers after every step."""
    optimizers = [optax.with_extra_args_support(optimizer) for optimizer in optimizers]

    def step(carry, t):
        ws, states = carry
        now = lambda w: objective(w, t=t)
        values, grads = jax.vmap(jax.value_and_grad(now))(ws)
        key, moved, rows = jax.random.fold_in(random_key(0), t), [], []
        for i, optimizer in enumerate(optimizers):
            w, grad = jax.tree.map(lambda leaf: leaf[i], (ws, grads))  # noqa: B023
            extras = {"value": values[i], "grad": grad, "value_fn": now, "key": key}
            updates, state = optimizer.update(grad, states[i], w, **extras)
            w = optax.apply_updates(w, updates)
            moved.append((w, state))
            rows.append((flat(w), flat(answer(state, w))))
        ws = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(w for w, _ in moved))
        return (ws, [state for _, state in moved]), rows

    ws = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(optimizers), *leaf.shape)), w)
    return jax.lax.scan(step, (ws, [optimizer.init(w) for optimizer in optimizers]), jnp.arange(steps))[1]
