"""The largest stable learning rate on a quadratic of curvature L: where the largest root of a step's polynomial is 1.

Gradient descent: w <- (1 - eta L) w, stable up to eta = 2 / L.

Heavy ball: w' = (1 + beta - eta L) w - beta w_before; at the limit z = -1 is a root of
z^2 - (1 + beta - eta L) z + beta, so eta = 2 (1 + beta) / L.

Nesterov: w' = (1 - eta L) ((1 + beta) w - beta w_before); at the limit z = -1 is a root of
z^2 - (1 - eta L)(1 + beta) z + (1 - eta L) beta, so eta = 2 (1 + beta) / ((1 + 2 beta) L).
"""

from typing import Any

import numpy as np

from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.sweep.hyperparameter import static
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.quadratic import quadratic
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

UNIT = quadratic((1.0,))
BETA, STEPS, POINTS, ROUNDS = 0.9, 4000, 33, 4


def check(gd: OptimizerFactory = gradient_descent, heavy_ball: OptimizerFactory = momentum) -> list[Finding]:
    """Find each limit by bisection over grids of learning rates."""
    beta = BETA
    return [
        _found("gradient descent", "2/L", 2.0, limit(gd, {})),
        _found("heavy ball", "2(1+beta)/L", 2 * (1 + beta), limit(heavy_ball, {"momentum": beta})),
        _found(
            "Nesterov",
            "2(1+beta)/((1+2 beta)L)",
            2 * (1 + beta) / (1 + 2 * beta),
            limit(heavy_ball, {"momentum": beta, "nesterov": static([True])}),
        ),
    ]


def _found(name: str, theory: str, expected: float, measured: float) -> Finding:
    why = "the last grid has a spacing of 8e-6"
    return Finding(f"{name}: largest stable learning rate", theory, expected, measured, 1e-5, why, "Polyak 1964")


def limit(
    optimizer: OptimizerFactory, others: dict[str, Any], task: Task = UNIT, low: float = 0.1, high: float = 8.0
) -> float:
    """Return the learning rate at which a quadratic's loss begins to grow between half of the steps and the last one.

    Args:
        optimizer: The optimizer.
        others: Its other hyperparameters.
        task: The quadratic, which has a `minimum`; by default one of curvature 1.
        low: A stable learning rate.
        high: An unstable one.

    """
    least = task.minimum or 0.0
    for _ in range(ROUNDS):
        rates = np.linspace(low, high, POINTS)
        space = {"learning_rate": rates.tolist(), **others}
        results = sweep(optimizer, task, space, steps=STEPS, record=STEPS // 2, diverged_above=None, strategy="scan")
        above = results.dataset["train_loss"].values[:, 0] - least
        # Overflow is growth; a loss that has come to the minimum is not.
        grows = ~(above[:, 2] < above[:, 1]) & ~(above[:, 1] <= 1e-12 * least)
        first = int(np.argmax(grows))
        low, high = float(rates[first - 1]), float(rates[first])
    return (low + high) / 2
