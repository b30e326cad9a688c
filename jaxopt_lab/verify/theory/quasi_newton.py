"""L-BFGS with exact line search is conjugate gradients on a quadratic: d dimensions take at most d steps.

Nocedal & Wright 2006, theorem 6.4: with exact line searches BFGS makes conjugate directions, and terminates after at
most d steps. A memory of d pairs is enough for that.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.optimizers.lbfgs import lbfgs
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

DIMENSIONS = 8


def check(method: OptimizerFactory = lbfgs) -> list[Finding]:
    """Search each direction of the method exactly, and count the steps until the gradient is gone."""
    h = jnp.asarray(np.geomspace(0.1, 1.0, DIMENSIONS))
    w = jnp.asarray(np.random.default_rng(0).normal(size=DIMENSIONS))
    optimizer = method(1.0, linesearch=None, memory_size=DIMENSIONS)
    update: Any = optimizer.update
    state, start, steps = optimizer.init(w), float(jnp.linalg.norm(h * w)), 0
    while float(jnp.linalg.norm(h * w)) > 1e-9 * start and steps < 10 * DIMENSIONS:
        g = h * w
        p, state = update(g, state, w)
        w, steps = w - jnp.vdot(g, p) / jnp.vdot(p, h * p) * p, steps + 1
    return [
        Finding(
            f"L-BFGS, exact line search: steps on a quadratic of {DIMENSIONS} dimensions",
            "d, for distinct eigenvalues",
            DIMENSIONS,
            steps,
            0.0,
            "a count; the gradient is gone at 1e-9 of its first norm",
            "Nocedal & Wright 2006, theorem 6.4",
        )
    ]
