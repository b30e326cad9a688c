"""The contract that Optax holds its own methods to, held by every method of the registry.

What a method does within `jit`, `cond`, `scan` and `vmap` and within Optax's wrappers, and how far it comes on two
problems that everybody knows. Most of it is seen by tracing alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from kinds import each_kind

import jaxopt_lab as jl
from jaxopt_lab.trial import answer
from jaxopt_lab.verify.optimizers.cases import METHODS
from jaxopt_lab.verify.optimizers.haste import compiled

STEPS = 6
# Of full rank: rounding then does not choose the bases that some methods have.
PARAMS = {"matrix": np.sin(np.arange(12.0) ** 2).reshape(3, 4), "vector": np.cos(np.arange(4.0))}
EVALUATING = {
    "sam": jl.sam,
    "sophia": functools.partial(jl.sophia, update_interval=2),
    "mars": functools.partial(jl.mars, exact=True),
    "adahessian": jl.adahessian,
    "lbfgs": jl.lbfgs,
    "lbfgs backtracking": functools.partial(jl.lbfgs, linesearch="backtracking"),
}
"""Methods that evaluate the loss by themselves."""

each_method = pytest.mark.parametrize("name", jl.OPTIMIZERS)


def loss(w):
    """Coupled, so that no parameter's gradient is right where another is missing."""
    x = w["matrix"] @ w["vector"]
    return jnp.sum((x - 1) ** 2) + jnp.sum(w["matrix"] ** 2) / 10 + jnp.sum(w["vector"]) ** 2


def starting_params(dtype=None):
    return jax.tree.map(lambda w: jnp.asarray(w, dtype), PARAMS)


def one_step(optimizer: Any, w, state, t, objective=loss, **more):
    value, grads = jax.value_and_grad(objective)(w)
    key = jax.random.fold_in(jax.random.key(3), t)
    updates, state = optimizer.update(grads, state, w, value=value, value_fn=objective, key=key, **more)
    return optax.apply_updates(w, updates), state


def walked(optimizer, w, steps=STEPS):
    """The parameters after some steps."""
    step = lambda carry, t: (one_step(optimizer, carry[0], carry[1], t), None)
    return jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(steps))[0][0]


def run(function, *arguments):
    """What the function gives, compiled once and in haste."""
    return compiled(jax.jit(function).lower(*arguments))(*arguments)


def avals(tree):
    """All by which JAX tells whether it has compiled for such arguments before."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]


def assert_close(ours, expected, tolerance=1e-11):
    # Float64's rounding, of sums in another order, grown by a few steps.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, expected)


# Steps


@each_kind
@pytest.mark.filterwarnings("ignore:jl.fused")
def test_an_extra_argument_that_nobody_expects_is_ignored(name):
    w, optimizer = starting_params(), METHODS[name].make_ours()
    for wrapped in (
        optimizer,
        jl.fused(optimizer),
        jl.master_weights(optimizer),
        jl.ema(optimizer),
        optax.chain(optimizer),
    ):

        def traced(wrapped=wrapped, **more):
            update = lambda w, **extras: wrapped.update(w, wrapped.init(w), w, value_fn=loss, **extras, **more)
            return str(jax.make_jaxpr(update)(w, value=jnp.ones([]), key=jax.random.key(3)))

        assert traced(foo=1, tags={"a": "b"}) == traced()


@each_method
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_state_keeps_its_form(name, dtype):
    """So that a second step compiles nothing, and `cond`, `scan` and `vmap` take it."""
    optimizer, w = METHODS[name].make_ours(), starting_params(dtype)
    step = jax.jit(functools.partial(one_step, optimizer))  # traced once for all three
    maybe = lambda w, state, t, wanted: jax.lax.cond(wanted, step, lambda w, state, t: (w, state), w, state, t)
    walk = lambda w: jax.lax.scan(lambda carry, t: (step(*carry, t), None), (w, optimizer.init(w)), jnp.arange(STEPS))

    def three_ways(w, state):
        two, t = jax.tree.map(lambda w: jnp.stack([w, w]), w), jnp.arange(STEPS)[0]
        return step(w, state, t), maybe(w, state, t, True), jax.vmap(walk)(two)[0][0]

    state = jax.eval_shape(optimizer.init, w)
    stepped, conditional, walks = jax.eval_shape(three_ways, w, state)
    assert avals(stepped) == avals(conditional) == avals((jax.eval_shape(lambda w: w, w), state))
    assert [leaf.dtype for leaf in jax.tree.leaves(walks)] == [dtype, dtype]


def test_a_second_step_compiles_nothing():
    optimizer = jl.sophia(0.01)
    step: Any = jax.jit(lambda w, state, t: one_step(optimizer, w, state, t))
    w = starting_params("float32")
    state = jax.jit(optimizer.init)(w)
    for t in range(3):
        w, state = step(w, state, t)
    assert step._cache_size() == 1


@each_kind
def test_a_step_is_the_same_compiled_or_not(name, float64):
    optimizer, w = METHODS[name].make_ours(), starting_params()
    first = lambda w: one_step(optimizer, w, optimizer.init(w), 0)
    assert_close(first(w), run(first, w))


# Within Optax's wrappers


@each_kind
def test_steps_are_the_same_within_optax_wrappers(name, float64):
    """With injected hyperparameters; accumulated over two equal gradients, and so twice as long."""
    case = METHODS[name]

    def three_ways(w):
        injected = optax.inject_hyperparams(case.ours, static_args=list(case.structural))
        accumulating = optax.MultiSteps(case.make_ours(), 2, accumulator_dtype=w["vector"].dtype)
        made = case.make_ours(), injected(**case.numeric, **case.structural)
        return [walked(optimizer, w) for optimizer in made] + [walked(accumulating, w, 2 * STEPS)]

    plain, injected, accumulated = run(three_ways, starting_params())
    assert_close(injected, plain)
    if name not in ("noisy_sgd", "sophia", "adahessian", "psgd_kron"):  # which draw by each step's key
        assert_close(accumulated, plain)


@each_method
def test_every_factory_is_injected_as_it_is(name):
    """Whole numbers that decide about shapes, and functions, among its defaults too."""
    required = {"learning_rate": 0.1} if "learning_rate" in METHODS[name].numeric else {}
    optimizer, w = optax.inject_hyperparams(jl.OPTIMIZERS[name])(**required), starting_params()
    w, state = jax.eval_shape(lambda w: one_step(optimizer, w, optimizer.init(w), 0), w)
    assert "learning_rate" in state.hyperparams or not required


def test_a_number_that_decides_about_shapes_cannot_be_injected():
    optimizer, w = optax.inject_hyperparams(jl.lbfgs)(memory_size=3), starting_params()
    with pytest.raises(ValueError, match=r"static_args=\['memory_size'\]"):
        jax.eval_shape(optimizer.init, w)
    static = optax.inject_hyperparams(jl.lbfgs, static_args=["memory_size"])(memory_size=3)
    assert jax.eval_shape(static.init, w).inner_state.rho.shape == (3,)


@each_method
def test_the_state_of_each_parameter_is_found(name):
    optimizer, w = METHODS[name].make_ours(), starting_params("float32")
    state: Any = optimizer.init(w)
    mapped = optax.tree.map_params(optimizer, lambda _: "per parameter", state)
    for (path, _), found in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(mapped), strict=True):
        per_parameter = any(getattr(step, "key", None) in w for step in path)
        assert (isinstance(found, str) and found == "per parameter") == per_parameter, path


def by_hand(method, rest_rate):
    """Train the matrix by the method, with the loss of the whole, and the vector by gradient descent."""

    def step(carry, t):
        w, state = carry
        part = lambda matrix: loss({"matrix": matrix, "vector": w["vector"]})
        matrix, state = one_step(method, w["matrix"], state, t, part)
        return ({"matrix": matrix, "vector": w["vector"] - rest_rate * jax.grad(loss)(w)["vector"]}, state), None

    def walk(w):
        return jax.lax.scan(step, (w, method.init(w["matrix"])), jnp.arange(STEPS))[0][0]

    return walk


@pytest.mark.parametrize("rest_rate", [0.0, 0.01], ids=["frozen", "trained"])
@pytest.mark.parametrize("name", EVALUATING)
def test_a_part_is_trained_with_the_loss_of_the_whole(name, rest_rate, float64):
    method, rest = EVALUATING[name](0.05), optax.sgd(rest_rate) if rest_rate else optax.set_to_zero()
    apart = optax.partition({"method": method, "rest": rest}, {"matrix": "method", "vector": "rest"})

    def step(carry, t):
        w, state = carry
        return one_step(apart, w, state, t, jl.filled(loss, w)), None

    walk = lambda w: jax.lax.scan(step, (w, apart.init(w)), jnp.arange(STEPS))[0][0]
    assert_close(run(walk, starting_params()), run(by_hand(method, rest_rate), starting_params()))


@pytest.mark.parametrize("name", EVALUATING)
def test_a_part_of_the_parameters_is_no_argument_of_the_loss(name):
    w, optimizer = starting_params(), optax.masked(EVALUATING[name](0.1), {"matrix": True, "vector": False})
    with pytest.raises(ValueError, match=r"value_fn=jl.filled\(loss, params\)"):
        one_step(optimizer, w, optimizer.init(w), 0)


def test_a_filled_loss_is_the_loss():
    w = starting_params()
    masked, vector = {"matrix": w["matrix"] + 1, "vector": optax.MaskedNode()}, jnp.arange(16.0)
    filled = jl.filled(lambda w, scale=1.0: scale * loss(w), w)
    assert filled(w) == loss(w)
    assert filled(masked, scale=2.0) == 2 * loss(w | {"matrix": w["matrix"] + 1})
    assert filled(vector) == loss({"matrix": vector[:12].reshape(3, 4), "vector": vector[12:]})


def test_sam_hands_its_base_the_loss_of_where_it_looks(float64):
    """Polyak's step from the neighbour's gradient and the neighbour's loss."""
    loss, w, rho = lambda w: jnp.sum(w**2), jnp.asarray([3.0, 4.0]), 0.5
    optimizer: Any = jl.sam(10.0, rho, base=jl.polyak_sgd)
    updates, _ = optimizer.update(2 * w, optimizer.init(w), w, value_fn=loss, foo=1)
    away = w * (1 + rho / 5)
    np.testing.assert_allclose(updates, -loss(away) / jnp.sum((2 * away) ** 2) * 2 * away, rtol=1e-12)


# Convergence

START = np.zeros((2, 2))
MINIMUM = np.asarray([[1.0, -2.0], [3.0, 0.5]])
TURNS = 1000
RATES = [digit * 10.0**power for power in range(-4, 1) for digit in (1, 3)]

SETTINGS = {"acprop": {"eps": 1.0}, "lbfgs": {}, "galore": {}, "dadapt_sgd": {"momentum": 0.9}}
"""Where a method's case, or its defaults, would not do: ACProp divides the first gradient by eps alone."""


def parabola(w):
    return jnp.sum(jnp.abs(w - MINIMUM) ** 2)


def valley(w):
    """Rosenbrock's, one in each column."""
    x, y = w
    return jnp.sum(jnp.abs(1 - x) ** 2 + 100 * jnp.abs(y - x**2) ** 2)


@each_kind
@pytest.mark.parametrize("dtype", ["float64"])
def test_parabola_and_valley_are_descended(name, dtype, float64):
    """With a rate of a coarse grid that falls to zero: to a 200th of the loss at the start, and to a sixth."""

    def end(in_valley, rate):
        objective = lambda w: jnp.where(in_valley, valley(w), parabola(w))
        falling = lambda t: rate * jnp.cos(jnp.pi / 2 * t / TURNS)
        given = METHODS[name].numeric | dict(METHODS[name].structural) | {"learning_rate": falling}
        if name == "rprop":  # whose rate is its first step alone
            given |= {"learning_rate": rate}
        if name == "polyak_sgd":
            given = {"max_learning_rate": rate}
        if name in SETTINGS:
            given = {"learning_rate": falling} | SETTINGS[name]
        optimizer = METHODS[name].ours(**given)
        step = lambda carry, t: (one_step(optimizer, carry[0], carry[1], t, objective), None)
        w = jnp.asarray(START, dtype)
        (w, state), _ = jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(TURNS))
        return objective(answer(state, w))

    each = run(jax.vmap(end), np.repeat([False, True], len(RATES)), np.tile(RATES, 2))
    found = np.nanmin(np.reshape(each, (2, -1)), 1)
    assert found[0] <= parabola(START) / 200
    assert found[1] <= valley(START) / 6
