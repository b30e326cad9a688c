"""Rastrigin's function: a bowl with a regular lattice of local minima."""

import jax
import jax.numpy as jnp

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

BOX = 5.12
MOST = 100_000


@about("test function", 1000, "minimum 0, exactly; local minima near all whole numbers (Rastrigin 1974)")
@task_function
def rastrigin(dimensions: int = 2) -> Task:
    """f(x) = 10 n + sum_i x_i^2 - 10 cos(2 pi x_i) in n dimensions (Rastrigin 1974; Törn & Zilinskas 1989).

    https://doi.org/10.1007/3-540-50871-6. Starts uniformly in [-5.12, 5.12]^n, by seed. The minimum is 0 at x = 0;
    local minima are near all points of whole numbers, with values close to |x|^2. With `target=` just above the
    minimum, such as .01, the share of seeds whose status is "reached" is the probability of success.

    Args:
        dimensions: n, 1 to 100,000.

    Raises:
        ValueError: dimensions is out of range.

    """
    n = check_count("dimensions", dimensions, most=MOST)
    return Task(
        name="rastrigin",
        init=lambda key: jax.random.uniform(key, (n,), minval=-BOX, maxval=BOX),
        loss=lambda x, _: jnp.sum(x**2 + 10 * (1 - jnp.cos(2 * jnp.pi * x))),
        train=None,
        minimum=0.0,
    )
