"""Gradient descent trains at the edge of stability: the sharpness rises to 2 / eta and stays there.

Cohen et al. 2021, https://arxiv.org/abs/2103.00065. The sharpness is the largest eigenvalue of the training loss's
Hessian, here by power iteration on products with the Hessian.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxopt_lab.optimizers.gradient_descent import gradient_descent
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.digits import digits_mlp
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory, random_key
from jaxopt_lab.verify.finding import Finding

RATES, STEPS, EXAMPLES, WIDTHS = (0.3, 0.5, 0.7), 8000, 500, (64, 32, 32, 10)
ITERATIONS = 200


def check(gd: OptimizerFactory = gradient_descent) -> list[Finding]:
    """Train a tanh network on 500 digits by the squared error, with all of them in each step."""
    x, y = (np.asarray(a)[:EXAMPLES] for a in digits_mlp(batch_size=None).train)
    data = x.astype(np.float32), np.eye(10, dtype=np.float32)[y]

    def init(key):
        keys = jax.random.split(key, len(WIDTHS) - 1)
        sizes = itertools.pairwise(WIDTHS)
        start = lambda k, size: (jax.random.normal(k, size) / size[0] ** 0.5, jnp.zeros(size[1]))
        return [start(k, size) for k, size in zip(keys, sizes, strict=True)]

    def loss(params, batch):
        h, targets = batch
        for w, b in params[:-1]:
            h = jnp.tanh(h @ w + b[None])
        w, b = params[-1]
        return jnp.mean((h @ w + b[None] - targets) ** 2)

    with jax.enable_x64(False):  # as in the paper; double precision takes twice as long
        task = Task("digits, squared error", init, loss, data)
        results = sweep(gd, task, {"learning_rate": list(RATES)}, steps=STEPS, record=STEPS // 20)
        found = [_sharpness(loss, results.params(i, 0), data) for i in range(len(RATES))]
    return [
        Finding(
            f"gradient descent: sharpness after {STEPS:,} steps of {rate}",
            "2/eta",
            2 / rate,
            sharpness,
            0.05,
            "it oscillates about that value, by some per cent",
            "Cohen et al. 2021, https://arxiv.org/abs/2103.00065",
        )
        for rate, sharpness in zip(RATES, found, strict=True)
    ]


def _sharpness(loss: Any, params: Any, batch: Any) -> float:
    """Return the largest eigenvalue of the Hessian."""
    w, shaped = ravel_pytree(params)
    gradient = jax.grad(lambda w: loss(shaped(w), batch))

    @jax.jit
    def iterated(w, v):
        times_hessian = lambda v: jax.jvp(gradient, (w,), (v,))[1]
        v = jax.lax.fori_loop(0, ITERATIONS, lambda _, v: times_hessian(v) / jnp.linalg.norm(times_hessian(v)), v)
        return jnp.vdot(v, times_hessian(v))

    return float(iterated(w, jax.random.normal(random_key(0), w.shape)))
