"""A published table: SGD and heavy ball on DeepOBS's `quadratic_deep` (Schneider et al. 2019).

Their data are shuffled once, and each epoch has them in that order: seven batches, here of a stream. Six seeds have
other orders than theirs, so a figure may lie within the spread of the seeds.
"""

import dataclasses

import numpy as np

from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.quadratic_deep import quadratic_deep
from jaxopt_lab.tasks.streams import stream
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding
from jaxopt_lab.verify.theory.stability import limit

EPOCH, BATCH, SEEDS = 7, 128, 6
SOURCE = "Schneider et al. 2019, https://arxiv.org/abs/1903.05499"
START = 353.44676
PUBLISHED = {  # test loss by epoch
    "SGD": {1: 105.214, 10: 92.860, 100: 87.280},
    "heavy ball": {1: 268.43, 10: 134.36, 100: 87.070},
}


def check(gd: OptimizerFactory = gradient_descent, heavy_ball: OptimizerFactory = momentum) -> list[Finding]:
    """Train both at the published learning rates, and compare the test losses."""
    task = quadratic_deep()

    def batches(seed):
        order = np.random.RandomState(seed).permutation(len(task.train))
        return [task.train[order[i * BATCH : (i + 1) * BATCH]] for i in range(EPOCH)]

    results = sweep(
        {"SGD": gd, "heavy ball": heavy_ball},
        dataclasses.replace(task, train=stream(batches), batch_size=None),
        {"SGD": {"learning_rate": 0.0158489}, "heavy ball": {"learning_rate": 0.00251189, "momentum": 0.99}},
        steps=100 * EPOCH,
        seeds=SEEDS,
        record=100 * EPOCH,
        evaluate=EPOCH,
    )
    losses = results.dataset["test_loss"]
    start = float(losses.values[0, 0, 0])
    found = [Finding("quadratic_deep: test loss at the start", "published", START, start, 1e-7, "its digits", SOURCE)]
    steepest = limit(gd, {}, quadratic_deep(batch_size=None), 0.0251, 0.0398)  # of the published grid
    what, why = "gradient descent on quadratic_deep: largest stable learning rate", "other directions still fall"
    found.append(Finding(what, "2 / 53.1290, their lambda_max", 2 / 53.1290, steepest, 1e-4, why, SOURCE))
    for i, (name, figures) in enumerate(PUBLISHED.items()):
        for epoch, figure in figures.items():
            of_seeds = losses.sel(eval_step=epoch * EPOCH).values[i]
            spread = float(of_seeds.std(ddof=1) * np.sqrt(1 + 1 / SEEDS) / figure)
            why = f"four times the spread of {SEEDS} orders of the data"
            what = f"{name} on quadratic_deep: test loss, epoch {epoch}"
            found.append(Finding(what, "published", figure, float(of_seeds.mean()), 4 * spread, why, SOURCE))
    return found
