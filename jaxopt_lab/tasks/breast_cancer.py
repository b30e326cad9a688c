"""Logistic regression on the Wisconsin breast-cancer data."""

import jax
import jax.numpy as jnp

from jaxopt_lab.tasks._data import load, split, standardise
from jaxopt_lab.tasks._models import softmax_regression_minimum, squared_norm_penalty
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function


@about("linear", 500, "certified minimum, by a second-order solver in float64")
@task_function
def breast_cancer(l2: float = 1e-2, holdout: bool = False, batch_size: int | None = None) -> Task:
    """Is a tumour benign? 569 examples, 30 standardised inputs, no intercept; mean log-loss + l2 / 2 |w|^2.

    Strongly convex: its condition number is about 333 at l2 = 1e-2. The data are scikit-learn's `load_breast_cancer`.

    Args:
        l2: Weight of the penalty, > 0.
        holdout: False trains on all examples, the problem whose minimum is published; True holds out a fixed 15 %
            for validation and 15 % for test.
        batch_size: Examples per step; None takes all of them.

    Raises:
        ValueError: l2 <= 0, or the batch is larger than the data.

    """
    splits = standardise(split(*load("breast_cancer"), holdout))
    penalty = squared_norm_penalty(l2)

    def predict(w, x):
        return x @ w  # the logit of benign

    def loss(w, batch):
        x, y = batch
        return jnp.mean(jax.nn.softplus(jnp.where(y == 1, -1, 1) * predict(w, x))) + penalty(w)

    x, y = splits["train"]
    return Task(
        name="breast_cancer",
        init=lambda key: 0.1 * jax.random.normal(key, (30,)),
        loss=loss,
        metrics={"accuracy": lambda w, batch: jnp.mean((predict(w, batch[0]) > 0) == batch[1])},
        batch_size=batch_size,
        # A logit w is the softmax of (-w/2, w/2), whose squared norm is |w|^2 / 2.
        minimum=softmax_regression_minimum(x, y, classes=2, l2=2 * l2),
        predict=predict,
        **splits,
    )
