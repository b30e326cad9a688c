"""A quadratic whose curvatures are evenly spaced on a log scale, up to any condition number."""

import dataclasses

import numpy as np

from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.quadratic import quadratic
from jaxopt_lab.tasks.task import Task, task_function

MOST = 10_000


@about("quadratic", 2000, "minimum 0, exactly")
@task_function
def log_quadratic(dimensions: int = 100, condition: float = 1e4, rotation_seed: int | None = None) -> Task:
    """f(w) = w' Q w / 2, where Q has log-spaced eigenvalues from 1 / condition to 1; the minimum is 0 at w = 0.

    Starts standard normal. Gradient descent converges for learning rates below 2; per step, the best constant ones
    reduce the distance to the minimum by (condition - 1) / (condition + 1) for gradient descent and asymptotically by
    (sqrt(condition) - 1) / (sqrt(condition) + 1) for heavy ball (Polyak 1964,
    https://doi.org/10.1016/0041-5553(64)90137-5).

    Args:
        dimensions: Number of parameters and of eigenvalues, 2 to 10,000.
        condition: Ratio of the largest eigenvalue to the smallest, >= 1 and finite.
        rotation_seed: None leaves Q diagonal, which favours methods that scale each parameter; an integer rotates it by
            a random (Haar) rotation with that seed.

    Raises:
        ValueError: dimensions or condition is out of range.

    """
    dimensions = check_count("dimensions", dimensions, least=2, most=MOST)
    spectrum = np.geomspace(1 / check_number("condition", condition, least=1), 1, dimensions)
    return dataclasses.replace(quadratic(spectrum, rotation_seed), name="log_quadratic")
