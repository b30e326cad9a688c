"""The stationary variance of SGD with momentum on h w^2 / 2, whose gradient has noise of variance sigma^2.

With w' = w + beta (w - w_before) - eta (h w + noise), the stationary second moments solve a linear system; its solution
is Var w = eta sigma^2 (1 + beta) / [h (1 - beta) (2 (1 + beta) - eta h)].
"""

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers.momentum import momentum
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

H, ETA, BETA, SIGMA = 1.0, 0.1, 0.9, 1.0
STEPS, BURN_IN, SEEDS, STRIDE = 2000, 400, 2000, 10


def check(heavy_ball: OptimizerFactory = momentum) -> list[Finding]:
    """Average w^2 over steps and seeds."""

    def loss(w, noise):
        return H * w**2 / 2 + w * noise[0], {"square": w**2}

    task = Task("noisy", lambda key: jnp.zeros([]), loss, lambda key: SIGMA * jax.random.normal(key, (1,)))
    space = {"learning_rate": ETA, "momentum": BETA}
    results = sweep(heavy_ball, task, space, steps=STEPS, seeds=SEEDS, record=STRIDE, diverged_above=None)
    squares = results.dataset["square"].values[0, :, BURN_IN // STRIDE :]
    expected = ETA * SIGMA**2 * (1 + BETA) / (H * (1 - BETA) * (2 * (1 + BETA) - ETA * H))
    return [
        Finding(
            "SGD with momentum: stationary variance",
            "eta s^2 (1+b)/[h(1-b)(2(1+b)-eta h)]",
            expected,
            float(squares.mean()),
            0.02,
            f"{SEEDS} seeds: five standard errors",
            "Gitman et al. 2019, https://arxiv.org/abs/1910.04952",
        )
    ]
