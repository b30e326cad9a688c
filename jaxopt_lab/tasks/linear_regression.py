"""The tutorial's linear regression: y = 3 x + U(0, 1)."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.tasks._models import least_squares_minimum, mean_squared_error, r2
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function


@about("linear", 300, "minimum by least squares in closed form")
@task_function
def linear_regression(intercept: bool = True, batch_size: int | None = None) -> Task:
    """A line through 100 points, x ~ U(0, 1) and y = 3 x + U(0, 1), by mean squared error.

    The training points are those of NumPy's `np.random.seed(0); x = np.random.rand(100)` and
    `y = 3 * x + np.random.rand(100)`; validation and test are the next 100 points each from the same stream. A slope
    alone cannot remove the noise's mean of 1/2; with an intercept the line can.

    Args:
        intercept: Whether the line has an intercept; without one, `params` is {"slope": ()}.
        batch_size: Points per step: None for gradient descent on all of them, 1 for the stochastic gradient descent of
            tutorials (one random point per step), a value in between for mini-batches.

    """
    stream = np.random.RandomState(0)
    splits = {}
    for split in ("train", "validation", "test"):
        x = stream.rand(100)
        splits[split] = (x, 3 * x + stream.rand(100))

    def init(key):
        names = ("slope", "intercept") if intercept else ("slope",)
        return dict(zip(names, jax.random.normal(key, (len(names),)), strict=True))

    def predict(params, x):
        x = jnp.asarray(x)
        return params["slope"] * x + params.get("intercept", 0.0)

    x, y = splits["train"]
    design = np.stack([x, np.ones_like(x)], axis=1) if intercept else x[:, None]
    return Task(
        name="linear_regression" if intercept else "linear_regression_slope",
        init=init,
        loss=mean_squared_error(predict),
        metrics={"r2": r2(predict)},
        batch_size=batch_size,
        minimum=least_squares_minimum(design, y),
        predict=predict,
        **splits,
    )
