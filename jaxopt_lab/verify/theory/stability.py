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
from jaxopt_lab.sweep.space import static
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.quadratic import quadratic
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

BETA, STEPS, POINTS, ROUNDS = 0.9, 4000, 33, 4


def check(gd: OptimizerFactory = gradient_descent, heavy_ball: OptimizerFactory = momentum) -> list[Finding]:
    """Find each limit by bisection over grids of learning rates."""
    beta = BETA
    return [
        _found("gradient descent", "2/L", 2.0, _limit(gd, {})),
        _found("heavy ball", "2(1+beta)/L", 2 * (1 + beta), _limit(heavy_ball, {"momentum": beta})),
        _found(
            "Nesterov",
            "2(1+beta)/((1+2 beta)L)",
            2 * (1 + beta) / (1 + 2 * beta),
            _limit(heavy_ball, {"momentum": beta, "nesterov": static([True])}),
        ),
    ]


def _found(name: str, theory: str, expected: float, measured: float) -> Finding:
    why = "the last grid has a spacing of 8e-6"
    return Finding(f"{name}: largest stable learning rate", theory, expected, measured, 1e-5, why, "Polyak 1964")


def _limit(optimizer: OptimizerFactory, others: dict[str, Any]) -> float:
    """Return where trials begin to grow between half of their steps and the last one."""
    low, high = 0.1, 8.0
    for _ in range(ROUNDS):
        rates = np.linspace(low, high, POINTS)
        space = {"learning_rate": rates.tolist(), **others}
        results = sweep(
            optimizer, quadratic((1.0,)), space, steps=STEPS, record=STEPS // 2, diverged_above=None, strategy="scan"
        )
        loss = results.dataset["train_loss"].values[:, 0]
        grows = ~(loss[:, 2] < loss[:, 1]) & (loss[:, 1] > 0)  # overflow is growth; a loss of exactly 0 is not
        first = int(np.argmax(grows))
        low, high = rates[first - 1], rates[first]
    return float(low + high) / 2
