"""The optimizers beside their Optax twins: a new optimizer is one more row, a new option too."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import optax
from problems import PROBLEMS

import jaxopt_lab as jl

PRECISIONS = ("float64", "float32")


class Bounds(NamedTuple):
    """The largest differences allowed from the twin; whoever widens one says why in the row."""

    step64: float = 1e-12  # one step from the same point, over the largest element of that leaf's update
    step32: float = 2e-6
    free64: float = 1e-12  # parameters after 200 steps of each on its own, over the way gone
    free32: float = 1e-5
    why: str = ""


class Case(NamedTuple):
    ours: Callable[..., Any]
    twin: Callable[..., Any]
    numeric: dict[str, Any]  # hyperparameters given to both; what is not here is left at its default
    structural: Mapping[str, Any] = MappingProxyType({})
    bounds: Bounds = Bounds()

    def make_ours(self):
        return self.ours(**self.numeric, **self.structural)

    def make_twin(self):
        return self.twin(**self.numeric, **self.structural)

    def traceable(self) -> dict[str, Any]:
        """Every numeric hyperparameter, defaults too, but for schedules and those that are off (None)."""
        positional = inspect.signature(self.ours).parameters.values()
        defaults = {p.name: p.default for p in positional if p.kind is p.POSITIONAL_OR_KEYWORD}
        values = defaults | self.numeric
        return {name: float(value) for name, value in values.items() if value is not None and not callable(value)}

    def make_traced(self, values):
        return self.ours(**{**self.numeric, **values}, **self.structural)


halving = optax.exponential_decay(0.1, transition_steps=50, decay_rate=0.5)
slow_halving = optax.exponential_decay(0.01, transition_steps=50, decay_rate=0.5)
crawling_halving = optax.exponential_decay(0.001, transition_steps=50, decay_rate=0.5)
rate, slow, crawl = {"learning_rate": 0.1}, {"learning_rate": 0.01}, {"learning_rate": 0.001}
heavy_ball = partial(optax.sgd, momentum=0.9)
matrices = lambda params: jax.tree.map(lambda w: w.ndim > 1, params)

steady = Bounds(
    free64=1e-2, free32=5e-2, why="steps do not shrink with g: signs flip near a minimum, and rounding grows"
)
cancels = Bounds(step32=2e-5, why="v - m**2 + eps cancels: where it is v / 100, two of float32's seven digits are gone")
corrected = Bounds(step32=2e-5, free32=1e-4, why="Optax's 1 - b2**t loses two digits in float32; ours keeps them")

CASES = {
    "gradient_descent": Case(jl.gradient_descent, optax.sgd, rate),
    "gradient_descent schedule": Case(jl.gradient_descent, optax.sgd, {"learning_rate": halving}),
    "sgd": Case(jl.sgd, optax.sgd, rate),
    "sgd momentum": Case(jl.sgd, optax.sgd, rate | {"momentum": 0.8}),
    "sgd nesterov": Case(jl.sgd, optax.sgd, rate | {"momentum": 0.8}, {"nesterov": True}),
    "momentum": Case(jl.momentum, heavy_ball, rate),
    "momentum nesterov": Case(jl.momentum, heavy_ball, rate | {"momentum": 0.7}, {"nesterov": True}),
    "momentum schedule": Case(jl.momentum, heavy_ball, {"learning_rate": halving}),
    "rmsprop": Case(jl.rmsprop, optax.rmsprop, crawl, bounds=steady),
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
    "adagrad": Case(jl.adagrad, optax.adagrad, rate),
    "adagrad values": Case(jl.adagrad, optax.adagrad, rate | {"initial_accumulator_value": 0.5, "eps": 1e-2}),
    "adagrad from zero": Case(jl.adagrad, optax.adagrad, rate | {"initial_accumulator_value": 0.0, "eps": 0.0}),
    "adagrad schedule": Case(jl.adagrad, optax.adagrad, {"learning_rate": halving}),
    "adam": Case(jl.adam, optax.adam, slow, bounds=corrected),
    "adam values": Case(jl.adam, optax.adam, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4}),
    "adam no memory": Case(jl.adam, optax.adam, slow | {"b1": 0.0, "b2": 0.0, "eps": 1e-2}),
    "adam schedule": Case(jl.adam, optax.adam, {"learning_rate": slow_halving}, bounds=corrected),
    "adamw": Case(jl.adamw, optax.adamw, slow, bounds=corrected),
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

METHODS = {name: case for name, case in CASES.items() if " " not in name}
"""The first row of every method, named as the method."""


def walks() -> list[tuple[str, str, str]]:
    """(case, problem, precision): every row on every problem in both precisions."""
    return [(case, problem, precision) for case in CASES for problem in PROBLEMS for precision in PRECISIONS]
