"""What must not matter to a method: the order of leaves, an interruption, shapes, the scale of the loss.

Hypothesis draws gradients, hyperparameters from the methods' priors, and scales; a program is compiled once for all.
"""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.cases import METHODS
from jaxopt_lab.verify.optimizers.haste import compiled

STEPS = 6

ELEMENTWISE = [
    *("gradient_descent", "sgd", "momentum", "rmsprop", "adagrad", "adam", "adamw", "adadelta", "cocob", "madgrad"),
    *("ademamix", "simplified_ademamix", "adopt", "acprop", "schedule_free_sgd", "schedule_free_adamw"),
    *("adabelief", "adamax", "adamaxw", "amsgrad", "nadam", "nadamw", "radam", "yogi", "lion", "adan"),
    *("sign_sgd", "signum", "rprop", "optimistic_gradient_descent", "optimistic_adam"),
    *("laprop", "qhadam", "qhm", "aggmo", "adabound", "grams", "amos", "mirror_madgrad", "asgd", "gpa_adamw"),
    "schedule_free_radam",
]
"""Methods in which no element of the parameters knows of another."""

NONE: dict[str, float] = {}
NO_EPS = {"eps": 0.0}
SCALE_FREE = {
    **dict.fromkeys(("adam", "adamw", "amsgrad", "nadam", "nadamw", "adamax", "adamaxw", "rmsprop", "lamb"), NO_EPS),
    **dict.fromkeys(("ademamix", "simplified_ademamix", "adopt", "schedule_free_adamw", "optimistic_adam"), NO_EPS),
    **dict.fromkeys(("laprop", "qhadam", "grams", "adam_mini", "stable_adamw", "adamp", "gpa_adamw"), NO_EPS),
    **dict.fromkeys(("lion", "sign_sgd", "signum", "rprop", "amos"), NONE),
    "schedule_free_radam": NO_EPS,
    "dadapt_sgd": {"weight_decay": 0.0},
    "lars": NO_EPS | {"weight_decay": 0.0},
    "fromage": {"min_norm": 0.0},
    "adagrad": {"initial_accumulator_value": 0.0, "eps": 0.0},
}
"""Methods that see a gradient's direction alone, and what switches off their eps."""

BY_PLACE = {"noisy_sgd", "psgd_kron"}
"""Methods whose random numbers are drawn leaf by leaf, so that they are others in another order."""

SHAPES = [(2, 3), (4,), (), (3, 1, 2)]
EXCHANGEABLE = [(2, 3), (4,), (3, 1, 2), (4,), (2, 3)]
"""Shapes that are the same backwards, so that one program walks leaves in both orders."""


@functools.cache
def examples():
    """Ten draws: places of hyperparameters within their priors, a seed of the start and gradients, digits of a scale.

    Drawn once for all methods, since a draw takes longer than a walk; the same every time, so a failure is the code's.
    """
    found = []

    @settings(max_examples=10, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.lists(st.floats(0, 1), min_size=16, max_size=16), st.integers(0, 2**32 - 1), st.floats(-6, 6))
    def draw(where, seed, digits):
        found.append((where, seed, digits))

    draw()
    assert len(found) == 10
    return found


def drawn(seed, shapes=SHAPES):
    """A start and the gradients of all steps, as leaves of several shapes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes], [rng.normal(size=(STEPS, *shape)) for shape in shapes]


def hyperparameters(name, where):
    """Each where the draw says in its prior, and its default where it has none."""
    values = METHODS[name].traceable()
    for (parameter, prior), share in zip(jl.PRIORS[METHODS[name].ours].items(), where, strict=False):
        if parameter in values:
            values[parameter] = _within(prior, share)
    return {parameter: np.asarray(value, "float64") for parameter, value in values.items()}


def _within(prior, share):
    low, high = prior.low, prior.high
    if prior.spacing == "linear":
        return low + share * (high - low)
    if prior.spacing == "log":
        return low * (high / low) ** share
    return 1 - (1 - low) * ((1 - high) / (1 - low)) ** share


def walk(optimizer, w, gradients):
    """Where the steps along these gradients lead; the loss, for methods that want it, is a sum of squares."""
    loss = lambda w: sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(w)) / 10
    extended = optax.with_extra_args_support(optimizer)

    def step(carry, tg):
        (w, state), (t, g) = carry, tg
        key = jax.random.fold_in(jax.random.key(5), t)
        updates, state = extended.update(g, state, w, value=loss(w), grad=g, value_fn=loss, key=key)
        return (optax.apply_updates(w, updates), state), None

    return jax.lax.scan(step, (w, optimizer.init(w)), (jnp.arange(STEPS), gradients))[0][0]


def compile_for(name, function, shapes=SHAPES):
    """The function of (hyperparameters, start, gradients), in float64."""
    with jax.enable_x64(True):
        arguments = (hyperparameters(name, [0.5] * 16), *drawn(0, shapes))
        program = compiled(jax.jit(function).lower(*arguments))

    def run(*arguments):
        with jax.enable_x64(True):
            return jax.device_get(program(*arguments))

    return run


@functools.cache
def compiled_walk(name):
    """The walk along leaves that can be exchanged, compiled once for all tests."""
    walk_with = lambda values, w, gradients: walk(METHODS[name].make_traced(values), w, gradients)
    return compile_for(name, walk_with, EXCHANGEABLE)


def assert_close(ours, expected):
    # Float64 rounding, of sums in another order, grown by the steps.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), ours, expected)


def flattened(leaves, lead=0):
    return [leaf.reshape(*leaf.shape[:lead], -1) for leaf in leaves]


def together(leaves, lead=0):
    return jnp.concatenate(flattened(leaves, lead), -1)


def in_two(leaves, lead=0):
    return tuple(jnp.split(together(leaves, lead), [5], -1))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in BY_PLACE])
def test_the_order_of_leaves_does_not_matter(name):
    run = compiled_walk(name)
    for where, seed, _ in examples():
        values, (w, gradients) = hyperparameters(name, where), drawn(seed, EXCHANGEABLE)
        assert_close(run(values, w[::-1], gradients[::-1]), run(values, w, gradients)[::-1])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_shapes_do_not_matter_elementwise(name):
    """Neither of one leaf, nor where one leaf ends and the next begins."""

    @functools.partial(compile_for, name)
    def all_ways(values, w, gradients):
        optimizer = METHODS[name].make_traced(values)
        plain = walk(optimizer, w, gradients)
        arrangements = (flattened, together, in_two)
        return [(walk(optimizer, way(w), way(gradients, 1)), way(plain)) for way in arrangements]

    for where, seed, _ in examples():
        for ours, expected in all_ways(hyperparameters(name, where), *drawn(seed)):
            assert_close(ours, expected)


@pytest.mark.parametrize("name", SCALE_FREE)
def test_the_scale_of_the_loss_does_not_matter(name):
    run = compiled_walk(name)
    for where, seed, digits in examples():
        values, (w, gradients) = hyperparameters(name, where) | SCALE_FREE[name], drawn(seed, EXCHANGEABLE)
        scaled = [10**digits * g for g in gradients]
        assert_close(run(values, w, scaled), run(values, w, gradients))


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_is_the_uninterrupted_one(name, float64):
    """To the last bit, though parameters and state went through a file."""
    optimizer = optax.with_extra_args_support(METHODS[name].make_ours())
    loss = lambda w: sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(w)) / 10

    def step(g, state, w, t):
        key = jax.random.fold_in(jax.random.key(5), t)
        updates, state = optimizer.update(g, state, w, value=loss(w), grad=g, value_fn=loss, key=key)
        return optax.apply_updates(w, updates), state

    w, gradients = drawn(0)
    state = jax.device_get(optimizer.init(w))
    at = lambda t: [g[t] for g in gradients]
    run = compiled(jax.jit(step).lower(at(0), state, w, np.int32(0)))
    resumed = w, state
    for t in range(STEPS):
        if t == STEPS // 2:
            resumed = through_a_file(resumed)
        w, state = run(at(t), state, w, np.int32(t))
        resumed = run(at(t), resumed[1], resumed[0], np.int32(t))
    jax.tree.map(np.testing.assert_array_equal, resumed, (w, state))


def through_a_file(tree):
    """The tree, saved and loaded again; a pytree of arrays is all it may be."""
    leaves, structure = jax.tree.flatten(tree)
    assert all(isinstance(leaf, (np.ndarray, jax.Array)) for leaf in leaves)
    file = io.BytesIO()
    np.savez(file, *(np.asarray(leaf) for leaf in leaves))
    file.seek(0)
    return jax.tree.unflatten(structure, np.load(file, allow_pickle=False).values())
