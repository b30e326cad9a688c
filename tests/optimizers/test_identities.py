"""What is the same method by another name: two walks of a small network that are one."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.haste import compiled
from jaxopt_lab.verify.optimizers.problems import PROBLEMS

MLP = PROBLEMS["mlp"]
STEPS = 30

flat = lambda value_fn, w, g, key: jax.tree.map(jnp.zeros_like, g)  # no curvature anywhere


def without_norm(optimizer):
    """The optimizer told that all parameters are 0: a trust ratio is 1 there."""
    update = lambda g, state, w: optimizer.update(g, state, jax.tree.map(jnp.zeros_like, w))
    return optax.GradientTransformation(optimizer.init, update)


IDENTITIES = {
    "Adam that remembers nothing is sign descent": lambda: (jl.adam(0.01, 0.0, 0.0, 0.0), jl.sign_sgd(0.01)),
    "AdamW without decay is Adam": lambda: (jl.adamw(0.01, weight_decay=0.0), jl.adam(0.01)),
    "AdaMaxW without decay is AdaMax": lambda: (jl.adamaxw(0.01, weight_decay=0.0), jl.adamax(0.01)),
    "NAdamW without decay is NAdam": lambda: (jl.nadamw(0.01, weight_decay=0.0), jl.nadam(0.01)),
    "NAdam without momentum is Adam without": lambda: (jl.nadam(0.01, 0.0), jl.adam(0.01, 0.0)),
    "Adam without momentum is RMSProp corrected": lambda: (
        jl.adam(0.01, 0.0, 0.99),
        jl.rmsprop(0.01, 0.99, 1e-8, eps_in_sqrt=False, bias_correction=True),
    ),
    "Lion of one memory is Signum": lambda: (jl.lion(0.01, 0.9, 0.9, 0.0), jl.signum(0.01, 0.9)),
    "Sophia that sees no curvature is Signum": lambda: (
        jl.sophia(0.01, 0.9, eps=1e-300, weight_decay=0.0, hessian_diagonal_fn=flat),
        jl.signum(0.01, 0.9),
    ),
    "LAMB with trust ratio 1 is AdamW": lambda: (
        without_norm(jl.lamb(0.01, eps=1e-8, weight_decay=0.0)),
        jl.adamw(0.01, weight_decay=0.0),
    ),
    "LARS with trust ratio 1 is momentum": lambda: (without_norm(jl.lars(0.01, momentum=0.9)), jl.momentum(0.01, 0.9)),
    "momentum of 0 is gradient descent": lambda: (jl.momentum(0.1, 0.0), jl.gradient_descent(0.1)),
    "Optimistic gradient descent without optimism is gradient descent": lambda: (
        jl.optimistic_gradient_descent(0.1, beta=0.0),
        jl.gradient_descent(0.1),
    ),
    "Adan that sees no differences is Adam": lambda: (jl.adan(0.01, 0.9, 0.0, 0.999), jl.adam(0.01)),
    "QHAdam of means alone is AdamW": lambda: (jl.qhadam(0.01, weight_decay=0.1), jl.adamw(0.01, weight_decay=0.1)),
    "LaProp without momentum is Adam without": lambda: (jl.laprop(0.01, 0.0, eps=1e-8), jl.adam(0.01, 0.0)),
    "AdamP that projects nothing is AdamW": lambda: (
        jl.adamp(0.01, weight_decay=0.1, delta=0.0),
        jl.adamw(0.01, weight_decay=0.1),
    ),
    "Adam-mini of single elements is AdamW": lambda: (
        jl.adam_mini(0.01, weight_decay=0.1, shared=False),
        jl.adamw(0.01, weight_decay=0.1),
    ),
    "StableAdamW that never clips is AdamW": lambda: (
        jl.stable_adamw(0.01, eps=1e-8, weight_decay=0.1, clipping_threshold=1e9),
        jl.adamw(0.01, weight_decay=0.1),
    ),
    "Grams without momentum is Adam without": lambda: (
        jl.grams(0.01, 0.0, eps=1e-8, eps_before_correction=False),
        jl.adam(0.01, 0.0),
    ),
    "AdaBound of open bounds is Adam": lambda: (jl.adabound(0.01, gamma=1e-12, eps=0.0), jl.adam(0.01, eps=0.0)),
    "AdaBound of closed bounds is QHM of the mean alone": lambda: (
        jl.adabound(0.01, final_learning_rate=0.1, gamma=1e15),
        jl.qhm(0.1, 0.9, 1.0),
    ),
    "AdaHessian that takes the gradient for curvature is Adam": lambda: (
        jl.adahessian(0.01, eps=1e-8, hessian_diagonal_fn=lambda value_fn, w, g, key: g),
        jl.adam(0.01),
    ),
    "GPA-AdamW with Schedule-Free's weights and no momentum is schedule-free AdamW": lambda: (
        jl.gpa_adamw(0.01, 0.0, 0.99, 1e-8, 0.1, 0.9, schedule_free=True, decay_of="both"),
        jl.schedule_free_adamw(0.01, None, 0.9, 0.99, 1e-8, 0.1),
    ),
    "QHM of the mean alone is heavy ball at a lower rate": lambda: (jl.qhm(0.1, 0.9, 1.0), jl.momentum(0.01, 0.9)),
    "QHM whose nu is its momentum is Nesterov's at a lower rate": lambda: (
        jl.qhm(0.1, 0.9, 0.9),
        jl.momentum(0.01, 0.9, nesterov=True),
    ),
    "AggMo of one momentum is heavy ball": lambda: (jl.aggmo(0.01, betas=(0.9,)), jl.momentum(0.01, 0.9)),
    "SGDP that projects nothing is momentum": lambda: (jl.sgdp(0.01, 0.9, delta=0.0), jl.momentum(0.01, 0.9)),
    "ASGD without decay is gradient descent": lambda: (jl.asgd(0.1, 0.0), jl.gradient_descent(0.1)),
}
"""What is claimed, the one optimizer and the other."""


def walked(optimizer: Any, w):
    """The parameters after every step."""

    def step(carry, t):
        w, state = carry
        extended = optax.with_extra_args_support(optimizer)
        updates, state = extended.update(MLP.gradient(w), state, w, **MLP.extras(MLP.loss(w), t))
        w = optax.apply_updates(w, updates)
        return (w, state), w

    return jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(STEPS))[1]


@pytest.mark.parametrize("claim", IDENTITIES)
def test_identity(claim, float64):
    start = MLP.start()
    both = compiled(jax.jit(lambda w: [walked(optimizer, w) for optimizer in IDENTITIES[claim]()]).lower(start))(start)
    # Float64 rounding, grown over the steps.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), *both)
