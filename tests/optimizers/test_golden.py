"""Ours against PyTorch's own trajectories: 30 float64 steps, torch 2.13.0 (`golden.json` names each source file).

A row says how PyTorch's conventions are expressed in ours. What cannot be: dampening, AMSGrad.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
STEPS = 30


class Row(NamedTuple):
    make: Callable[[], optax.GradientTransformation]
    bound: float = 1e-10  # largest difference of a parameter, over the largest way from the start
    why: str = ""


def with_l2(decay, optimizer):
    """PyTorch's weight decay outside AdamW: added to the gradient."""
    return optax.chain(optax.add_decayed_weights(decay), optimizer)


outside = {"eps_in_sqrt": False}  # PyTorch adds eps to the root
small_eps = "PyTorch's eps is outside the root, which ours has not: eps / |g| of the first step"
cancels = "v - m**2 cancels: its last digits depend on the order of operations"

ROWS = {
    "SGD plain": Row(lambda: jl.sgd(0.1)),
    "SGD momentum": Row(lambda: jl.momentum(0.05)),
    "SGD nesterov_wd": Row(lambda: with_l2(0.01, jl.sgd(0.05, 0.8, nesterov=True))),
    "RMSprop plain": Row(lambda: jl.rmsprop(0.01, 0.99, **outside)),
    "RMSprop momentum": Row(lambda: jl.rmsprop(0.003, 0.99, momentum=0.9, **outside)),
    "RMSprop centered": Row(lambda: jl.rmsprop(0.01, 0.9, 1e-4, centered=True, **outside), 1e-9, cancels),
    "RMSprop centered_momentum_wd": Row(
        lambda: with_l2(0.01, jl.rmsprop(0.003, 0.95, 1e-6, momentum=0.9, centered=True, **outside)), 1e-9, cancels
    ),
    "Adagrad default": Row(lambda: jl.adagrad(0.05, 0.0, 0.0), 1e-6, small_eps),
    "Adagrad lrdecay_wd_init": Row(
        lambda: with_l2(0.01, jl.adagrad(lambda t: 0.1 / (1 + 0.1 * t), 0.1, 0.0)), 1e-5, small_eps
    ),
    "Adam default": Row(lambda: jl.adam(0.02)),
    "Adam l2": Row(lambda: with_l2(0.05, jl.adam(0.03, 0.8, 0.95, 1e-4))),
    "AdamW default": Row(lambda: jl.adamw(0.02, weight_decay=1e-2)),
    "AdamW betas_wd": Row(lambda: jl.adamw(0.03, 0.8, 0.95, 1e-4, weight_decay=0.1)),
}


def grid(function, *shape):
    return jnp.asarray(np.fromfunction(function, shape))


def start():
    return {
        "W1": grid(lambda i, j: 0.5 * np.sin(1 + 3 * i + 7 * j), 6, 4),
        "b1": grid(lambda i: 0.1 * np.sin(2 + 5 * i), 6),
        "W2": grid(lambda i, j: 0.5 * np.sin(3 + 2 * i + 5 * j), 3, 6),
        "b2": grid(lambda i: 0.1 * np.cos(1 + 4 * i), 3),
    }


def loss(w):
    x = grid(lambda n, k: np.cos(0.5 + 1.3 * n + 2.1 * k), 10, 4)
    y = grid(lambda n, m: 0.4 + 1.5 * np.cos(1 + 1.3 * n + 1.9 * m) + 0.3 * np.cos(2.6 * n + m), 10, 3)
    return jnp.mean((jnp.tanh(x @ w["W1"].T + w["b1"][None, :]) @ w["W2"].T + w["b2"][None, :] - y) ** 2)


def flat(w):
    return jnp.concatenate([w[name].ravel() for name in ("W1", "b1", "W2", "b2")])


def test_problem_is_the_recorded_one(float64):
    value, gradient = jax.value_and_grad(loss)(start())
    np.testing.assert_allclose(value, 1.3914424990233956, rtol=1e-14)
    np.testing.assert_allclose(jnp.linalg.norm(flat(gradient)), 1.3823475142914752, rtol=1e-14)


@pytest.mark.parametrize("name", ROWS)
def test_golden_trajectory(name, float64):
    row = ROWS[name]
    optimizer = row.make()

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), flat(w)

    run = jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), length=STEPS)[1])
    ours, origin = np.asarray(run(start())), np.asarray(flat(start()))
    for t, recorded in GOLDEN[name]["params"].items():
        gap, way = abs(ours[int(t) - 1] - recorded).max(), abs(np.asarray(recorded) - origin).max()
        assert gap <= row.bound * way, f"step {t}: {gap / way:.1e} of the way from the start; {row.why}"


def test_every_recorded_trajectory_has_a_row():
    assert set(GOLDEN) == set(ROWS)
