"""Rosenbrock's function: a curved valley."""

import jax.numpy as jnp

from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function


@about("test function", 2000, "minimum 0, exactly (Rosenbrock 1960)")
@task_function
def rosenbrock(a: float = 1.0, b: float = 100.0) -> Task:
    """f(x, y) = (a - x)^2 + b (y - x^2)^2 (Rosenbrock 1960, https://doi.org/10.1093/comjnl/3.3.175).

    Starts at Rosenbrock's (-1.2, 1) for every seed; the minimum is 0 at (a, a^2).

    Args:
        a: Where the minimum lies.
        b: Steepness of the valley's walls, > 0.

    """

    def loss(w, _):
        x, y = w
        return (a - x) ** 2 + b * (y - x**2) ** 2

    return Task("rosenbrock", init=lambda key: jnp.array([-1.2, 1.0]), loss=loss, train=None, minimum=0.0)
