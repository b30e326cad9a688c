"""The noisy quadratic model: which batch size, learning rate and momentum large-scale training rewards, in theory."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

MOST = 10_000


@about("theory", 5000, "SGD at the best constant learning rate, .027, has an expected loss of .0448: closed form", 0.06)
@task_function
def noisy_quadratic(dimensions: int = 100, batch_size: int = 1) -> Task:
    """sum_i h_i w_i^2 / 2 with noisy gradients, h_i = 1 / i: the noisy quadratic model (Zhang et al. 2019).

    https://arxiv.org/abs/1907.04164. The gradient of dimension i is h_i w_i + N(0, c_i / batch_size), where c_i = h_i.
    Training batches are that noise: the loss of a step is the sum above + noise . w, whose expectation is the sum. It
    may be negative, so judge by the validation loss, which is the sum itself, without noise. Starts at w = 1 for every
    seed. The smallest expected loss is 0 at w = 0.

    With learning rate eta, a step of SGD changes the expectation e_i of w_i^2 to
    (1 - eta h_i)^2 e_i + eta^2 c_i / batch_size.

    Args:
        dimensions: Number of parameters, 1 to 10,000.
        batch_size: Examples whose mean gradient is a step's, >= 1. It scales the noise; a step of any batch size takes
            the same time here.

    Raises:
        ValueError: dimensions or batch_size is out of range.

    """
    h = 1 / np.arange(1, check_count("dimensions", dimensions, most=MOST) + 1)
    batch_size = check_count("batch_size", batch_size)
    deviation = np.sqrt(h / batch_size)

    def noise(key):
        """Draw the mean noise of a batch, in the place of each example's: a budget in examples counts the rows."""
        mean = jnp.asarray(deviation) * jax.random.normal(key, h.shape)
        return jnp.broadcast_to(mean[None, :], (batch_size, len(h)))

    return Task(
        name="noisy_quadratic",
        init=lambda key: jnp.ones(len(h)),
        loss=lambda w, noise: jnp.sum(jnp.asarray(h, w.dtype) * w**2) / 2 + jnp.vdot(noise[0], w),
        train=noise,
        validation=np.zeros((1, len(h))),
        minimum=0.0,
    )
