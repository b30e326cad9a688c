"""What the methods that look for their step size themselves promise beyond their twins."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.trial import answer, answers_elsewhere
from jaxopt_lab.verify.optimizers.problems import PROBLEMS

NEED_PARAMS = ["dog", "dowg", "prodigy", "dadapt_adamw", "cocob", "momo", "momo_adam"]
QUADRATIC = PROBLEMS["quadratic"]


def run(optimizer, w, steps, loss=QUADRATIC.loss):
    """The parameters before every step and after the last, and the last state."""
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, _):
        w, state = carry
        value, g = jax.value_and_grad(loss)(w)
        updates, state = optimizer.update(g, state, w, value=value)
        return (optax.apply_updates(w, updates), state), w

    (end, state), ws = jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), length=steps))(w)
    return jax.tree.map(lambda ws, end: jnp.concatenate([ws, end[None]]), ws, end), state


@pytest.mark.parametrize("name", NEED_PARAMS)
def test_parameters_are_asked_for(name):
    optimizer: Any = getattr(jl, name)()
    extras = {"value": 1.0} if name.startswith("momo") else {}
    with pytest.raises(ValueError, match=rf"{name} .* update\(grads, state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), **extras)


@pytest.mark.parametrize("momo", [jl.momo, jl.momo_adam])
def test_the_loss_is_asked_for(momo):
    optimizer: Any = momo()
    with pytest.raises(ValueError, match="value"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize("name", NEED_PARAMS)
def test_without_gradient_nothing_moves(name):
    """Every estimate is 0 / 0 then: Optax's Prodigy and D-Adapt are NaN from there on."""
    optimizer = optax.with_extra_args_support(getattr(jl, name)())
    w, zero = jnp.asarray([1.0, -2.0]), jnp.zeros(2)
    state = optimizer.init(w)
    for _ in range(3):
        updates, state = optimizer.update(zero, state, w, value=1.0)
        np.testing.assert_array_equal(updates, 0)
    updates, state = optimizer.update(jnp.ones(2), state, w, value=1.0)
    assert np.isfinite(updates).all()
    assert (np.asarray(updates) < 0).all()


@pytest.mark.parametrize("name", NEED_PARAMS)
def test_bfloat16_parameters_keep_scalars_in_float32(name):
    state = getattr(jl, name)().init(jnp.ones(3, "bfloat16"))
    scalars = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 0]
    assert {str(leaf.dtype) for leaf in scalars} <= {"int32", "float32", "float64"}


def test_dog_first_steps_by_hand(float64):
    """From w0 = 3 with g = w: r = 1e-6 * 4, then whatever is farther."""
    ws, state = run(jl.dog(eps=0.0), jnp.asarray(3.0), 2, lambda w: w**2 / 2)
    first = 3 - 4e-6 * 3 / 3
    np.testing.assert_allclose(ws, [3, first, first - 4e-6 * first / np.hypot(3, first)], rtol=1e-15)
    np.testing.assert_allclose(state.s, 9 + first**2)


@pytest.mark.parametrize("dog", [jl.dog, jl.dowg])
def test_walk_does_not_depend_on_the_gradients_scale(dog, float64):
    start = QUADRATIC.start()
    ways = [
        run(dog(eps=1e-30, **rest), start, 50, lambda w, c=c: c * QUADRATIC.loss(w))[0]
        for c in (1, 1000)
        for rest in [{"init_estim_sq_dist": 1e-4} if dog is jl.dowg else {}]
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), *ways)


def test_layerwise_dog_is_dog_on_every_array(float64):
    w = PROBLEMS["mixed"].start()
    g = jax.tree.map(jnp.sin, w)
    together, apart = jl.dog(layerwise=True), jl.dog()
    updates, _ = together.update(g, together.init(w), w)
    alone = jax.tree.map(lambda g, w: apart.update(g, apart.init(w), w)[0], g, w)
    jax.tree.map(np.testing.assert_array_equal, updates, alone)


def test_dog_answers_with_its_average(float64):
    """Without weighting it is the mean of all points but the first; and it takes no part in the walk."""
    start = QUADRATIC.start()
    plain, state = run(jl.dog(), start, 20)
    assert not answers_elsewhere(state)
    ws, state = run(jl.dog(averaging=0.0), start, 20)
    jax.tree.map(np.testing.assert_array_equal, ws, plain)
    end = jax.tree.map(lambda ws: ws[-1], ws)
    mean = jax.tree.map(lambda ws: ws[1:].mean(0), ws)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), answer(state, end), mean)


def test_dog_says_which_first_steps_there_are():
    with pytest.raises(ValueError, match=r"\['distance', 'heuristic', 'learning_rate'\], got 'guess'"):
        jl.dog(init_step_kind="guess")


@pytest.mark.parametrize("adaptive", [jl.prodigy, jl.dadapt_adamw])
def test_distance_grows_from_any_underestimate_but_not_faster_than_allowed(adaptive, float64):
    """On |w| the distance is known: 1; after its first growth, which Prodigy leaves free, the limit holds."""
    distance = lambda steps, **rest: run(adaptive(**rest), jnp.ones(1), steps, lambda w: jnp.abs(w).sum())[1].d
    for d0 in (1e-8, 1e-4):
        assert 0.3 < distance(300, estim_lr0=d0) < 3
    limited = [distance(steps, estim_lr0=1e-8, growth_rate=1.02) for steps in (200, 300)]
    assert 1e-8 < limited[0] < limited[1] <= limited[0] * 1.02**100 * (1 + 1e-12)
    assert limited[1] < 1e-5


def test_prodigy_slices(float64):
    params = {"a": jnp.ones((3, 5)), "b": jnp.ones(())}
    state = jl.prodigy(slice_p=4).init(params)
    assert state.s["a"].shape == state.start["a"].shape == (4,)
    assert state.s["b"].shape == (1,)
    with pytest.raises(ValueError, match="slice_p must be at least 1"):
        jl.prodigy(slice_p=0)


def test_cocob_walk_does_not_depend_on_the_learning_rate(float64):
    start = QUADRATIC.start()
    ways = [run(jl.cocob(rate, eps=1e-30), start, 50)[0] for rate in (1.0, 8.0)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), *ways)


def test_momo_without_memory_is_polyaks_step(float64):
    """With beta = 0 and the least loss known: (f - f*) / ||g||**2, which on w**2 / 2 halves w."""
    ws, _ = run(jl.momo(1e3, 0.0), jnp.asarray(3.0), 10, lambda w: w**2 / 2)
    np.testing.assert_allclose(ws, 3 * 0.5 ** np.arange(11), rtol=1e-14)


def test_momo_that_is_never_truncated_is_momentum(float64):
    """A bound out of reach leaves the learning rate alone."""
    ways = [run(jl.momo(0.01, 0.0, -1e6), QUADRATIC.start(), 30)[0], run(jl.sgd(0.01), QUADRATIC.start(), 30)[0]]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), *ways)
    ways = [
        run(jl.momo_adam(0.01, lower_bound=-1e6), QUADRATIC.start(), 30)[0],
        run(jl.adam(0.01), QUADRATIC.start(), 30)[0],
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), *ways)


def test_momo_walks_on_where_optax_stands(float64):
    """||g|| = 1e-9: Optax takes its square for 0."""
    w, g = jnp.asarray([1.0]), jnp.asarray([1e-9])
    for momo in (jl.momo, jl.momo_adam):
        optimizer: Any = momo(0.5, eps=1e-30) if momo is jl.momo_adam else momo(0.5)
        updates, _ = optimizer.update(g, optimizer.init(w), w, value=1.0)
        assert updates[0] < 0


def test_momo_decay_is_proximal(float64):
    """(w - tau m) / L: without gradient only w / L is left."""
    optimizer: Any = jl.momo(0.5, weight_decay=0.4)
    w = jnp.asarray([1.2, -2.4])
    updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(w), w, value=1.0)
    np.testing.assert_allclose(updates, -w / 6, rtol=1e-15)
