"""What the methods of `cases_classic` promise beyond their twins."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.optimizers._compiler import cube_root


def walk(optimizer, gradients, w=0.0):
    """The updates of a walk whose gradients are given, the parameters standing still."""
    state, updates = optimizer.init(jnp.asarray(w)), []
    for g in gradients:
        update, state = optimizer.update(jnp.asarray(g), state, jnp.asarray(w))
        updates.append(update)
    return updates


@pytest.mark.parametrize("name", ["adadelta", "fromage", "lars", "lamb", "novograd"])
def test_parameters_are_needed(name):
    optimizer, w = jl.OPTIMIZERS[name](0.1), jnp.ones(2)
    with pytest.raises(ValueError, match=rf"{name} .* call update\(grads, state, params\)"):
        optimizer.update(w, optimizer.init(w))


@pytest.mark.parametrize("name", ["adadelta", "signum", "optimistic_adam", "lars", "lamb", "novograd"])
def test_moment_dtype_is_of_every_buffer_and_of_no_update(name):
    optimizer, w = jl.OPTIMIZERS[name](0.1, moment_dtype="float32"), jnp.ones(3, "bfloat16")
    updates, state = optimizer.update(w, optimizer.init(w), w)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((optimizer.init(w), state)) if leaf.ndim} == {"float32"}
    assert updates.dtype == "bfloat16"


# Adadelta


def test_adadelta_by_default_goes_downhill_as_the_paper():
    """At rho = 0.5: v = g^2 / 2, s = 0, so that the first step is -sqrt(eps / (g^2 / 2 + eps)) g."""
    (first,) = walk(jl.adadelta(rho=0.5, eps=1e-2), [3.0])
    np.testing.assert_allclose(first, -0.1 / np.sqrt(4.5 + 1e-2) * 3, rtol=1e-6)


# By sign


def test_signum_without_memory_is_sign_sgd():
    gradients = [[0.3, -1e-20, 0.0], [-2.0, 5.0, 1.0], [1e-3, 0.0, 0.0]]
    for ours, sign in zip(
        walk(jl.signum(0.1, 0.0), gradients, [0.0] * 3), walk(jl.sign_sgd(0.1), gradients, [0.0] * 3), strict=True
    ):
        np.testing.assert_array_equal(ours, sign)


def test_rprop_grows_cuts_pauses_and_starts_again():
    """The step after a pause neither grows nor is cut, whatever its sign."""
    seen = walk(jl.rprop(0.1), [3.0, 1e-30, -7.0, -7.0, -7.0, 0.0, -1.0])
    np.testing.assert_allclose(seen, [-0.1, -0.12, 0.0, 0.06, 0.072, 0.0, 0.072], rtol=1e-6)


def test_rprop_keeps_its_limits():
    np.testing.assert_allclose(walk(jl.rprop(0.1, max_step_size=0.11), [1.0] * 3), [-0.1, -0.11, -0.11], rtol=1e-6)
    turns = walk(jl.rprop(0.1, min_step_size=0.04), [1.0, -1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(turns, [-0.1, 0.0, 0.05, 0.0, -0.04], rtol=1e-6)


# By what is foreseen


def played(optimizer, steps=300):
    """Distance from the equilibrium of the game min over x, max over y of x * y."""

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update({"x": w["y"], "y": -w["x"]}, state, w)
        return (optax.apply_updates(w, updates), state), None

    w = {"x": jnp.asarray(1.0), "y": jnp.asarray(0.5)}
    (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), length=steps)
    return float(jnp.hypot(w["x"], w["y"]))


def test_optimism_converges_where_descent_circles_outwards():
    assert played(jl.gradient_descent(0.2)) > 10
    assert played(jl.optimistic_gradient_descent(0.2)) < 1e-2  # 1 - 0.2**2 / 2 a step: 0.002 of the start
    assert played(jl.optimistic_gradient_descent(0.2, beta=0.0)) == pytest.approx(played(jl.gradient_descent(0.2)))


def test_without_optimism_it_is_adam():
    gradients = [[0.3, -1.0], [-2.0, 5.0], [1e-3, 0.0]]
    hopeless = jl.optimistic_adam(0.1, 0.0, nesterov=False)
    for ours, adam in zip(
        walk(hopeless, gradients, [0.0, 0.0]), walk(jl.adam(0.1), gradients, [0.0, 0.0]), strict=True
    ):
        np.testing.assert_allclose(ours, adam, rtol=1e-6)


# By the loss


def descended(optimizer: Any, w, value):
    """Parameters after a step on |w|^2 / 2."""
    return w + optimizer.update(w, optimizer.init(w), w, value=value)[0]


@pytest.mark.parametrize(("scaling", "left"), [(1.0, 0.5), (2.0, 0.0), (0.5, 0.75)])
def test_polyak_step_is_scaled_as_it_says(scaling, left):
    """On |w|^2 / 2 the step size is 1/2 wherever it is taken."""
    w = jnp.asarray([3.0, -4.0])
    np.testing.assert_allclose(descended(jl.polyak_sgd(scaling=scaling), w, 12.5), left * w, rtol=1e-6)


def test_polyak_steps_where_the_gradient_is_small_and_not_where_it_is_none():
    w = jnp.asarray([3e-9, -4e-9])
    np.testing.assert_allclose(descended(jl.polyak_sgd(), w, 12.5e-18), w / 2, rtol=1e-6)
    np.testing.assert_array_equal(descended(jl.polyak_sgd(), 0 * w, 1.0), 0 * w)


def test_polyak_below_the_least_value_steps_uphill_or_not_at_all():
    w = jnp.asarray([3.0, -4.0])
    assert (abs(descended(jl.polyak_sgd(f_min=20.0), w, 12.5)) > abs(w)).all()
    np.testing.assert_array_equal(descended(jl.polyak_sgd(f_min=20.0, variant="sps+"), w, 12.5), w)


def test_polyak_says_what_is_wrong():
    with pytest.raises(ValueError, match="variant must be one of"):
        jl.polyak_sgd(variant="sps-")
    optimizer, w = jl.polyak_sgd(), jnp.ones(2)
    with pytest.raises(ValueError, match="the loss at params"):
        optimizer.update(w, optimizer.init(w), w)


# By norm


def test_fromage_keeps_the_norm_where_the_step_is_orthogonal():
    w, g = jnp.asarray([3.0, 4.0]), jnp.asarray([-40.0, 30.0])
    (update,) = walk(jl.fromage(0.5), [g], w)
    np.testing.assert_allclose(jnp.linalg.norm(w + update), 5.0, rtol=1e-6)


def test_fromage_shrinks_by_little_without_losing_it_to_rounding():
    """1 / sqrt(1 + 1e-6) - 1 has one digit in float32."""
    with jax.enable_x64(False):
        w = jnp.asarray([3.0, 4.0])
        (update,) = walk(jl.fromage(jnp.float32(1e-3)), [0 * w], w)
        np.testing.assert_allclose(update, -0.5e-6 * w, rtol=2e-6)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_trusted_steps_have_the_size_of_what_they_move(size):
    w, g = jnp.asarray([3.0, 4.0]), size * jnp.asarray([1.0, 2.0])
    np.testing.assert_allclose(jnp.linalg.norm(walk(jl.lars(2.0, trust_coefficient=0.01), [g], w)[0]), 0.1, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(walk(jl.lamb(0.02), [g], w)[0]), 0.1, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(walk(jl.novograd(0.1, eps=0.0), [g], w)[0]), 0.1, rtol=1e-5)


@pytest.mark.parametrize("optimizer", [jl.lars, jl.lamb, lambda rate: jl.fromage(rate, 0.0)])
def test_zeros_leave_zero_and_have_a_derivative(optimizer):
    """Biases start at 0: their step is not scaled, and a derivative through it is finite."""
    g = jnp.asarray([3.0, 4.0])
    step = lambda w: walk(optimizer(0.1), [g], w)[0]
    derivative = jax.jacfwd(step)(jnp.zeros(2))
    assert (step(jnp.zeros(2)) < 0).all()
    assert np.isfinite(derivative).all()


def test_lars_norms_apart_are_joint_without_decay():
    w, gradients = [3.0, 4.0], [[1.0, 2.0], [-1.0, 0.3]]
    for joint, apart in zip(
        walk(jl.lars(0.1), gradients, w), walk(jl.lars(0.1, joint_norm=False), gradients, w), strict=True
    ):
        np.testing.assert_array_equal(joint, apart)


def test_novograd_squares_are_not_kept_in_half_precision():
    """300^2 is beyond float16's largest number."""
    g = jnp.full(4, 300.0, "float16")
    (update,) = walk(jl.novograd(0.1), [g], g)
    np.testing.assert_allclose(np.asarray(update, "float32"), -0.05, rtol=1e-3)


# By chance


@pytest.mark.parametrize("given", [True, False])
def test_noise_is_optaxs(given):
    """By Optax's keys of the steps, or by a key of the method's own that began as Optax's."""
    w: Any = {"a": jnp.ones((2, 3)), "b": jnp.ones(4)}
    ours: Any = jl.noisy_sgd(0.1, 0.3, 0.8, seed=0 if given else 3)
    twin = optax.noisy_sgd(0.1, 0.3, 0.8, key=3)
    state, twin_state = ours.init(w), twin.init(w)
    for _ in range(4):
        key = jax.random.split(twin_state[0].rng_key)[1] if given else None
        updates, state = ours.update(w, state, w, key=key)
        twin_updates, twin_state = twin.update(w, twin_state, w)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, twin_updates)


def test_noise_is_the_keys_alone(float32):
    optimizer: Any = jl.noisy_sgd(0.1)
    w = jnp.ones(5)
    state = optimizer.init(w)
    step = lambda seed: optimizer.update(w, state, w, key=jax.random.key(seed))[0]
    np.testing.assert_array_equal(step(1), step(1))
    assert (step(1) != step(2)).all()
    still: Any = jl.noisy_sgd(0.1, 0.0)
    np.testing.assert_array_equal(still.update(w, state, w, key=jax.random.key(1))[0], -jnp.float32(0.1) * w)
    with jax.default_prng_impl("rbg"):
        again: Any = jl.noisy_sgd(0.1)
        np.testing.assert_array_equal(again.update(w, again.init(w), w)[0], optimizer.update(w, state, w)[0])


def test_madgrads_cube_root_is_exact_to_rounding(precision):
    """Also of 0, of what has overflowed and of what is no number: as the library's."""
    kind = jnp.finfo(precision)
    v = jnp.asarray([0, *np.geomspace(4 * kind.tiny, kind.max / 4, 999), np.inf, np.nan], precision)
    seen = jax.jit(cube_root)(v)
    np.testing.assert_allclose(seen, np.cbrt(np.asarray(v, np.longdouble)), rtol=2 * kind.eps)


def test_madgrads_cube_root_has_the_roots_slope(float64):
    """Also where the root is not taken, at 0, it has one."""
    v = jnp.geomspace(1e-30, 1e30, 61)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(cube_root))(v), v ** (-2 / 3) / 3, rtol=1e-7
    )  # as near as its last step
    assert jnp.isfinite(jax.grad(cube_root)(0.0))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_madgrads_cube_root_of_half_numbers(dtype):
    v = jnp.asarray([0, 1, 8, 27, 1000], dtype)
    assert cube_root(v).dtype == v.dtype
    np.testing.assert_array_equal(cube_root(v), jnp.asarray([0, 1, 2, 3, 10], dtype))


@pytest.mark.parametrize("factory", [jl.rmsprop, jl.adagrad])
@pytest.mark.parametrize("eps_in_sqrt", [True, False])
def test_no_step_where_no_gradient_has_been(factory, eps_in_sqrt):
    """Without eps, too, where Optax's RMSProp takes 0 / 0."""
    start = {} if factory is jl.rmsprop else {"initial_accumulator_value": 0.0}
    optimizer = factory(0.1, eps=0.0, eps_in_sqrt=eps_in_sqrt, **start)
    g = jnp.asarray([0.0, 1.0])
    updates, _ = optimizer.update(g, optimizer.init(g))
    assert updates[0] == 0
    assert updates[1] < 0
