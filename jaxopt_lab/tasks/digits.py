"""Handwritten digits, 8 x 8 pixels: a linear softmax and a small network."""

import itertools

import jax
import jax.numpy as jnp

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks._data import load, split
from jaxopt_lab.tasks._models import accuracy, cross_entropy, softmax_regression_minimum, squared_norm_penalty
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

PIXELS, CLASSES, WHITE = 64, 10, 16
MOST_LAYERS = 100


def _digits(holdout: bool):
    pixels, labels = load("digits")
    return split(pixels / WHITE, labels.astype("int32"), holdout)


@about("linear", 500, "certified minimum, by a second-order solver in float64")
@task_function
def digits_softmax(l2: float = 1e-2, holdout: bool = False, batch_size: int | None = None) -> Task:
    """Which digit is it? 1,797 images of 64 pixels in [0, 1], no intercept; mean cross-entropy + l2 / 2 |w|^2.

    The data are scikit-learn's `load_digits` (Alpaydin & Kaynak 1998).

    Args:
        l2: Weight of the penalty, > 0.
        holdout: False trains on all images, the problem whose minimum is published; True holds out a fixed 15 % for
            validation and 15 % for test.
        batch_size: Images per step; None takes all of them.

    Raises:
        ValueError: l2 <= 0, or the batch is larger than the data.

    """
    splits = _digits(holdout)
    predict = lambda w, x: x @ w
    x, y = splits["train"]
    return Task(
        name="digits_softmax",
        init=lambda key: 0.1 * jax.random.normal(key, (PIXELS, CLASSES)),
        loss=cross_entropy(predict, squared_norm_penalty(l2)),
        metrics={"accuracy": accuracy(predict)},
        batch_size=batch_size,
        minimum=softmax_regression_minimum(x, y, CLASSES, l2),
        predict=predict,
        **splits,
    )


@about("network", 1000, "validation loss of about .16, test accuracy of about .97: trained here", 0.18)
@task_function
def digits_mlp(width: int = 32, depth: int = 1, batch_size: int | None = 64) -> Task:
    """Which digit is it? A network of ReLU layers, 64-32-10 by default, by mean cross-entropy.

    1,797 images of 64 pixels in [0, 1] (scikit-learn's `load_digits`), a fixed 70 / 15 / 15 % for training, validation
    and test. Weights start normal with variance 2 / inputs (He et al. 2015, https://arxiv.org/abs/1502.01852), biases
    at 0.

    Args:
        width: Units of a hidden layer, >= 1.
        depth: Hidden layers, 0 to 100.
        batch_size: Images per step; None takes all of them.

    Raises:
        ValueError: A size is too small or too large, or the batch is larger than the data.

    """
    widths = [PIXELS, *[check_count("width", width)] * check_count("depth", depth, least=0, most=MOST_LAYERS), CLASSES]

    def init(key):
        shapes = list(itertools.pairwise(widths))
        keys = jax.random.split(key, len(shapes))
        weights = [jax.random.normal(k, s) * (2 / s[0]) ** 0.5 for k, s in zip(keys, shapes, strict=True)]
        return [{"weights": w, "biases": jnp.zeros(w.shape[1:])} for w in weights]

    def predict(params, x):
        *hidden, last = params
        for layer in hidden:
            x = jax.nn.relu(x @ layer["weights"] + layer["biases"][None, :])
        return x @ last["weights"] + last["biases"][None, :]

    return Task(
        name="digits_mlp",
        init=init,
        loss=cross_entropy(predict),
        metrics={"accuracy": accuracy(predict)},
        batch_size=batch_size,
        predict=predict,
        **_digits(holdout=True),
    )
