"""Steps by sign, by norm, by what is foreseen, by the loss and by chance, beside their twins."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import (
    Case,
    corrected,
    crawl,
    crawling_halving,
    halving,
    matrices,
    pair,
    pair_with_extras,
    rate,
    slow,
    slow_halving,
    steady,
)


@functools.wraps(optax.rprop)
def prompt_rprop(*args, **hyperparameters):
    """Optax's rprop making the step that it has just computed and stored, instead of the one stored before."""
    late: Any = optax.rprop(*args, **hyperparameters)

    def update(grads, state, params=None):
        _, state = late.update(grads, state, params)
        return jax.tree.map(jnp.negative, state[0].prev_updates), state

    return pair(late.init, update)


@functools.wraps(optax.optimistic_adam)
def optimistic_adam(*args, **hyperparameters):
    """Optax's, whose deprecation in favour of another signature of the same method is no news here."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return optax.optimistic_adam(*args, **hyperparameters)


def polyak_then_scale(max_learning_rate, scaling, f_min, eps, variant="sps"):
    """Optax's polyak_sgd with the scaling after Polyak's step size, as its documentation has it, not before."""
    return optax.chain(optax.scale_by_polyak(f_min, max_learning_rate, eps, variant), optax.sgd(scaling))


def lars_of_norms_apart(learning_rate, weight_decay, trust_coefficient, eps, momentum, joint_norm):
    """LARS as its paper has it: the ratio's denominator is the sum of two norms; all else Optax's."""

    def direction(g, w):
        ratio = trust_coefficient * jnp.linalg.norm(w) / (jnp.linalg.norm(g) + weight_decay * jnp.linalg.norm(w) + eps)
        return ratio * (g + weight_decay * w)

    trusted = optax.stateless(lambda grads, params: jax.tree.map(direction, grads, params))
    return optax.chain(trusted, optax.scale_by_learning_rate(learning_rate), optax.trace(momentum))


@functools.wraps(optax.noisy_sgd)
def noisy_sgd(learning_rate, eta=0.01, gamma=0.55):
    """Optax's noisy_sgd with the key of the step given to its noise, which it would split off one in its state."""

    def update(grads, t, params=None, *, key, **_):
        noise = optax.tree.random_like(key, grads, jax.random.normal)
        return optax.tree.add_scale(grads, jnp.sqrt(eta / (t + 1) ** gamma), noise), t + 1

    add_noise = pair_with_extras(lambda params: jnp.zeros([], jnp.int32), update)
    return optax.chain(add_noise, optax.scale_by_learning_rate(learning_rate))


def halving_in_full(t):
    """As slow_halving, which under x64 still is float32: there Optax's 1 / sqrt(1 + rate**2) - 1 loses four digits."""
    return 0.01 * 0.5 ** (jnp.asarray(t, float) / 50)


wide = {"learning_rate": 1.0}

CASES = {
    "adadelta": Case(
        jl.adadelta,
        optax.adadelta,
        wide,
        differs={"learning_rate": "ours is 1, PyTorch's and the paper's; with Optax's None every step goes uphill"},
        convention="The learning rate is 1, as in PyTorch and, implicitly, in the paper.",
    ),
    "adadelta values": Case(
        jl.adadelta, optax.adadelta, {"learning_rate": 0.7, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.02}
    ),
    "adadelta mask": Case(jl.adadelta, optax.adadelta, wide | {"weight_decay": 0.5}, {"weight_decay_mask": matrices}),
    "adadelta schedules": Case(
        jl.adadelta, optax.adadelta, {"learning_rate": halving, "eps": 1e-3, "weight_decay": halving}
    ),
    "sign_sgd": Case(
        jl.sign_sgd,
        optax.sign_sgd,
        slow,
        real_only=True,
    ),
    "sign_sgd schedule": Case(jl.sign_sgd, optax.sign_sgd, {"learning_rate": slow_halving}),
    "signum": Case(
        jl.signum,
        optax.signum,
        slow,
        real_only=True,
    ),
    "signum values": Case(jl.signum, optax.signum, crawl | {"beta": 0.7}),
    "signum schedule": Case(jl.signum, optax.signum, {"learning_rate": slow_halving}),
    "rprop": Case(
        jl.rprop,
        prompt_rprop,
        slow,
        mended="with the step applied at once",
        real_only=True,
        convention=(
            "As PyTorch (iRprop-), except that PyTorch also clips a step size that neither grew nor shrank, "
            "which matters only if the learning rate is outside the limits."
        ),
    ),
    "rprop values": Case(
        jl.rprop,
        prompt_rprop,
        slow | {"eta_minus": 0.3, "eta_plus": 1.5, "min_step_size": 1e-4, "max_step_size": 0.08},
    ),
    "rprop outside the limits": Case(jl.rprop, prompt_rprop, rate | {"max_step_size": 0.02}),
    "optimistic_gradient_descent": Case(jl.optimistic_gradient_descent, optax.optimistic_gradient_descent, rate),
    "optimistic_gradient_descent values": Case(
        jl.optimistic_gradient_descent, optax.optimistic_gradient_descent, rate | {"alpha": 0.7, "beta": 0.4}
    ),
    "optimistic_gradient_descent schedule": Case(
        jl.optimistic_gradient_descent, optax.optimistic_gradient_descent, {"learning_rate": halving}
    ),
    "optimistic_adam": Case(
        jl.optimistic_adam,
        optimistic_adam,
        crawl,
        bounds=corrected,
        mended="without its deprecation warning",
        convention="As Optax: with Nesterov's look-ahead. The paper has none (`nesterov=False`).",
    ),
    "optimistic_adam values": Case(
        jl.optimistic_adam,
        optimistic_adam,
        crawl | {"optimism": 0.002, "b1": 0.8, "b2": 0.95, "eps": 1e-2, "eps_root": 1e-4},
    ),
    "optimistic_adam as published": Case(jl.optimistic_adam, optimistic_adam, slow, {"nesterov": False}, corrected),
    "optimistic_adam schedule": Case(
        jl.optimistic_adam, optax.optimistic_adam_v2, {"learning_rate": slow_halving}, bounds=corrected
    ),
    "polyak_sgd": Case(jl.polyak_sgd, optax.polyak_sgd, {"max_learning_rate": 0.1}),
    "polyak_sgd values": Case(
        jl.polyak_sgd, polyak_then_scale, {"max_learning_rate": 0.2, "scaling": 0.5, "f_min": 0.1, "eps": 1e-2}
    ),
    "polyak_sgd sps+": Case(  # a step that goes too far, below f_min, is the last
        jl.polyak_sgd,
        polyak_then_scale,
        {"max_learning_rate": 2.0, "scaling": 3.0, "f_min": 0.48, "eps": 0.0},
        {"variant": "sps+"},
    ),
    "polyak_sgd schedule": Case(
        jl.polyak_sgd, polyak_then_scale, {"max_learning_rate": 1.0, "scaling": halving, "f_min": 0.0, "eps": 0.0}
    ),
    "fromage": Case(
        jl.fromage,
        optax.fromage,
        crawl,
        convention="As Optax: norms are at least `min_norm=1e-6`. The paper has no such floor (0).",
    ),
    "fromage values": Case(jl.fromage, optax.fromage, slow | {"min_norm": 0.5}),
    "fromage schedule": Case(jl.fromage, optax.fromage, {"learning_rate": halving_in_full}),
    "lars": Case(
        jl.lars,
        optax.lars,
        wide,
        differs={"joint_norm": "the paper's denominator, which Optax's has not"},
        convention=(
            "As Optax: the norm of gradient and decay together. The paper adds the two norms (`joint_norm=False`)."
        ),
    ),
    "lars values": Case(
        jl.lars,
        optax.lars,
        rate | {"weight_decay": 0.1, "trust_coefficient": 0.02, "eps": 1e-2, "momentum": 0.7},
        {"nesterov": True},
    ),
    "lars masks": Case(
        jl.lars,
        optax.lars,
        slow | {"weight_decay": 0.1},
        {"weight_decay_mask": matrices, "trust_ratio_mask": {"weights": True, "biases": False}},
    ),
    "lars norms apart": Case(
        jl.lars,
        lars_of_norms_apart,
        wide | {"weight_decay": 0.1, "trust_coefficient": 1e-3, "eps": 1e-3, "momentum": 0.9},
        {"joint_norm": False},
    ),
    "lars schedules": Case(jl.lars, optax.lars, {"learning_rate": halving, "weight_decay": halving}),
    "lamb": Case(
        jl.lamb,
        optax.lamb,
        slow,
        bounds=corrected,
        convention="As Optax: the paper's phi is the identity function.",
    ),
    "lamb values": Case(
        jl.lamb, optax.lamb, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1}
    ),
    "lamb mask": Case(jl.lamb, optax.lamb, slow | {"weight_decay": 0.5}, {"mask": matrices}, corrected),
    "lamb schedules": Case(jl.lamb, optax.lamb, {"learning_rate": slow_halving, "weight_decay": halving}),
    "novograd": Case(
        jl.novograd,
        optax.novograd,
        crawl,
        bounds=steady,
        convention="As Optax: b1 = 0.9 and b2 = 0.25. The paper's experiments mostly use 0.95 and 0.98.",
    ),
    "novograd values": Case(
        jl.novograd,
        optax.novograd,
        slow | {"b1": 0.95, "b2": 0.98, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 1e-3},
    ),
    "novograd schedule": Case(jl.novograd, optax.novograd, {"learning_rate": crawling_halving}),
    "noisy_sgd": Case(
        jl.noisy_sgd,
        noisy_sgd,
        rate,
        differs={"seed": "Optax's `key`, or its deprecated `seed`, None for 0"},
        mended="with the step's key",
        not_traced={
            "seed": "it is a constant of the program",
        },
        convention=(
            "The key of each step comes from the training loop if it passes one; otherwise from the state, as in Optax."
        ),
    ),
    "noisy_sgd values": Case(jl.noisy_sgd, noisy_sgd, slow | {"eta": 1.0, "gamma": 0.3}),
    "noisy_sgd schedule": Case(jl.noisy_sgd, noisy_sgd, {"learning_rate": halving}),
}
