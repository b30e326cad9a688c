"""Quadratics with a given spectrum: the problem for which theory is exact."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function


@about("quadratic", 500, "minimum 0, exactly")
@task_function
def quadratic(spectrum: Sequence[float] = (1.0, 0.3, 0.1, 0.03, 0.01), rotation_seed: int | None = None) -> Task:
    """f(w) = w' Q w / 2, where Q has the given eigenvalues; it starts standard normal, and its minimum is 0 at w = 0.

    Gradient descent converges for learning rates below 2 / max(spectrum); its best rate is
    (kappa - 1) / (kappa + 1), kappa = max(spectrum) / min(spectrum).

    Args:
        spectrum: The eigenvalues of Q, each >= 0 and finite, at least one.
        rotation_seed: None leaves Q diagonal; an integer rotates it by a random (Haar) rotation with that seed.

    Raises:
        ValueError: The spectrum is empty, negative or not finite.

    """
    try:
        h = np.asarray(spectrum, float)
    except (TypeError, ValueError, OverflowError):  # of text, of lists of unequal length, of a huge integer
        h = np.zeros(0)
    if h.ndim != 1 or not len(h) or not np.isfinite(h).all() or (h < 0).any():
        raise ValueError(f"spectrum must be a sequence of finite eigenvalues >= 0, got {quoted(spectrum)}.")
    if rotation_seed is None:
        times_q = lambda w: jnp.asarray(h, w.dtype) * w
    else:
        from scipy.stats import ortho_group

        turn = ortho_group.rvs(len(h), random_state=rotation_seed) if len(h) > 1 else np.eye(1)
        q = (turn * h) @ turn.T
        times_q = lambda w: jnp.asarray(q, w.dtype) @ w

    return Task(
        name="quadratic",
        init=lambda key: jax.random.normal(key, (len(h),)),
        loss=lambda w, _: jnp.vdot(w, times_q(w)) / 2,
        train=None,
        minimum=0.0,
    )
