"""Handwritten digits, 8 x 8 pixels: a denoising autoencoder."""

import itertools

import jax
import jax.numpy as jnp

from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.tasks._data import load, split
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

PIXELS, HIDDEN, WHITE = 64, 32, 16


@about("network", 3000, "PCA of the same code size leaves a validation error of .0239: to be beaten", 0.024)
@task_function
def digits_autoencoder(code: int = 8, noise: float = 0.3, batch_size: int | None = 64) -> Task:
    """Restore images of digits from noisy ones through a narrow code, by mean squared error per pixel.

    A denoising autoencoder (Vincent et al. 2008, https://doi.org/10.1145/1390156.1390294) of layers
    64-32-code-32-64, ReLU but for the code and the output, which are linear. In training, inputs get Gaussian noise,
    which is drawn from the loss's `key`; held-out images are restored from clean ones. 1,797 images of 64 pixels in
    [0, 1] (scikit-learn's `load_digits`), split as for `digits_mlp`. Weights start normal with variance 2 / inputs
    (1 / inputs after a linear layer), biases at 0.

    The reference is what the best linear autoencoder leaves on the validation data: the projection on the first `code`
    principal components of the training data. That is for the default code of 8.

    Args:
        code: Units of the code, 1 to 64.
        noise: Standard deviation of the noise, >= 0.
        batch_size: Images per step; None takes all of them.

    Raises:
        ValueError: The code or the noise is out of range, or the batch is larger than the data.

    """
    widths = [PIXELS, HIDDEN, check_count("code", code, most=PIXELS), HIDDEN, PIXELS]
    noise = check_number("noise", noise, least=0)
    gains = [2, 2, 1, 2]  # the third layer's inputs, the code, are linear: no half of them is cut off

    def init(key):
        shapes = list(itertools.pairwise(widths))
        keys = jax.random.split(key, len(shapes))
        weights = [
            jax.random.normal(k, s) * (gain / s[0]) ** 0.5 for k, s, gain in zip(keys, shapes, gains, strict=True)
        ]
        return [{"weights": w, "biases": jnp.zeros(w.shape[1:])} for w in weights]

    def layer(params, x):
        return x @ params["weights"] + params["biases"][None, :]

    def restore(params, x):
        h = layer(params[1], jax.nn.relu(layer(params[0], x)))
        return layer(params[3], jax.nn.relu(layer(params[2], h)))

    def loss(params, x, *, key):
        seen = x if key is None else x + noise * jax.random.normal(key, x.shape, x.dtype)
        return jnp.mean((restore(params, seen) - x) ** 2)

    pixels, labels = load("digits")
    return Task(
        name="digits_autoencoder",
        init=init,
        loss=loss,
        batch_size=batch_size,
        **{name: images for name, (images, _) in split(pixels / WHITE, labels, holdout=True).items()},
    )
