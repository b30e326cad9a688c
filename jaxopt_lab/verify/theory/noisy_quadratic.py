"""The noisy quadratic model: how the expected loss falls, and how many steps a batch size needs.

Zhang et al. 2019, https://arxiv.org/abs/1907.04164: in each dimension, SGD changes the expected squared error by
e <- (1 - eta h)^2 e + eta^2 c / B. With h = c = 1 / i this gives the steps to a loss of .05 at the best rate: their
number falls as 1 / B at first, and then levels off.
"""

import functools

import numpy as np

from jaxopt_lab.optimizers.sgd import sgd
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.noisy_quadratic import noisy_quadratic
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

DIMENSIONS, TARGET, SEEDS = 1000, 0.05, 100
SOURCE = "Zhang et al. 2019, https://arxiv.org/abs/1907.04164"


def check(method: OptimizerFactory = sgd) -> list[Finding]:
    """Train at the best rate of each batch size, for as many steps as theory says that the target takes."""
    found = []
    for batch_size in (64, 1024):
        rate, steps = best(batch_size)
        task = noisy_quadratic(DIMENSIONS, batch_size)
        results = sweep(method, task, {"learning_rate": rate}, steps=steps, seeds=SEEDS, record=steps, evaluate=steps)
        losses = results.dataset["validation_loss"].values[0, :, -1]
        error = float(losses.std(ddof=1) / np.sqrt(SEEDS) / TARGET)
        found.append(
            Finding(
                f"noisy quadratic, B = {batch_size}: mean loss after {steps:,} steps of {rate:.3g}",
                "e <- (1 - eta h)^2 e + eta^2 c/B",
                expected_loss(rate, batch_size, steps),
                float(losses.mean()),
                4 * error,
                f"four standard errors of {SEEDS} seeds",
                SOURCE,
            )
        )
    return found


def expected_loss(rate: float, batch_size: int, steps: float) -> float:
    """Return the expected loss after so many steps, from the recursion's closed form."""
    h = 1 / np.arange(1, DIMENSIONS + 1)
    shrinks = (1 - rate * h) ** 2
    rest = rate**2 * h / batch_size / (1 - shrinks)
    return float(np.sum(h * (shrinks**steps * (1 - rest) + rest)) / 2)


@functools.cache
def best(batch_size: int) -> tuple[float, int]:
    """Return the constant rate that reaches the target first, and in how many steps."""
    rates = np.geomspace(1e-3, 1.99, 1000)
    counts = [_steps(rate, batch_size) for rate in rates.tolist()]
    i = int(np.argmin(counts))
    return float(rates[i]), int(counts[i])


def _steps(rate: float, batch_size: int) -> float:
    """Return the first step at which the expected loss is at most the target; infinity where it never is."""
    if expected_loss(rate, batch_size, 1e9) > TARGET:
        return np.inf
    low, high = 0, 1
    while expected_loss(rate, batch_size, high) > TARGET:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_loss(rate, batch_size, middle) <= TARGET else (middle, high)
    return high
