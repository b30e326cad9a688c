"""Adaptive methods can fit data perfectly and generalise no better than the majority class; SGD finds the least norm.

Wilson et al. 2017, section 3.3, https://arxiv.org/abs/1705.08292.
"""

import numpy as np

from jaxopt_lab.optimizers.adagrad import adagrad
from jaxopt_lab.optimizers.adam import adam
from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.optimizers.rmsprop import rmsprop
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.wilson import wilson
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

EMPTY = {"initial_accumulator_value": 0.0, "eps": 1e-10}  # the paper's AdaGrad starts without a sum
SOURCE = "Wilson et al. 2017, https://arxiv.org/abs/1705.08292"


def check(
    gd: OptimizerFactory = gradient_descent,
    heavy_ball: OptimizerFactory = momentum,
    sums: OptimizerFactory = adagrad,
    means: OptimizerFactory = rmsprop,
    method: OptimizerFactory = adam,
) -> list[Finding]:
    """Train each method to the end, and look at the accuracy on examples that it has not seen."""
    task = wilson()
    majority = float(np.mean(np.asarray(task.test[1]) == 1))
    majority = max(majority, 1 - majority)
    cases = {
        "gradient descent": (gd, 1.0, "1"),
        "heavy ball": (heavy_ball, 1.0, "1"),
        "AdaGrad": (sums, majority, "share of the majority"),
        "RMSProp": (means, majority, "share of the majority"),
        "Adam": (method, majority, "share of the majority"),
    }
    rates = {"gradient descent": 0.1, "heavy ball": 0.02, "AdaGrad": 0.1, "RMSProp": 0.001, "Adam": 0.001}
    results = sweep(
        {name: factory for name, (factory, *_) in cases.items()},
        task,
        {name: {"learning_rate": rate} | (EMPTY if name == "AdaGrad" else {}) for name, rate in rates.items()},
        steps=5000,
        record=5000,
        evaluate=5000,
    )
    found = results.dataset["test_accuracy"].values[:, 0, -1]
    return [
        Finding(f"{name}: accuracy on Wilson's data", theory, expected, float(x), 1e-6, "a share, in float32", SOURCE)
        for x, (name, (_, expected, theory)) in zip(found, cases.items(), strict=True)
    ]
