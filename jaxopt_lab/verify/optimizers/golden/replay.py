"""Ours along the steps that the authors' own code took."""

import functools
import json
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.trial import answer
from jaxopt_lab.verify.optimizers.golden.problems import (
    MATRIX,
    WEIGHTS,
    flat,
    loss,
    matrix_loss,
    matrix_start,
    start,
)
from jaxopt_lab.verify.optimizers.haste import TRACING, compiled

FOLDER = resources.files("jaxopt_lab.verify.optimizers.golden")


@functools.cache
def recorded() -> dict[str, np.ndarray]:
    """`SOURCE/VARIANT`: the parameters after each of `steps`, flat; where its answer is elsewhere, `... eval` too."""
    with resources.as_file(FOLDER / "recorded.npz") as path, np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@functools.cache
def sources() -> dict[str, Any]:
    """By source: whose code it was, its version, its paper, and the hyperparameters of each variant."""
    return json.loads((FOLDER / "sources.json").read_text("utf-8"))


def difference(name: str, optimizer: Any) -> float:
    """How far the optimizer is from the record at the worst of its steps, in float64.

    The largest difference of a parameter, over the largest way of one from the start.
    """
    arrays = recorded()
    steps = arrays["steps"]
    with TRACING, jax.enable_x64(True):
        matrix = name.split("/")[0] in MATRIX
        origin, objective = (matrix_start(), matrix_loss) if matrix else (start(), loss)
        lowered = jax.jit(lambda w: _walk(optimizer, objective, w, steps[-1])).lower(origin)
    seen, origin = jax.device_get((compiled(lowered)(origin), origin))
    origin = np.concatenate([origin[part].ravel() for part in ("W1", "b1", "W2", "b2")])
    worst = 0.0
    for kind, ours in zip(("", " eval"), seen, strict=True):
        for t, there in zip(steps, arrays.get(name + kind, []), strict=False):
            of = WEIGHTS if len(there) == len(WEIGHTS) else slice(None)
            gap, way = abs(ours[t - 1][of] - there).max(), abs(there - origin[of]).max()
            if gap != 0:  # some do not move in their first step
                worst = max(worst, float(gap / way) if np.isfinite(gap) and way > 0 else np.inf)
    return worst


def _walk(optimizer, objective, w, steps):
    """Parameters and answers after every step."""
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, t):
        w, state = carry
        value, grad = jax.value_and_grad(objective)(w)
        key = jax.random.fold_in(jax.random.key(0), t)
        updates, state = optimizer.update(grad, state, w, value=value, grad=grad, value_fn=objective, key=key)
        w = optax.apply_updates(w, updates)
        return (w, state), (flat(w), flat(answer(state, w)))

    return jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(steps))[1]
