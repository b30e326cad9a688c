"""Certified minima on real data, and that training reaches them.

The figures come from second-order solvers, outside JAX.
"""

from collections.abc import Callable

import numpy as np

from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.breast_cancer import breast_cancer
from jaxopt_lab.tasks.diabetes import diabetes
from jaxopt_lab.tasks.digits import digits_softmax
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

# (name, task, minimum with the digits given, learning rate, momentum, steps)
CASES: list[tuple[str, Callable[[], Task], float, float, float, int]] = [
    ("breast_cancer, lambda .01", lambda: breast_cancer(l2=1e-2), 0.102416565756, 0.3, 0.9, 3000),
    ("breast_cancer, lambda .001", lambda: breast_cancer(l2=1e-3), 0.059839774542, 0.3, 0.97, 8000),
    ("digits, lambda .01", lambda: digits_softmax(l2=1e-2), 0.7414620874, 1.0, 0.9, 1500),
    ("diabetes, mean squared error", diabetes, 2859.6963475868, 0.1, 0.97, 8000),
]
R2 = 0.5177484222
SOURCE = "scikit-learn's solvers, in double precision"


def check(heavy_ball: OptimizerFactory = momentum) -> list[Finding]:
    """Train by heavy ball until the loss stands still."""
    found = []
    for name, make, figure, rate, beta, steps in CASES:
        task = make()
        results = sweep(heavy_ball, task, {"learning_rate": rate, "momentum": beta}, steps=steps, record=steps)
        measured = float(results.dataset["train_loss"].values[0, 0, -1])
        found.append(Finding(f"{name}: loss reached", "certified", figure, measured, 1e-9, "its digits", SOURCE))
    r2 = 1 - measured / float(np.var(np.asarray(task.train[1])))  # diabetes is the last
    return [*found, Finding("diabetes: R^2 reached", "certified", R2, r2, 1e-9, "its digits", SOURCE)]
