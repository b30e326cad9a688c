"""The first methods that everyone learns, beside their twins."""

from functools import partial

import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import (
    Case,
    cancels,
    corrected,
    crawl,
    crawling_halving,
    halving,
    matrices,
    rate,
    slow,
    slow_halving,
    steady,
)

heavy_ball = partial(optax.sgd, momentum=0.9)

CASES = {
    "gradient_descent": Case(jl.gradient_descent, optax.sgd, rate),
    "gradient_descent schedule": Case(jl.gradient_descent, optax.sgd, {"learning_rate": halving}),
    "sgd": Case(
        jl.sgd,
        optax.sgd,
        rate,
        convention="As `momentum`.",
    ),
    "sgd momentum": Case(jl.sgd, optax.sgd, rate | {"momentum": 0.8}),
    "sgd nesterov": Case(jl.sgd, optax.sgd, rate | {"momentum": 0.8}, {"nesterov": True}),
    "momentum": Case(
        jl.momentum,
        heavy_ball,
        rate,
        mended="with momentum 0.9",
        convention=(
            "As Optax: no dampening. PyTorch's dampening is a schedule in front of it that leaves the first "
            "gradient undamped."
        ),
    ),
    "momentum nesterov": Case(jl.momentum, heavy_ball, rate | {"momentum": 0.7}, {"nesterov": True}),
    "momentum schedule": Case(jl.momentum, heavy_ball, {"learning_rate": halving}),
    "rmsprop": Case(
        jl.rmsprop,
        optax.rmsprop,
        crawl,
        bounds=steady,
        convention=(
            "As Optax: decay 0.9, eps under the root, momentum applied after the learning rate. PyTorch adds "
            "eps outside the root (`eps_in_sqrt=False`), uses decay 0.99 and applies the learning rate after "
            "the momentum."
        ),
    ),
    "rmsprop values": Case(jl.rmsprop, optax.rmsprop, slow | {"decay": 0.95, "eps": 1e-3, "initial_scale": 0.5}),
    "rmsprop eps outside": Case(jl.rmsprop, optax.rmsprop, crawl | {"eps": 1e-2}, {"eps_in_sqrt": False}),
    "rmsprop corrected": Case(jl.rmsprop, optax.rmsprop, slow | {"eps": 1e-3}, {"bias_correction": True}),
    "rmsprop momentum": Case(jl.rmsprop, optax.rmsprop, crawl | {"eps": 1e-3, "momentum": 0.8}),
    "rmsprop nesterov": Case(jl.rmsprop, optax.rmsprop, crawl | {"eps": 1e-3, "momentum": 0.8}, {"nesterov": True}),
    "rmsprop centered": Case(jl.rmsprop, optax.rmsprop, slow | {"eps": 1e-2}, {"centered": True}, cancels),
    "rmsprop centered corrected": Case(
        jl.rmsprop,
        optax.rmsprop,
        crawl | {"eps": 1e-2, "initial_scale": 0.5, "momentum": 0.8},
        {"centered": True, "eps_in_sqrt": False, "bias_correction": True, "nesterov": True},
        cancels,
    ),
    "rmsprop schedule": Case(
        jl.rmsprop, optax.rmsprop, {"learning_rate": crawling_halving, "eps": 1e-3, "momentum": 0.8}
    ),
    "adagrad": Case(
        jl.adagrad,
        optax.adagrad,
        rate,
        differs={"eps_in_sqrt": "PyTorch adds eps to the root; Optax has it under it"},
        convention=(
            "As Optax: the sum starts at 0.1 and eps = 1e-7 is under the root. PyTorch starts at 0 and adds "
            "1e-10 to the root (`eps_in_sqrt=False`)."
        ),
    ),
    "adagrad values": Case(jl.adagrad, optax.adagrad, rate | {"initial_accumulator_value": 0.5, "eps": 1e-2}),
    "adagrad from zero": Case(jl.adagrad, optax.adagrad, rate | {"initial_accumulator_value": 0.0, "eps": 0.0}),
    "adagrad schedule": Case(jl.adagrad, optax.adagrad, {"learning_rate": halving}),
    "adam": Case(jl.adam, optax.adam, slow, bounds=corrected),
    "adam values": Case(jl.adam, optax.adam, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4}),
    "adam no memory": Case(jl.adam, optax.adam, slow | {"b1": 0.0, "b2": 0.0, "eps": 1e-2}),
    "adam schedule": Case(jl.adam, optax.adam, {"learning_rate": slow_halving}, bounds=corrected),
    "adamw": Case(
        jl.adamw,
        optax.adamw,
        slow,
        bounds=corrected,
        convention=(
            "Decay is multiplied by the learning rate, as in both libraries; the paper's is not. The default "
            "1e-4 is Optax's; PyTorch's is 1e-2."
        ),
    ),
    "adamw values": Case(
        jl.adamw, optax.adamw, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1}
    ),
    "adamw mask": Case(jl.adamw, optax.adamw, slow | {"weight_decay": 0.5}, {"mask": matrices}, corrected),
    "adamw mask prefix": Case(
        jl.adamw, optax.adamw, slow | {"weight_decay": 0.5}, {"mask": {"weights": True, "biases": False}}, corrected
    ),
    "adamw schedules": Case(
        jl.adamw, optax.adamw, {"learning_rate": slow_halving, "weight_decay": halving}, bounds=corrected
    ),
}
