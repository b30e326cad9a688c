"""Rosenbrock's function in any number of dimensions: a chain of curved valleys."""

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

MOST = 100_000


@about("test function", 10_000, "minimum 0, exactly; a local minimum near (-1, 1, ..., 1) from 4 dimensions on")
@task_function
def rosenbrock_nd(dimensions: int = 10) -> Task:
    """f(x) = sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, the chained version, i from 1 to dimensions - 1.

    Starts at (-1.2, 1, -1.2, 1, ...) for every seed, as in Moré, Garbow & Hillstrom 1981
    (https://doi.org/10.1145/355934.355936), whose own extension has separate pairs instead of a chain. The minimum is
    0 at (1, ..., 1). From 4 dimensions on, there is a local minimum near (-1, 1, ..., 1) with a value of about 4
    (Kok & Sandrock 2009, https://doi.org/10.1162/evco.2009.17.3.437): a trial that ends near 4 is there.

    Args:
        dimensions: Number of parameters, 2 to 100,000.

    Raises:
        ValueError: dimensions is out of range.

    """
    n = check_count("dimensions", dimensions, least=2, most=MOST)
    start = np.where(np.arange(n) % 2 == 0, -1.2, 1.0)

    def loss(x, _):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return Task("rosenbrock_nd", init=lambda key: jnp.array(start), loss=loss, train=None, minimum=0.0)
