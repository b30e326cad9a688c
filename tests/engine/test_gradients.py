"""Gradients evaluated in a step: counted in its trace, as they are counted while it runs."""

import functools
import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import jaxopt_lab as jl
from jaxopt_lab.engine.gradients import per_step
from jaxopt_lab.engine.structure import Structure
from jaxopt_lab.report.board import board

SCALES = jnp.array([1.0, 3.0, 10.0])
RATE = {"learning_rate": [0.01]}


def loss(w, _=None):
    return jnp.log(1 + jnp.sum(SCALES * w**2))


TASK = jl.Task("bowl", lambda key: jax.random.normal(key, (3,)), loss, train=None)


def structure(factory, **static):
    return Structure(factory, tuple(static.items()), (), TASK)


def of_a_step(update):
    """Return an optimizer that calls `update(value_fn, params)` in every step."""
    whole = lambda grads, state, params=None, *, value_fn, **_: (update(value_fn, params), state)
    return structure(lambda: optax.GradientTransformationExtraArgs(lambda params: (), whole))


@pytest.mark.parametrize("name", jl.OPTIMIZERS)
def test_every_method_takes_one_gradient_a_step_but_four(name):
    first = next(iter(jl.PRIORS[jl.OPTIMIZERS[name]]), None)
    expected = {
        "sam": (2, 2),
        "sophia": (1, 3),  # with an estimate
        "adahessian": (3, 3),
        "lbfgs": (1, math.inf),  # with a line search
    }
    static = {} if first is None or name == "lbfgs" else {first: 0.01}
    assert per_step(structure(jl.OPTIMIZERS[name], **static)) == expected.get(name, (1, 1))


CALLS = {
    "none": (lambda f, w: w, (1, 1)),
    "the loss alone": (lambda f, w: f(w) * w, (1, 1)),
    "a gradient": (lambda f, w: jax.grad(f)(w), (2, 2)),
    "a gradient with its value": (lambda f, w: jax.value_and_grad(f)(w)[1], (2, 2)),
    "within jit": (lambda f, w: jax.jit(jax.grad(f))(w), (2, 2)),
    "forward over reverse": (lambda f, w: jax.jvp(jax.grad(f), (w,), (w,))[1], (3, 3)),
    "reverse over reverse": (lambda f, w: jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), w))(w), (3, 3)),
    "a Hessian": (lambda f, w: jax.hessian(f)(w) @ w, (5, 5)),  # the gradient, and its derivative along each axis
    "at four points": (lambda f, w: jax.vmap(jax.grad(f))(jnp.outer(jnp.arange(4.0), w)).sum(0), (5, 5)),
    "five times": (lambda f, w: jax.lax.fori_loop(0, 5, lambda _, x: x - jax.grad(f)(x), w), (6, 6)),
    "sometimes": (lambda f, w: jax.lax.cond(w[0] > 0, jax.grad(f), lambda x: x, w), (1, 2)),
    "until it is small": (lambda f, w: jax.lax.while_loop(lambda x: f(x) > 1, lambda x: x / 2, w), (1, math.inf)),
    "another loop": (lambda f, w: jax.lax.while_loop(lambda x: x[0] > 1, lambda x: x / 2, w), (1, 1)),
}


@pytest.mark.parametrize(("update", "expected"), CALLS.values(), ids=CALLS)
def test_what_counts(update, expected):
    assert per_step(of_a_step(update)) == expected


def test_a_part_of_the_parameters_counts_as_the_whole():
    task = jl.Task("two", lambda key: {"a": jnp.ones(2), "b": jnp.ones(3)}, lambda w, _: sum(map(loss, [w["b"]])), None)
    both = lambda: optax.partition({"a": jl.sam(0.1), "b": optax.sgd(0.1)}, {"a": "a", "b": "b"})
    assert per_step(Structure(both, (), (), task)) == (2, 2)
    assert per_step(Structure(lambda: optax.flatten(jl.sam(0.1)), (), (), task)) == (2, 2)


@pytest.mark.parametrize("name", ["sgd", "adam", "sam", "sophia"])
def test_as_many_as_are_evaluated(name):
    """A loop by hand, whose loss counts each pass backwards through it."""
    passes, steps, interval = [], 7, 3

    @jax.custom_vjp
    def counted(w):
        return loss(w)

    def backwards(w, cotangent):
        jax.debug.callback(lambda: passes.append(1))
        return (cotangent * jax.grad(loss)(w),)

    counted.defvjp(lambda w: (loss(w), w), backwards)
    factory = jl.OPTIMIZERS[name]
    space = RATE | ({"update_interval": [interval]} if name == "sophia" else {})
    optimizer = factory(**{name: values[0] for name, values in space.items()})
    w = jnp.ones(3)
    state = optimizer.init(w)
    for _ in range(steps):
        updates, state = optimizer.update(jax.grad(counted)(w), state, w, value_fn=counted, key=jax.random.key(0))
        w = optax.apply_updates(w, updates)
    jax.effects_barrier()
    found = jl.sweep(factory, TASK, space, steps=steps).dataset["gradients_taken"]
    assert found.dtype == np.int64
    # In an estimate, a gradient and its derivative share a pass.
    assert found.item() == len(passes) + (math.ceil(steps / interval) if name == "sophia" else 0)


def test_what_trials_have_taken():
    """Sophia estimates every `update_interval` steps, from the first on."""
    spaces = {
        "sgd": {"learning_rate": [0.01, 1e20]},
        "sam": RATE,
        "sophia": RATE | {"update_interval": [1, 4, 10]},
        "default": RATE,
        "scheduled": RATE | {"update_interval": [4]},
        "own": RATE,
        "searching": {"learning_rate": [1.0]},
        "lbfgs": {"linesearch": jl.static([None, "backtracking"])},
    }
    factories = {
        "sgd": jl.sgd,
        "sam": jl.sam,
        "sophia": jl.sophia,
        "default": jl.sophia,
        "scheduled": jl.scheduled(jl.sophia, jl.schedules.linear),
        "searching": jl.lbfgs,
        "lbfgs": jl.lbfgs,
        "own": lambda learning_rate: jl.sophia(learning_rate),  # does not say how often it estimates
    }
    dataset = jl.sweep(factories, TASK, spaces, steps=21, diverged_above=1e3, strategy="scan").dataset
    own = lambda name: dataset["gradients_taken"].values[dataset["optimizer"].values == name, 0].tolist()
    bad = int(dataset["first_bad_step"].values[1, 0])
    assert 0 < bad < 21
    assert {name: own(name) for name in spaces} == {
        "sgd": [21, bad],  # as steps_taken, up to the step whose loss was bad
        "sam": [42],
        "sophia": [21 + 2 * 21, 21 + 2 * 6, 21 + 2 * 3],
        "default": [21 + 2 * 3],
        "scheduled": [21 + 2 * 6],
        "own": [-1],
        "searching": [-1],
        "lbfgs": [21, -1],
    }


def test_skipped_steps_leave_only_fixed_numbers_known():
    often = lambda w, batch: jnp.where(batch[0] > 0, loss(w), jnp.nan)  # the first of four examples has no loss
    task = jl.Task("holes", TASK.init, often, jnp.arange(4.0), batch_size=1)
    dataset = jl.sweep({"sam": jl.sam, "sophia": jl.sophia}, task, RATE, steps=12, nonfinite=12).dataset
    assert (dataset["skipped_steps"] > 0).all()
    assert dataset["gradients_taken"].values[:, 0].tolist() == [24, -1]


def test_a_count_that_fails_is_unknown():
    def picky(learning_rate):
        def update(grads, state, params=None, *, value_fn, **_):
            if "digits" not in value_fn.__name__:
                raise ValueError("not my loss")
            return jax.tree.map(lambda g: -learning_rate * g, grads), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    assert per_step(structure(picky, learning_rate=0.1)) == (1, math.inf)


def test_tables_say_where_steps_take_unequally_many_gradients():
    sweep = functools.partial(jl.sweep, task=TASK, steps=6)
    equal = sweep({"sgd": jl.sgd, "adam": jl.adam}, space=RATE)
    assert "gradients" not in equal.leaderboard()
    assert "gradients a step" not in repr(equal)
    two = sweep({"sam": jl.sam}, space=RATE)
    assert "gradients" not in two.leaderboard()
    unequal = sweep({"sgd": jl.sgd, "sam": jl.sam}, space=RATE)
    frame = unequal.leaderboard()
    assert dict(zip(frame["optimizer"], frame["gradients"], strict=True)) == {"sgd": 6, "sam": 12}
    assert "They take 1 to 2 gradients a step." in repr(unequal)
    searched = sweep({"sgd": jl.sgd, "lbfgs": jl.lbfgs}, space={"learning_rate": [0.1]})
    taken = searched.leaderboard().set_index("optimizer")["gradients"]
    assert taken["sgd"] == 6
    assert math.isnan(taken["lbfgs"])
    assert "They take a varying number of gradients a step (lbfgs)." in repr(searched)


@pytest.mark.parametrize("width", [80, 120])
def test_the_board_says_it_too(width):
    console = Console(file=io.StringIO(), width=width)
    factories = {"sgd": jl.sgd, "sam": jl.sam, "lbfgs": jl.lbfgs}
    console.print(board(jl.sweep(factories, TASK, {"learning_rate": [0.1]}, steps=6), width))
    text = console.file.getvalue()
    assert "1 to 2 gradients a step or a varying number of gradients a step (lbfgs)" in " ".join(text.split())
    assert ("taken" in text) == (width == 120)
