"""A line through 100 points, y = 3 x + U(0, 1): what gradient descent finds is the least-squares solution."""

import jax
import numpy as np

from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.linear_regression import linear_regression
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding


def check(gd: OptimizerFactory = gradient_descent) -> list[Finding]:
    """Train the slope alone, and slope and intercept."""
    stream = np.random.RandomState(0)
    x = stream.rand(100)
    y = 3 * x + stream.rand(100)
    residual = np.polyval(np.polyfit(x, y, 1), x) - y
    slope = float(x @ y / (x @ x))
    alone = sweep(gd, linear_regression(intercept=False), {"learning_rate": 1.0}, steps=300, record=300)
    both = sweep(gd, linear_regression(), {"learning_rate": 0.7}, steps=1500, record=1500)
    found = float(np.ravel(jax.tree.leaves(alone.params())[0])[0])
    reached = float(both.dataset["train_loss"].values[0, 0, -1])
    least, why, source = float(np.mean(residual**2)), "rounding", "least squares in closed form"
    return [
        Finding("a line's slope by gradient descent", "sum x y / sum x^2", slope, found, 1e-10, why, source),
        Finding("a line's loss with an intercept", "least squares", least, reached, 1e-10, why, source),
    ]
