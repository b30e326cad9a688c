"""A deep linear network: the loss of linear regression, the training dynamics of a deep network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks._models import mean_squared_error
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

FEATURES, EXAMPLES = 10, 50  # as many outputs as inputs
STRENGTHS = (2.0, 0.5)  # of the teacher's strongest and weakest mode
NOISE = 0.1
MOST_WIDTH, MOST_DEPTH = 1000, 100


@about("matrix", 2000, "minimum by least squares and singular values (Saxe et al. 2014)")
@task_function
def deep_linear(width: int = 10, depth: int = 3, seed: int = 0) -> Task:
    """The mean squared error of W_depth ... W_1 x, a network without nonlinearities (Saxe et al. 2014).

    https://arxiv.org/abs/1312.6120. It learns a linear teacher y = T x + N(0, .1^2) from 50 examples of 10 inputs and
    10 outputs. The inputs are whitened (X' X / 50 = I), so in deep networks the teacher's modes, with singular values
    from 2 to .5, are learnt one after the other, in steps between plateaus. All modes are known, and with them the
    minimum: the residual of least squares, plus the discarded squared singular values where the width is below 10.

    Each matrix starts normal with variance 1 / inputs.

    Args:
        width: Units of each layer between inputs and outputs, 1 to 1,000.
        depth: Number of matrices, 1 to 100; 1 is linear regression.
        seed: Of the data.

    Raises:
        ValueError: An argument is out of range.

    """
    width, depth = check_count("width", width, most=MOST_WIDTH), check_count("depth", depth, most=MOST_DEPTH)
    stream = np.random.default_rng(check_count("seed", seed, least=0))
    orthogonal = lambda rows: np.linalg.qr(stream.normal(size=(rows, FEATURES)))[0]
    x = np.sqrt(EXAMPLES) * orthogonal(EXAMPLES)
    teacher = (orthogonal(FEATURES) * np.geomspace(*STRENGTHS, FEATURES)) @ orthogonal(FEATURES).T
    y = x @ teacher.T + NOISE * stream.normal(size=(EXAMPLES, FEATURES))

    fit = x.T @ y / EXAMPLES  # by least squares, as X' X / EXAMPLES = I
    beyond = np.linalg.svd(fit, compute_uv=False)[width:] if depth > 1 else np.zeros(0)
    minimum = float(np.mean((x @ fit - y) ** 2) + np.sum(beyond**2) / FEATURES)

    widths = [FEATURES, *[width] * (depth - 1), FEATURES]

    def init(key):
        keys = jax.random.split(key, depth)
        return [jax.random.normal(k, (a, b)) / a**0.5 for k, a, b in zip(keys, widths[:-1], widths[1:], strict=True)]

    def predict(params, x):
        return x @ functools.reduce(jnp.matmul, params)  # the product first: fewer operations than layer by layer

    return Task(
        name="deep_linear",
        init=init,
        loss=mean_squared_error(predict),
        train=(x, y),
        minimum=minimum,
        predict=predict,
    )
