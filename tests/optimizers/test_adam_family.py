"""What Adam's near relatives promise beyond their twins."""

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.optimizers._base import one_minus_power
from jaxopt_lab.optimizers.radam import rectifier
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, wave


def steps(optimizer: Any, gradients, params=None):
    """The updates, one row a step, and the last state."""
    params = jnp.zeros_like(gradients[0]) if params is None else params
    state, rows = optimizer.init(params), []
    for g in gradients:
        updates, state = optimizer.update(g, state, params)
        rows.append(updates)
    return jnp.stack(rows), state


FLAGS = {
    "adabelief": {"rectify": True},
    "amsgrad": {"max_before_correction": True},
    "nadam": {"momentum_decay": 4e-3},
    "nadamw": {"momentum_decay": 4e-3, "weight_decay": 0.1},
    "radam": {"eps_before_correction": True, "nesterov": True},
    "yogi": {"bias_correction": False},
    "adan": {"weight_decay": 0.5, "mask": {"weights": True, "biases": False}},
}
"""What Optax has not, and no row of the conformance cases holds."""


@pytest.mark.parametrize("name", FLAGS)
def test_what_optax_has_not_is_traced_and_keeps_dtypes(name, float64):
    start = {"weights": wave(2, 3), "biases": wave(2, phase=0.4)}
    numeric = {"learning_rate": 0.1} | {k: v for k, v in FLAGS[name].items() if type(v) is float}
    flags = {k: v for k, v in FLAGS[name].items() if type(v) is not float}

    def run(values, w):
        optimizer: Any = jl.OPTIMIZERS[name](**values, **flags)
        state = optimizer.init(w)
        before = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
        for t in range(8):
            updates, state = optimizer.update(jax.tree.map(lambda leaf, t=t: jnp.cos(t + leaf), start), state, w)
            w = optax.apply_updates(w, updates)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == before
        return w

    rows = {key: value * jnp.asarray([1.0, 0.9]) for key, value in numeric.items()}
    together = jax.jit(jax.vmap(run, (0, None)))(rows, start)
    for row in range(2):
        alone = run({key: value[row].item() for key, value in rows.items()}, start)
        jax.tree.map(lambda a, b, row=row: np.testing.assert_allclose(a[row], b, rtol=1e-12), together, alone)
    run(
        {key: jnp.asarray(value) for key, value in numeric.items()}, jax.tree.map(lambda w: w.astype("bfloat16"), start)
    )


@pytest.mark.parametrize("name", ["adamaxw", "nadamw", "lion", "adan"])
def test_decay_needs_the_parameters(name):
    optimizer = jl.OPTIMIZERS[name](0.01)
    with pytest.raises(ValueError, match=rf"{name} decays .* call update\(grads, state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize("b2", [0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rectifier_is_exact_to_rounding(b2, precision):
    """The textbook rho_t in float32 is off by 1e-4 where its threshold is met; b2 = 0.9999 is ten times worse."""
    with jax.enable_x64(precision == "float64"):
        ts = [1, 2, 5, 6, 7, 20, 100, 199, 201, 1000, 3000]
        b = jnp.asarray(b2)
        of = lambda b, t: rectifier(b, t, 1 / one_minus_power(b, t))
        seen = jax.jit(jax.vmap(of, (None, 0)))(b, jnp.asarray(ts))
        rho, r = (np.asarray(part, "float64") for part in seen)
    exact = Fraction(float(b))
    end = 2 / (1 - exact) - 1
    rhos = np.asarray([float(end - 2 * t * exact**t / (1 - exact**t)) for t in ts])
    rs = np.sqrt(np.maximum((rhos - 4) * (rhos - 2) * float(end / (end - 4) / (end - 2)) / rhos, 0))
    # Where t x = 0.2, 1/10 is left of two numbers, each a few roundings off; four terms of h are 1e-13.
    rounding = max(64 * np.finfo(precision).eps, 1e-13)
    np.testing.assert_allclose(rho, rhos, rtol=rounding)
    free = rhos > 4.5
    np.testing.assert_allclose(r[free], rs[free], rtol=rounding * 8)
    assert (r[rhos < 4] == 0).all()


@pytest.mark.parametrize("b2", [0.0, 0.5])
def test_rectified_methods_never_trust_a_short_memory(b2):
    """Rho_t never reaches 5 where b2 < 2 / 3: the step is the mean of g, and finite."""
    g = jnp.asarray([[0.3, -2.0]] * 10)
    for optimizer in (jl.radam(0.1, b2=b2), jl.adabelief(0.1, b2=b2, rectify=True)):
        np.testing.assert_allclose(steps(optimizer, g)[0], -0.1 * g, rtol=1e-5)


def test_radam_starts_as_momentum_and_ends_as_adam(float64):
    g = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    means = [sum(0.9 ** (t - i) * 0.1 * g[i] for i in range(t + 1)) / (1 - 0.9 ** (t + 1)) for t in range(5)]
    np.testing.assert_allclose(steps(jl.radam(0.01), g)[0], -0.01 * jnp.stack(means), rtol=1e-12)
    many = jnp.asarray(np.random.default_rng(1).normal(size=(200, 3)))
    ours, adams = (steps(o(0.01, b2=0.9), many)[0][-1] for o in (jl.radam, jl.adam))
    np.testing.assert_allclose(ours, adams, rtol=1e-5)  # b2**200 is 7e-10, and t times that is left of rho - rho_t


def test_nadam_with_momentum_settled_at_once_is_nadam_without(float64):
    g = jnp.asarray(np.random.default_rng(0).normal(size=(10, 3)))
    settled, without = (steps(jl.nadam(0.01, momentum_decay=decay), g) for decay in (1e6, None))
    np.testing.assert_allclose(settled[0], without[0], rtol=1e-12)
    np.testing.assert_allclose(settled[1].missing, 1 - 0.9**10, rtol=1e-14)
    assert without[1].missing is None


def test_lion_is_sign_descent_whatever_the_scale(float32):
    """With b1 = 0 the direction is the sign of g; otherwise still one of -1, 0, 1."""
    g = jnp.asarray([[1e-20, -3.0, 0.0], [-1e15, 2e-7, 0.0]])
    np.testing.assert_array_equal(steps(jl.lion(0.1, b1=0.0, weight_decay=0.0), g)[0], -0.1 * jnp.sign(g))
    moved = steps(jl.lion(0.1, weight_decay=0.0), g)[0]
    np.testing.assert_array_equal(moved, np.float32(0.1) * np.asarray([[-1, 1, 0], [1, 1, 0]]))


def test_adan_of_a_steady_gradient_sees_no_difference(float64):
    """The first step has none before it; with all differences 0, Adan is Adam's own step, of size learning_rate."""
    g = jnp.asarray([[2.0, -1e-3]] * 5)
    moved, state = steps(jl.adan(0.1, eps=0.0), g)
    np.testing.assert_allclose(moved, -0.1 * jnp.sign(g), rtol=1e-12)
    np.testing.assert_array_equal(state.d, 0)


def test_adan_decays_proximally_where_the_mask_says_so(float64):
    w = PROBLEMS["mixed"].start()
    mask = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    moved = lambda decay: jl.adan(0.1, weight_decay=decay, mask=mask).update(w, jl.adan(0.1).init(w), w)[0]
    ours, plain = optax.apply_updates(w, moved(2.0)), optax.apply_updates(w, moved(0.0))
    expected = jax.tree.map(lambda w, chosen: w / (1 + 0.1 * 2.0) if chosen else w, plain, mask(w))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), ours, expected)


def test_amsgrad_remembers_the_largest_and_pytorchs_divisor_falls(float64):
    """After one large gradient the corrected maximum stays; the other order divides it by a growing 1 - b2^t."""
    g = jnp.asarray([[10.0]] + [[0.0]] * 20)
    held = [steps(jl.amsgrad(0.1, 0.9, 0.9), g[:n])[1].v_max for n in (1, 5, 20)]
    np.testing.assert_allclose(held, 100.0, rtol=1e-13)
    raw = steps(jl.amsgrad(0.1, 0.9, 0.9, max_before_correction=True), g)[1].v_max
    np.testing.assert_allclose(raw, 10.0, rtol=1e-13)


def test_uncorrected_amsgrad_is_the_papers(float64):
    g = np.random.default_rng(0).normal(size=(10, 3))
    m = v = v_max = np.zeros(3)
    moved, _ = steps(jl.amsgrad(0.1, eps=0.0, bias_correction_mu=False, bias_correction_nu=False), jnp.asarray(g))
    for row, g_t in zip(moved, g, strict=True):
        m, v = 0.9 * m + 0.1 * g_t, 0.999 * v + 0.001 * g_t**2
        v_max = np.maximum(v_max, v)
        np.testing.assert_allclose(row, -0.1 * m / np.sqrt(v_max), rtol=1e-12)


def test_uncorrected_yogi_is_the_papers(float64):
    g = np.random.default_rng(0).normal(size=(10, 3))
    m, v = np.zeros(3), np.full(3, 0.25)
    moved, _ = steps(jl.yogi(0.1, b2=0.9, initial_accumulator_value=0.25, bias_correction=False), jnp.asarray(g))
    for row, g_t in zip(moved, g, strict=True):
        m, v = 0.9 * m + 0.1 * g_t, v - 0.1 * np.sign(v - g_t**2) * g_t**2
        np.testing.assert_allclose(row, -0.1 * m / (np.sqrt(v) + 1e-3), rtol=1e-12)


@pytest.mark.parametrize("name", ["adabelief", "adamax", "amsgrad", "nadam", "radam", "yogi"])
def test_what_has_no_gradient_does_not_move(name):
    moved, _ = steps(jl.OPTIMIZERS[name](0.1), jnp.zeros((10, 2)))
    np.testing.assert_array_equal(moved, 0)


def test_adabelief_of_a_steady_gradient_keeps_every_eps_root(float64):
    """Once m is g nothing is left of s but the sum of eps_root, which tends to eps_root / (1 - b2)."""
    _, state = steps(jl.adabelief(0.1, b1=0.5, b2=0.9, eps_root=1e-6), jnp.ones((500, 2)))
    np.testing.assert_allclose(state.s, 1e-5, rtol=1e-10)


def test_adamax_divides_by_the_largest_recent_gradient(float64):
    _, state = steps(jl.adamax(0.1, b2=0.5), jnp.asarray([[8.0], [1.0], [-3.0], [1.0]]))
    np.testing.assert_allclose(state.u, 1.5 + 0.5e-8)


@pytest.mark.parametrize("name", ["adabelief", "adamax", "amsgrad", "nadam", "radam", "yogi", "lion", "adan"])
def test_moments_are_kept_in_the_dtype_asked_for(name):
    w = jnp.ones((2, 3), "bfloat16")
    optimizer: Any = jl.OPTIMIZERS[name](0.1, moment_dtype="float32")
    updates, state = optimizer.update(w, optimizer.init(w), w)
    assert updates.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim} == {jnp.dtype("float32")}


def test_eps_root_is_added_under_the_root(float64):
    """The first step of a gradient of 1 from zero means: both corrected means are 1."""
    optimizer = jl.adam(0.1, eps=0.25, eps_root=0.44)
    w = jnp.zeros(2)
    updates, _ = optimizer.update(jnp.array([1.0, -1.0]), optimizer.init(w), w)
    np.testing.assert_allclose(updates, [-0.1 / (1.2 + 0.25), 0.1 / (1.2 + 0.25)], rtol=1e-12)
