"""Sweeps for `test_against_naive.py`: small tasks, optimizers of every kind, and hypothesis strategies over them.

Structures (tasks, optimizers, chunks, strides of evaluation) come from a short list, so that compiled programs serve
many examples; numbers are drawn freely.
"""

import dataclasses
import functools
import inspect
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

import jaxopt_lab as jl

DEFAULTS = {name: p.default for name, p in inspect.signature(jl.sweep).parameters.items()}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One sweep: `jl.sweep(**arguments, **cut)`; the naive loop gets only the arguments."""

    arguments: dict[str, Any]
    cut: dict[str, Any]
    exact: bool

    def __repr__(self):
        said = {name: value for name, value in (self.arguments | self.cut).items() if value != DEFAULTS[name]}
        listed = ", ".join(f"{n}={v!r}" for n, v in said.items() if n not in ("optimizers", "task", "space"))
        return (
            f"jl.sweep({{{', '.join(f'{n!r}: {n}' for n in self.arguments['optimizers'])}}}, "
            f"{self.arguments['task'].name}, {written(self.arguments['space'])}, {listed})"
        )


def written(space) -> str:
    """Return a space as code."""
    if isinstance(space, dict):
        return "{" + ", ".join(f"{name!r}: {written(s)}" for name, s in space.items()) + "}"
    return f"jl.{space.kind}({dict(space.columns)})" if hasattr(space, "kind") else str(space)


# Tasks

SPECTRUM = np.array([1.0, 0.3, 0.02])
FEATURES = np.random.default_rng(0).normal(size=(20, 3))
TARGETS = FEATURES @ np.array([1.0, -2.0, 0.5]) + 0.1 * np.random.default_rng(1).normal(size=20)


def line_start(key):
    return {"w": jax.random.normal(key, (3,)), "b": jnp.zeros([])}


def line_loss(params, batch):
    inputs, targets = batch
    return jnp.mean((inputs @ params["w"] + params["b"] - targets) ** 2) + 0.01 * jnp.sum(params["w"] ** 2)


def line_accuracy(params, batch):
    inputs, targets = batch
    return jnp.mean(jnp.abs(inputs @ params["w"] + params["b"] - targets) < 1)


def bowl() -> jl.Task:
    """Deterministic, least at 1/8: a loss of 0 would be all rounding."""
    loss = lambda w, _: 0.125 + 0.5 * jnp.sum(SPECTRUM * w**2)
    return jl.Task("bowl", lambda key: jax.random.normal(key, (3,)), loss, train=None)


def line() -> jl.Task:
    """Minibatches, both held-out splits, metrics of which more is better or less."""
    split = [(FEATURES[at], TARGETS[at]) for at in (slice(0, 12), slice(12, 16), slice(16, 20))]
    size = jl.minimize(lambda params, batch: jnp.sum(params["w"] ** 2))
    reward = jl.maximize(lambda params, batch: -line_loss(params, batch))
    metrics = {"accuracy": line_accuracy, "size": size, "reward": reward}
    return jl.Task("line", line_start, line_loss, *split, metrics=metrics, batch_size=4)


def curve(scale: float = 1.0) -> jl.Task:
    """All examples at once, validation alone, and an argument to vary; the loss is of fourth order, which diverges."""

    def loss(params, batch):
        inputs, targets = batch
        error = inputs @ params["w"] + params["b"] - scale * targets
        return jnp.mean(error**2 + 0.1 * error**4)

    split = [(FEATURES[at], TARGETS[at]) for at in (slice(0, 12), slice(12, 20))]
    return jl.Task("curve", line_start, loss, *split, factory=made_curve, arguments={"scale": scale})


made_curve = functools.cache(curve)


def stream() -> jl.Task:
    """Endless data, of which held-out data are drawn too."""

    def batch(key):
        inputs = jax.random.normal(key, (4, 3))
        return inputs, inputs @ jnp.array([1.0, -2.0, 0.5]) + 0.5

    return jl.Task("stream", line_start, line_loss, batch, test=batch)


def falls() -> jl.Task:
    """Each step of gradient descent takes its rate off, without rounding, until the loss is NaN."""
    start = lambda key: jax.random.randint(key, (), 2, 60).astype(float) + 0.5
    return jl.Task("falls", start, lambda w, _: jnp.where(w > 0, w, jnp.nan), train=None)


def holes() -> jl.Task:
    """Some batches have a loss that is not a number, others a gradient that is not."""

    def batch(key):
        return jax.random.normal(key, (1, 3)), jax.random.uniform(jax.random.fold_in(key, 1), (1,))

    def loss(w, batch):
        shift, chance = batch
        values = 0.125 + 0.5 * jnp.sum(SPECTRUM[None] * (w[None] - 0.1 * shift) ** 2, axis=1)
        roots = jnp.sqrt(jnp.where(chance > 0.85, 0.0, 1.0) * jnp.sum(w**2))  # at 0 it has no derivative
        return jnp.mean(jnp.where(chance < 0.15, jnp.nan, values + 0.01 * roots))

    whole = lambda key: (jax.random.normal(key, (4, 3)), jnp.full(4, 0.5))
    return jl.Task("holes", lambda key: jax.random.normal(key, (3,)), loss, batch, validation=whole)


TASKS = {task.name: task for task in (bowl(), line(), made_curve(), stream(), falls(), holes())}

# Optimizers


def clipped(learning_rate, momentum):
    return optax.chain(optax.clip_by_global_norm(1.0), jl.momentum(learning_rate, momentum))


def searched(initial_step, *, most=6):
    return optax.chain(optax.sgd(initial_step), optax.scale_by_backtracking_linesearch(most))


def every_other(learning_rate):
    return optax.MultiSteps(optax.adam(learning_rate), 2).gradient_transformation()


def free(learning_rate, b1):
    return optax.contrib.schedule_free_sgd(learning_rate, b1=b1)


def quasi_newton(learning_rate, *, memory_size=10):
    return jl.lbfgs(learning_rate, memory_size=memory_size, linesearch=None)


RATES = {"learning_rate": [1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 2.5, 30.0, 1e4, 1e9]}
MODEST = {"learning_rate": [1e-3, 0.01, 0.03, 0.1, 0.3, 1.0]}
B1 = {"b1": [0.0, 0.5, 0.8, 0.9, 0.95]}

Tables = dict[str, tuple[Any, dict[str, list[float]], dict[str, list[Any]]]]
OPTIMIZERS: Tables = {  # by name: the factory, its numbers, its structural values
    "gradient_descent": (jl.gradient_descent, RATES, {}),
    "momentum": (jl.momentum, RATES | {"momentum": [0.0, 0.5, 0.9, 0.99]}, {"nesterov": [False, True]}),
    "adam": (jl.adam, RATES | B1, {}),
    "lion": (jl.lion, MODEST | B1, {}),
    "noisy_sgd": (jl.noisy_sgd, RATES | {"eta": [0.0, 0.01, 1.0]}, {}),
    "sam": (jl.sam, RATES | {"rho": [0.01, 0.05, 0.3]}, {"adaptive": [False, True]}),
    "polyak_sgd": (jl.polyak_sgd, {"max_learning_rate": [0.01, 0.1, 1.0, 10.0]}, {}),
    "sophia": (jl.sophia, MODEST | {"update_interval": [1.0, 3.0]}, {}),
    "lbfgs": (jl.lbfgs, {}, {"memory_size": [2, 5]}),
    "schedule_free_adamw": (jl.schedule_free_adamw, RATES | {"b1": [0.5, 0.9]}, {}),
    "clipped": (clipped, RATES | {"momentum": [0.0, 0.5, 0.9, 0.99]}, {}),
    "optax_adam": (optax.adam, RATES, {"nesterov": [False, True]}),
}
MORE: Tables = {
    "sgd": (jl.sgd, RATES, {"momentum": [None, 0.9]}),
    "adabelief": (jl.adabelief, MODEST | B1, {"rectify": [False, True]}),
    "momo": (jl.momo, {"learning_rate": [0.1, 1.0, 10.0], "beta": [0.0, 0.5, 0.9]}, {"bias_correction": [False, True]}),
    "quasi_newton": (quasi_newton, {"learning_rate": [0.1, 0.5, 1.0]}, {"memory_size": [1, 3]}),
    "schedule_free_sgd": (jl.schedule_free_sgd, RATES, {}),
    "searched": (searched, {"initial_step": [0.1, 1.0, 5.0]}, {"most": [3, 8]}),
    "every_other": (every_other, RATES, {}),
    "free": (free, RATES | {"b1": [0.5, 0.9]}, {}),
    "optax_sgd": (optax.sgd, RATES, {}),
    "optax_lion": (optax.lion, MODEST | B1, {}),
    "optax_polyak_sgd": (optax.polyak_sgd, {"max_learning_rate": [0.01, 0.1, 1.0]}, {}),
    "rprop": (jl.rprop, MODEST, {}),
    "yogi": (jl.yogi, MODEST | B1, {}),
    "adafactor": (jl.adafactor, MODEST, {"factored": [False, True]}),
    "dog": (jl.dog, {"learning_rate": [0.5, 1.0, 2.0]}, {}),
    "prodigy": (jl.prodigy, {"learning_rate": [0.3, 1.0]}, {}),
    "cocob": (jl.cocob, {}, {}),
    "amsgrad": (jl.amsgrad, MODEST | B1, {}),
    "radam": (jl.radam, MODEST, {}),
    "adagrad": (jl.adagrad, RATES, {}),
    "rmsprop": (jl.rmsprop, MODEST, {"centered": [False, True]}),
}

# A step of a power of two makes no rounding where the loss has a slope of 1.
DYADIC = {"learning_rate": [0.25, 0.5, 1.0, 2.0, 8.0]}
ALL: Tables = OPTIMIZERS | MORE | {"exact": (jl.gradient_descent, DYADIC, {})}

# What is drawn


@dataclasses.dataclass(frozen=True)
class Structure:
    """Everything in a sweep that programs are compiled for."""

    task: jl.Task
    optimizers: list[str]
    static: dict[str, dict[str, list[Any]]]
    evaluate: int | None
    chunk: int | None
    strategy: str | None
    converges: bool
    skips: bool


def structure(choose, optimizers, evaluations, chunks) -> Structure:
    """`choose` takes one of a list."""
    task = TASKS[choose(list(TASKS))]
    names = [choose(list(optimizers)) for _ in range(choose([1, 1, 2]))] if task.name != "falls" else ["exact"]
    argument = {"task.scale": [1.0, 2.0]} if task.name == "curve" and choose([False, True]) else {}
    static = {}
    for name in names:
        tables = ALL[name][2] | argument
        static[name] = {n: choose([values, values[:1], values[1:]]) for n, values in tables.items() if choose([0, 1])}
    return Structure(
        task,
        list(dict.fromkeys(names)),
        static,
        choose(evaluations),
        choose(chunks),
        choose([None, "scan", "steps", "scan_each", "steps_each"]),
        converges=choose([0, 0, 1]) == 1,
        skips=choose([0, 1] if task.name == "holes" else [0, 0, 0, 1]) == 1,
    )


FEW = [structure(random.Random(n).choice, OPTIMIZERS, [2, 4, 7], [1, 2, 4]) for n in range(16)]
"""Structures of which each serves many sweeps."""


@st.composite
def structures(draw):
    """Any other structure."""
    choose = lambda of: draw(st.sampled_from(of))
    return structure(choose, OPTIMIZERS | MORE, [None, *range(1, 20)], [*range(1, 12), None])


@st.composite
def spaces(draw, numbers, static):
    """A product, a zipped table or a random one, whose configurations all differ."""
    static = {name: jl.static(values) for name, values in static.items()}
    if not numbers:
        return static
    least = draw(st.integers(1, 3))  # to be tried of the first hyperparameter
    some = lambda values, most: draw(
        st.lists(st.sampled_from(values), min_size=min(least, most - 1, len(values)), max_size=most, unique=True)
    )
    first, *rest = numbers
    kind = draw(st.sampled_from(["product", "product", "zipped", "random"]))
    if kind == "product":
        space = {first: some(numbers[first], 5)} | {name: some(numbers[name], 2) for name in rest} | static
        return {name: space[name] for name in draw(st.permutations(list(space)))}
    if kind == "zipped":
        space = {first: some(numbers[first], 5)}
        space |= {name: [draw(st.sampled_from(numbers[name])) for _ in space[first]] for name in rest}
        return jl.zipped(space | {name: jl.static(listed.values[:1]) for name, listed in static.items()})
    space = {first: jl.log(min(numbers[first]), max(numbers[first]))} | {name: numbers[name] for name in rest} | static
    return jl.random(space, n=draw(st.integers(1, 5)), key=draw(st.integers(0, 99)))


@st.composite
def rules(draw, task, steps):
    """No rule, or one of each kind, by the default metric or another."""
    make = draw(st.sampled_from([None, jl.halving, jl.hyperband, jl.plateau]))
    if make is None or steps == 1:
        return None
    metrics = [None, "train_loss"]
    if task.validation is not None:
        metrics += ["validation_loss", *(f"validation_{name}" for name in task.metrics)]
    if task.test is not None:
        metrics += ["test_loss"]
    metric, first = draw(st.sampled_from(metrics)), draw(st.integers(1, min(8, steps - 1)))
    if make is jl.plateau:
        return jl.plateau(first, min_improvement=draw(st.sampled_from([0.0, 1e-3, 0.1, 0.5])), metric=metric)
    return make(draw(st.sampled_from([1.5, 2, 3, 4])), min_steps=first, metric=metric)


@st.composite
def sweeps(draw, structures=None):
    """Draw sweeps with any option that changes results, or that must not change them."""
    made = draw(st.sampled_from(FEW) if structures is None else structures)
    maybe = lambda *values: draw(st.one_of(st.none(), st.none(), st.sampled_from(values)))
    steps = draw(st.one_of(st.integers(1, 40), st.integers(10, 40), st.integers(20, 40)))
    some_seeds = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3, unique=True)
    given = {
        "optimizers": {name: ALL[name][0] for name in made.optimizers},
        "task": made.task,
        "space": {name: draw(spaces(ALL[name][1], made.static[name])) for name in made.optimizers},
        "steps": steps,
        "seeds": draw(st.one_of(st.integers(1, 3), some_seeds)),
        "record": draw(st.one_of(st.none(), st.integers(1, 45))),
        "evaluate": made.evaluate,
        "stop": draw(rules(made.task, steps)),
        "target": maybe(0.2, 0.5, 1.0, 3.0, 12.5),
        "tolerance": draw(st.sampled_from([1e-3, 0.05, 1.0])) if made.converges else None,
        "diverged_above": draw(st.sampled_from(["auto", "auto", None, 2.0, 50.0, 1e4])),
        "nonfinite": draw(st.integers(1, 3)) if made.skips else 0,
    }
    cut = {"chunk": made.chunk, "strategy": made.strategy}
    return Drawn(given, {name: value for name, value in cut.items() if value is not None}, made.task.name == "falls")


EXAMPLE = Drawn(
    {
        "optimizers": {"adam": jl.adam, "momentum": jl.momentum},
        "task": made_curve(),
        "space": {
            "adam": {"learning_rate": [0.01, 0.1, 1.0, 30.0], "task.scale": jl.static([1.0, 2.0])},
            "momentum": jl.zipped({"learning_rate": [0.01, 0.1, 1e4], "momentum": [0.5, 0.9, 0.0]}),
        },
        "steps": 30,
        "seeds": [3, 1, 4],
        "evaluate": 4,
        "stop": jl.halving(2, min_steps=6),
        "target": 0.5,
    },
    {"chunk": 4, "strategy": "scan"},
    exact=False,
)
