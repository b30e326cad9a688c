"""Gradient descent's worst case: N steps of 1 / L reach f <= L R^2 / (4 N + 2), and a Huber function attains it.

Drori & Teboulle 2014, theorem 3.1 and section 3.2, https://arxiv.org/abs/1206.3209. With r = R / (2 N + 1) the function
is L r |w| - L r^2 / 2 beyond r and L w^2 / 2 within; from w = R every step goes by r.
"""

import jax.numpy as jnp

from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

CURVATURE, RADIUS = 2.0, 3.0


def check(gd: OptimizerFactory = gradient_descent) -> list[Finding]:
    """Make N steps on the worst function for N steps."""
    found = []
    for steps in (1, 10, 100):
        r = RADIUS / (2 * steps + 1)

        def loss(w, _, r=r):
            return CURVATURE * jnp.where(jnp.abs(w) >= r, r * jnp.abs(w) - r**2 / 2, w**2 / 2)

        task = Task("huber", lambda key: jnp.asarray(RADIUS), loss, None)
        results = sweep(gd, task, {"learning_rate": 1 / CURVATURE}, steps=steps)
        measured = float(results.dataset["train_loss"].values[0, 0, -1])
        name, expected = f"gradient descent: worst case, {steps} steps of 1/L", CURVATURE * RADIUS**2 / (4 * steps + 2)
        source = "Drori & Teboulle 2014"
        found.append(Finding(name, "L R^2/(4N+2)", expected, measured, 1e-12, "rounding", source))
    return found
