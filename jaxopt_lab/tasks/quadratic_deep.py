"""The stochastic quadratic of DeepOBS, whose spectrum resembles that of a deep network's Hessian."""

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

SMALL, LARGE = 90, 10  # numbers of eigenvalues
DIMENSIONS = SMALL + LARGE
EXAMPLES, TESTED = 1000, 896
DEVIATION = 0.6
STREAM, TEST_STREAM = 42, 43


@about("quadratic", 700, "minimum in closed form; DeepOBS counts a test loss of 87.7032 as converged")
@task_function
def quadratic_deep(batch_size: int | None = 128) -> Task:
    """The mean over x of (w - x)' Q (w - x) / 2: DeepOBS's `quadratic_deep` (Schneider et al. 2019).

    https://arxiv.org/abs/1903.05499. Q has 100 dimensions: 90 eigenvalues from U(0, 1), 10 from U(30, 60), the largest
    53.129, and a random (Haar) rotation. The 1,000 training points x are normal with standard deviation .6 in each
    dimension; so are the test points, of which DeepOBS evaluates the first 896. All numbers are those of DeepOBS's
    random streams. Starts at w = 1 for every seed, where the test loss is 353.447. The minimum, at the mean of the
    training points, is 84.7697. Gradient descent converges for learning rates below 2 / 53.129 = .037644.

    An epoch is 7 steps. DeepOBS shuffles the data once; here each epoch has a new order, so that its noise does not
    repeat. After 100 epochs this matters where momentum averages over several epochs: heavy ball at .99 and a learning
    rate of .00251189 ends at a test loss of about 89 instead of the published 87.070, SGD at .0158489 at about 87.4
    instead of 87.280.

    Args:
        batch_size: Points per step, 1 to 1,000; None takes all of them.

    Raises:
        ValueError: The batch is larger than the data.

    """
    stream = np.random.RandomState(STREAM)
    h = np.concatenate([stream.uniform(0, 1, SMALL), stream.uniform(30, 60, LARGE)])
    root = np.sqrt(h)[:, None] * _rotation(stream)  # Q = root' root

    # (w - x)' Q (w - x) = |root w - root x|^2, so a step multiplies one vector by a matrix rather than a batch of them.
    points = lambda seed: np.random.RandomState(seed).normal(0, DEVIATION, (EXAMPLES, DIMENSIONS)) @ root.T
    train, test = points(STREAM), points(TEST_STREAM)[:TESTED]

    def loss(w, rooted):
        differences = (jnp.asarray(root, w.dtype) @ w)[None, :] - rooted
        return jnp.mean(jnp.sum(differences**2, axis=1)) / 2

    return Task(
        name="quadratic_deep",
        init=lambda key: jnp.ones(DIMENSIONS),
        loss=loss,
        train=train,
        test=test,
        batch_size=batch_size,
        minimum=float(np.sum(train.var(axis=0))) / 2,
    )


def _rotation(stream: np.random.RandomState) -> np.ndarray:
    """Draw a rotation by the subgroup algorithm (Diaconis & Shahshahani 1987), as DeepOBS does.

    https://doi.org/10.1017/S0269964800000255: a rotation of the last dimensions, then a reflection that takes the first
    axis of one dimension more to a random direction, and so on.
    """
    angle = 2 * np.pi * stream.uniform()
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for d in range(3, DIMENSIONS + 1):
        direction = stream.normal(size=d)
        normal = np.eye(d)[0] - direction / np.linalg.norm(direction)
        normal /= np.linalg.norm(normal)
        larger = np.eye(d)
        larger[1:, 1:] = turn
        turn = larger - 2 * np.outer(normal, normal @ larger)
    return turn
