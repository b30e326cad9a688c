"""Beale's function: steep walls around a flat valley that ends at infinity."""

import jax

from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

BOX = 4.5


@about("test function", 5000, "minimum 0, exactly (Beale 1958)")
@task_function
def beale() -> Task:
    """f(x, y) = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2 (Beale 1958).

    In Moré, Garbow & Hillstrom 1981, https://doi.org/10.1145/355934.355936, it is problem 5. Starts uniformly in
    [-4.5, 4.5]^2, by seed. The minimum is 0 at (3, 1/2). From about half of the starts descent follows a valley towards
    x = -infinity, y = 1 instead, where f tends to .452. With `target=` just above the minimum, such as 1e-6, the share
    of seeds whose status is "reached" is the probability of success.
    """

    def loss(w, _):
        x, y = w
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    return Task(
        name="beale",
        init=lambda key: jax.random.uniform(key, (2,), minval=-BOX, maxval=BOX),
        loss=loss,
        train=None,
        minimum=0.0,
    )
