"""A physics-informed network for a boundary-value problem whose solution is known."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.direction import minimize
from jaxopt_lab.tasks.task import Task, task_function

HELD_OUT = 201  # points where the solution is compared
MOST_LAYERS = 16
WAVES = ((1, 1.0), (3, 0.1))  # frequency in units of pi, and amplitude


def solution(x: np.ndarray) -> np.ndarray:
    """Return u(x) = sin(pi x) + .1 sin(3 pi x)."""
    return sum((a * np.sin(k * np.pi * x) for k, a in WAVES), np.zeros_like(x))


@about("physics", 2000, "relative error of about 2e-4 by Adam: trained here", 1e-3)
@task_function
def pinn(points: int = 64, width: int = 32, depth: int = 2) -> Task:
    """Solve u'' = f on [-1, 1] with u(-1) = u(1) = 0 by a network that never sees the solution.

    f(x) = -pi^2 sin(pi x) - .9 pi^2 sin(3 pi x), so that u(x) = sin(pi x) + .1 sin(3 pi x). The network u has `depth`
    tanh layers, and

        loss = mean over points of (u''(x) - f(x))^2 + u(-1)^2 + u(1)^2

    as in Raissi, Perdikaris & Karniadakis 2019, https://doi.org/10.1016/j.jcp.2018.10.045. The points are equidistant
    within the interval. The metric, by which trials are compared, is the relative error |u - exact| / |exact| on 201
    points. Weights start normal with variance 1 / inputs, biases standard normal in the first layer, so that the
    units bend at different places, and at 0 elsewhere.

    The loss is >= 0. `minimum` is 0 where the network has more parameters than there are equations (points + 2), as by
    default; elsewhere it is unknown.

    Args:
        points: Points at which the equation must hold, >= 1.
        width: Units of a hidden layer, >= 1.
        depth: Hidden layers, 1 to 16.

    Raises:
        ValueError: An argument is out of range.

    """
    check_count("points", points)
    widths = [1, *[check_count("width", width)] * check_count("depth", depth, most=MOST_LAYERS), 1]
    shapes = list(itertools.pairwise(widths))

    def init(key):
        first, *keys = jax.random.split(key, 1 + len(shapes))
        weights = [jax.random.normal(k, s) * s[0] ** -0.5 for k, s in zip(keys, shapes, strict=True)]
        layers = [{"weights": w, "biases": jnp.zeros(w.shape[1:])} for w in weights]
        layers[0]["biases"] = jax.random.normal(first, (width,))
        return layers

    def predict(params, x):
        *hidden, last = params
        for layer in hidden:
            x = jnp.tanh(x @ layer["weights"] + layer["biases"][None, :])
        return x @ last["weights"] + last["biases"][None, :]

    def loss(params, batch):
        x = jnp.asarray(batch[0])
        # The outputs of a batch depend each on its own point, so one tangent of ones differentiates them all.
        slope = lambda x: jax.jvp(lambda x: predict(params, x), (x,), (jnp.ones_like(x),))[1]
        curvature = jax.jvp(slope, (x,), (jnp.ones_like(x),))[1]
        force = sum(-a * (k * math.pi) ** 2 * jnp.sin(k * math.pi * x) for k, a in WAVES)
        ends = predict(params, jnp.array([[-1.0], [1.0]]))
        return jnp.mean((curvature - force) ** 2) + jnp.sum(ends**2)

    def relative_error(params, batch):
        x, u = batch
        return jnp.sqrt(jnp.sum((predict(params, x) - u) ** 2) / jnp.sum(u**2))

    inside = (2 * np.arange(1, points + 1)[:, None] - points - 1) / (points + 1)
    held_out = np.linspace(-1, 1, HELD_OUT)[:, None]
    return Task(
        name="pinn",
        init=init,
        loss=loss,
        train=(inside, solution(inside)),
        validation=(held_out, solution(held_out)),
        metrics={"relative_error": minimize(relative_error)},
        main_metric="relative_error",
        minimum=0.0 if sum(i * o + o for i, o in shapes) >= points + 2 else None,
        predict=predict,
    )
