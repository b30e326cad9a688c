"""The function of Styblinski and Tang: two minima in each dimension, one of them better."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

BOX = 5.0
MOST = 100_000


@about("test function", 1000, "minimum -39.16617 per dimension, the root of a cubic (Styblinski & Tang 1990)")
@task_function
def styblinski_tang(dimensions: int = 2) -> Task:
    """f(x) = sum_i (x_i^4 - 16 x_i^2 + 5 x_i) / 2 in n dimensions (Styblinski & Tang 1990).

    https://doi.org/10.1016/0893-6080(90)90029-K. Starts uniformly in [-5, 5]^n, by seed. The minimum is -39.16617 n at
    x_i = -2.903534; every coordinate has a local minimum at 2.746803 as well, which costs 14.13638 more. With `target=`
    just above the minimum, the share of seeds whose status is "reached" is the probability of success: about .516^n for
    a method that descends into the nearest minimum, as the barrier between the two is at .156731.

    Args:
        dimensions: n, 1 to 100,000.

    Raises:
        ValueError: dimensions is out of range.

    """
    n = check_count("dimensions", dimensions, most=MOST)
    lowest = np.roots([4, 0, -32, 5]).real.min()  # a root of the derivative of x^4 - 16 x^2 + 5 x
    return Task(
        name="styblinski_tang",
        init=lambda key: jax.random.uniform(key, (n,), minval=-BOX, maxval=BOX),
        loss=lambda x, _: jnp.sum(x**4 - 16 * x**2 + 5 * x) / 2,
        train=None,
        minimum=n * float(np.polyval([1, 0, -16, 5, 0], lowest)) / 2,
    )
