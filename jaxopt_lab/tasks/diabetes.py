"""Least squares on the diabetes data."""

import jax
import numpy as np

from jaxopt_lab.tasks._data import load, split, standardise
from jaxopt_lab.tasks._models import least_squares_minimum, mean_squared_error, r2
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function


@about("linear", 2000, "certified minimum, least squares in closed form")
@task_function
def diabetes(holdout: bool = False, batch_size: int | None = None) -> Task:
    """Disease progression after a year: 442 patients, 10 standardised inputs, an intercept; mean squared error.

    The data are scikit-learn's `load_diabetes` (Efron et al. 2004); targets are kept in their own units (25 to 346).

    Args:
        holdout: False trains on all patients, the problem whose minimum is published; True holds out a fixed 15 % for
            validation and 15 % for test.
        batch_size: Patients per step; None takes all of them.

    """
    splits = standardise(split(*load("diabetes"), holdout))

    def init(key):
        return {"weights": jax.random.normal(key, (10,)), "intercept": jax.numpy.zeros(())}

    def predict(params, x):
        return x @ params["weights"] + params["intercept"]

    x, y = splits["train"]
    return Task(
        name="diabetes",
        init=init,
        loss=mean_squared_error(predict),
        metrics={"r2": r2(predict)},
        batch_size=batch_size,
        minimum=least_squares_minimum(np.column_stack([x, np.ones(len(x))]), y),
        predict=predict,
        **splits,
    )
