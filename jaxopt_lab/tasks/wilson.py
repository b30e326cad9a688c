"""Least squares on which adaptive methods fit all training examples and predict the majority class elsewhere."""

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.tasks._models import mean_squared_error
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

COMMON, OWN = 3, 5  # features that all examples share, and that are reserved for each training example
HELD_OUT = 200
MOST = 1000


@about("theory", 1000, "validation accuracy 1 by SGD; Adam predicts the majority class (Wilson et al. 2017)", 1.0)
@task_function
def wilson(examples: int = 50, p: float = 0.7, seed: int = 0) -> Task:
    """Least squares on separable data that adaptive methods generalise badly from (Wilson et al. 2017, section 3.3).

    https://arxiv.org/abs/1705.08292. Labels y are +1 with probability p, else -1. The first feature is y and the next
    two are 1. Then each example has 5 features that are 0 for all others: the first of its own is 1 if y = +1, all
    five if y = -1. Only the first feature says anything of other examples.

    The loss is the mean of (w . x - y)^2; its minimum is 0, at many w. Starts at w = 0 for every seed. From there, SGD
    and heavy ball converge to the solution of least norm, whose accuracy on fresh examples is 1. AdaGrad, RMSProp and
    Adam converge to a multiple of sign(X' y), which predicts the majority class for every fresh example: an accuracy
    of p. This holds where scaling a gradient changes nothing, so AdaGrad's accumulator must start at 0, not at Optax's
    0.1.

    Validation and test data are 200 fresh examples each, of which the share p (rounded) has the label +1. The weights
    of their own features are never trained, so they stay 0, and the features are left out of the data.

    Args:
        examples: Training examples, 1 to 1,000. There are 3 + 5 * examples parameters.
        p: Probability of the label +1, between 0.5 and 1, both excluded.
        seed: Of the training labels.

    Raises:
        ValueError: An argument is out of range.

    """
    n, seed = check_count("examples", examples, most=MOST), check_count("seed", seed, least=0)
    if not 0.5 < check_number("p", p) < 1:
        raise ValueError(f"p must be between 0.5 and 1, got {p!r}.")

    def labelled(positive):
        y = np.where(positive, 1.0, -1.0)
        x = np.zeros((len(y), COMMON + OWN * n))
        x[:, 0], x[:, 1:COMMON] = y, 1
        return x, y

    x, y = labelled(np.random.default_rng(seed).random(n) < p)
    held_out = labelled(np.arange(HELD_OUT) < round(p * HELD_OUT))
    for i, label in enumerate(y):
        first = COMMON + OWN * i
        x[i, first : first + (1 if label > 0 else OWN)] = 1
    predict = lambda w, x: x @ w
    return Task(
        name="wilson",
        init=lambda key: jnp.zeros(COMMON + OWN * n),
        loss=mean_squared_error(predict),
        train=(x, y),
        validation=held_out,
        test=held_out,
        metrics={"accuracy": lambda w, batch: jnp.mean(predict(w, batch[0]) * batch[1] > 0)},
        minimum=0.0,
        predict=predict,
        main_metric="accuracy",
    )
