"""Linear rates of convergence on a quadratic with kappa = L / mu = 100, each method at its best constants.

Gradient descent at eta = 2 / (L + mu) multiplies both extreme eigenvectors by (kappa - 1) / (kappa + 1) in absolute
value.

Heavy ball at eta = 4 / (sqrt L + sqrt mu)^2 and beta = ((sqrt kappa - 1) / (sqrt kappa + 1))^2 has for every curvature
roots of modulus sqrt beta; Nesterov at eta = 1 / L and beta = (sqrt kappa - 1) / (sqrt kappa + 1) has for mu the double
root 1 - 1 / sqrt kappa. A double root z converges as t z^t, so the rate between steps t and 2 t is too large by a
factor of 2^(1/t).
"""

from typing import Any

import numpy as np

from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.sweep.hyperparameter import static
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.quadratic import quadratic
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

KAPPA = 100.0
SPECTRUM = (1.0, 0.5, 0.1, 1 / KAPPA)


def check(gd: OptimizerFactory = gradient_descent, heavy_ball: OptimizerFactory = momentum) -> list[Finding]:
    """Measure each rate from losses late in a run."""
    root = np.sqrt(KAPPA)
    q = (root - 1) / (root + 1)
    rate = _rate(gd, {"learning_rate": 2 / (1 + 1 / KAPPA)}, 400)
    slow = _rate(heavy_ball, {"learning_rate": 4 / (1 + 1 / root) ** 2, "momentum": q**2}, 800)
    nesterov = _rate(heavy_ball, {"learning_rate": 1.0, "momentum": q, "nesterov": static([True])}, 1500)
    double = lambda t: (2 ** (1 / t) - 1) * 1.1  # the factor of a double root, and a tenth of it
    why = "a double root converges as t z^t"
    return [
        Finding("gradient descent: rate at 2/(L+mu), kappa 100", "(kappa-1)/(kappa+1)", (KAPPA - 1) / (KAPPA + 1),
                rate, 1e-9, "rounding", "Nesterov 2004, theorem 2.1.15"),
        Finding("heavy ball: rate at its best, kappa 100", "(sqrt kappa - 1)/(sqrt kappa + 1)", q,
                slow, double(800), why, "Polyak 1964"),
        Finding("Nesterov: rate at 1/L, kappa 100", "1 - 1/sqrt kappa", 1 - 1 / root,
                nesterov, double(1500), why, "Nesterov 2004, section 2.2"),
    ]  # fmt: skip


def _rate(optimizer: OptimizerFactory, values: dict[str, Any], steps: int) -> float:
    """Return the factor by which the distance shrinks in a step, between `steps` and twice as many."""
    results = sweep(optimizer, quadratic(SPECTRUM), values, steps=2 * steps, record=steps)
    _, early, late = results.dataset["train_loss"].values[0, 0]
    return float((late / early) ** (0.5 / steps))
