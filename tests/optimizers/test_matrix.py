"""What methods that see matrices, curvature or the neighbourhood promise beyond their twins."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.optimizers._linesearch import C1, C2, backtracking, wolfe
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, wave


def walk(optimizer, loss, w, steps):
    """The parameters after some steps."""

    def step(carry, t):
        w, state = carry
        value, g = jax.value_and_grad(loss)(w)
        key = jax.random.fold_in(jax.random.key(0), t)
        u, state = optax.with_extra_args_support(optimizer).update(g, state, w, value=value, value_fn=loss, key=key)
        return (optax.apply_updates(w, u), state), None

    return jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(steps))[0][0])(w)


def first_step(optimizer, g, w):
    return optimizer.update(g, optimizer.init(w), w)[0]


# Muon


def test_muon_steps_are_nearly_orthogonal_whatever_the_size_of_g(float64):
    g = wave(5, 8, phase=0.3) + jnp.eye(5, 8)
    for size in (1e-3, 1.0, 1e3):
        step = first_step(jl.muon(1.0), size * g, 0 * g) / np.sqrt(8 / 5)
        singular = jnp.linalg.svd(step, compute_uv=False)
        assert singular.min() > 0.6
        assert singular.max() < 1.3


def test_muon_with_a_convergent_polynomial_takes_the_polar_factor(float64):
    g = wave(8, 5, phase=0.3) + 2 * jnp.eye(8, 5)
    step = first_step(jl.muon(1.0, ns_coeffs=(1.875, -1.25, 0.375), ns_steps=40), g, 0 * g)
    left, _, right = jnp.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(step, -left @ right, atol=1e-12)


def test_muon_makes_no_step_of_no_gradient():
    g = jnp.zeros((3, 4))
    np.testing.assert_array_equal(first_step(jl.muon(1.0), g, g), 0.0)


def test_muon_steps_outside_matrices_are_adams(float64):
    g, w = {"b": wave(4)}, {"b": wave(4, phase=1.0)}
    assert jnp.array_equal(first_step(jl.muon(0.1), g, w)["b"], first_step(jl.nadamw(0.1, weight_decay=0.0), g, w)["b"])


Axes = optax.contrib.MuonDimensionNumbers
STACKED = {
    "scanned": (wave(3, 4, 6), Axes(1, 2)),
    "tall": (wave(2, 7, 3, phase=0.5), Axes(-2, -1)),
    "heads in": (wave(2, 3, 4, phase=1.0), Axes((0, 1), 2)),
    "heads out": (wave(5, 2, 3, phase=1.5), Axes(0, (1, 2))),
    "layers of heads": (wave(2, 3, 4, 5, phase=2.0), Axes((3, -3), 0)),
    "turned": (wave(6, 4, phase=2.5), Axes(1, 0)),
    "bias": (wave(4, phase=3.0), None),
}
"""Parameters, and Optax's numbers of their axes: what is in neither is a stack of matrices."""


@pytest.mark.parametrize(
    "given", [{}, {"consistent_rms": 0.2}, {"nesterov": False, "weight_decay": 0.1, "ns_steps": 3}], ids=str
)
def test_muon_of_stacks_and_heads_is_optaxs(given, float64):
    w = {name: jnp.asarray(w, float) for name, (w, _) in STACKED.items()}
    axes = {name: numbers for name, (_, numbers) in STACKED.items()}
    ours = jl.muon(0.1, matrices=lambda params: axes, **given)
    twin = optax.contrib.muon(0.1, muon_weight_dimension_numbers=lambda params: axes, **given)

    def both(carry, t):
        w, state, twin_state = carry
        g = jax.tree.map(lambda w: jnp.sin(3 * w + t), w)
        updates, state = ours.update(g, state, w)
        twin_updates, twin_state = twin.update(g, twin_state, w)
        return (optax.apply_updates(w, twin_updates), state, twin_state), (updates, twin_updates)

    start = w, ours.init(w), twin.init(w)
    _, (updates, expected) = jax.jit(lambda carry: jax.lax.scan(both, carry, jnp.arange(5.0)))(start)
    # Small singular values grow by up to 3.4 a Newton-Schulz step, and their rounding with them.
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13), updates, expected)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_stack_of_matrices_steps_as_they_do_alone(adaptive, float64):
    """Where `adaptive`, by the inner product of each, not of the whole stack as in Optax."""
    stack, muon = wave(3, 4, 6), partial(jl.muon, 0.1, adaptive=adaptive)
    together = first_step(muon(matrices=Axes(1, 2)), stack, stack)
    alone = jnp.stack([first_step(muon(), matrix, matrix) for matrix in stack])
    np.testing.assert_allclose(together, alone, rtol=1e-11)


@pytest.mark.parametrize(
    ("matrices", "says"),
    [
        (True, "fewer than two axes"),
        (Axes(0, 1), "fewer than two axes"),
        ({"b": None, "w": Axes(0, 3)}, "does not have"),
        ({"b": None, "w": Axes(0, -3)}, "each axis once"),
        ({"b": None, "w": Axes((), 1)}, "inputs and outputs"),
    ],
)
def test_muon_wants_matrices(matrices, says):
    with pytest.raises(ValueError, match=says):
        jl.muon(0.1, matrices=matrices).init({"b": jnp.ones(3), "w": jnp.ones((3, 2, 2))})


# Adafactor and SM3


def test_adafactor_and_sm3_keep_rows_and_columns_of_a_matrix():
    w = jnp.ones((4, 6))
    rows_and_columns = [(1, 6), (4, 1)]
    factored: Any = jl.adafactor(min_dim_size_to_factor=4).init(w)
    covered: Any = jl.sm3(0.1).init(w)
    assert sorted(x.shape for x in factored.v) == sorted(rows_and_columns)
    assert sorted(x.shape for x in covered.mu) == sorted(rows_and_columns)
    whole: Any = jl.adafactor().init(w)
    assert whole.v.shape == (4, 6)


def test_adafactor_of_a_matrix_of_rank_one_is_exact(float64):
    """Where g**2 is an outer product, nothing is lost by keeping its margins."""
    g = jnp.exp(wave(4, 1)) * jnp.exp(wave(1, 6, phase=0.5))
    factored, whole = (jl.adafactor(0.1, min_dim_size_to_factor=size) for size in (2, 128))
    np.testing.assert_allclose(first_step(factored, g, g), first_step(whole, g, g), rtol=1e-12)


def test_sm3_of_a_vector_is_adagrad(float64):
    loss, w = lambda w: jnp.sum(jnp.arange(1.0, 6.0) * w**2), wave(5)
    sm3, adagrad = jl.sm3(0.1, momentum=0.0, eps=0.0), jl.adagrad(0.1, 0.0, 0.0)
    np.testing.assert_allclose(walk(sm3, loss, w, 20), walk(adagrad, loss, w, 20), rtol=1e-12)


def test_sm3_never_steps_further_than_adagrad(float64):
    """Its v is at least Adagrad's sum of squares."""
    g = wave(4, 6)
    state: Any = jl.sm3(0.1).init(g)
    sums = 0.0
    for t in range(5):
        g = wave(4, 6, phase=float(t))
        _, state = jl.sm3(0.1).update(g, state)
        sums += g**2
        assert (jnp.minimum(*state.mu) >= sums).all()


# MADGRAD


def test_madgrad_at_rate_zero_stands_still():
    w = wave(4)
    np.testing.assert_array_equal(first_step(jl.madgrad(0.0), w, w), 0.0)


# SAM


def test_sam_with_no_radius_is_its_base(float64):
    problem = PROBLEMS["mlp"]
    start = problem.start()
    seen, base = (walk(o, problem.loss, start, 20) for o in (jl.sam(0.1, 0.0), jl.momentum(0.1)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), seen, base)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_stands_still_where_there_is_no_gradient(adaptive):
    w = jnp.zeros(3)
    optimizer: Any = jl.sam(0.1, adaptive=adaptive)
    updates, _ = optimizer.update(w, optimizer.init(w), w, value_fn=lambda w: jnp.sum(w**2))
    np.testing.assert_array_equal(updates, 0.0)


@pytest.mark.parametrize("method", [jl.sam, jl.sophia])
def test_the_loss_is_asked_for(method):
    w = jnp.ones(2)
    with pytest.raises(ValueError, match="value_fn="):
        method(0.1).update(w, method(0.1).init(w), w)


def test_sophia_without_a_key_is_optaxs(float64):
    """Which calls the loss `obj_fn`, and draws by a key of its own."""
    loss = PROBLEMS["mlp"].loss
    w = PROBLEMS["mlp"].start()
    ours: Any = jl.sophia(0.01, update_interval=2)
    twin: Any = optax.contrib.sophia(0.01, update_interval=2)

    def both(carry, _):
        w, state, twin_state = carry
        g = jax.grad(loss)(w)
        updates, state = ours.update(g, state, w, obj_fn=loss)
        twin_updates, twin_state = twin.update(g, twin_state, w, obj_fn=loss)
        return (optax.apply_updates(w, twin_updates), state, twin_state), (updates, twin_updates)

    _, (updates, expected) = jax.jit(lambda carry: jax.lax.scan(both, carry, length=6))((w, ours.init(w), twin.init(w)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-14), updates, expected)


# Sophia


def test_sophia_sees_the_diagonal_of_a_diagonal_hessian(float64):
    """Random signs cancel in r * (H r): one estimate is exact."""
    curvature, w = jnp.asarray([1.0, 3.0, -2.0]), jnp.ones(3)
    loss = lambda w: jnp.sum(curvature * w**2) / 2
    optimizer: Any = jl.sophia(0.1, b2=0.0, estimate_first=True)
    _, state = optimizer.update(jax.grad(loss)(w), optimizer.init(w), w, value_fn=loss, key=jax.random.key(0))
    np.testing.assert_allclose(state.h, curvature, rtol=1e-12)


def test_sophia_estimates_only_at_the_interval(float64):
    w, seen = jnp.ones(2), []
    optimizer: Any = jl.sophia(0.1, b2=0.0, update_interval=3)
    state = optimizer.init(w)
    for t in range(7):
        loss = lambda w, t=t: (t + 1) * jnp.sum(w**2) / 2
        _, state = optimizer.update(w, state, w, value_fn=loss, key=jax.random.key(t))
        seen.append(float(state.h[0]))
    assert seen == [1, 1, 1, 4, 4, 4, 7]


# L-BFGS


def rosenbrock(w):
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


@pytest.mark.parametrize("linesearch", ["wolfe", "backtracking"])
def test_lbfgs_finds_the_end_of_rosenbrocks_valley(linesearch, float64):
    w = walk(jl.lbfgs(linesearch=linesearch), rosenbrock, jnp.asarray([-1.2, 1.0, -1.2, 1.0]), 100)
    np.testing.assert_allclose(w, 1.0, atol=1e-8)


def test_lbfgs_minimises_a_quadratic_in_as_many_steps_as_it_has_curvatures(float64):
    """With exact lengths it is conjugate gradients (Nocedal & Wright 2006, Theorem 6.4)."""
    curvature, w = jnp.asarray([1.0, 4.0, 9.0, 30.0]), jnp.ones(4)
    optimizer: Any = jl.lbfgs(linesearch=None)
    state = optimizer.init(w)
    for _ in range(4):
        d, state = optimizer.update(curvature * w, state, w)
        w = w - jnp.sum(curvature * w * d) / jnp.sum(curvature * d**2) * d
    np.testing.assert_allclose(w, 0.0, atol=1e-12)


def test_lbfgs_goes_down_after_negative_curvature(float64):
    """Between the first two points s'y < 0: a pair that, used, turns the next step uphill."""
    loss, w = lambda w: -jnp.cos(w[0]), jnp.asarray([2.0])
    optimizer: Any = jl.lbfgs(0.1, linesearch=None)
    state = optimizer.init(w)
    for _ in range(3):
        g = jax.grad(loss)(w)
        updates, state = optimizer.update(g, state, w)
        assert jnp.sum(updates * g) < 0
        w = w + updates


@pytest.mark.parametrize("size", [1e-4, 0.3, 50.0])
def test_line_searches_keep_their_promises(size, float64):
    loss = lambda a: (a - 1) ** 4 + jnp.sin(3 * a) / 5
    along = lambda a: loss(size * a)
    value, slope = jax.value_and_grad(along)(0.0)
    for search in (backtracking, wolfe):
        a = search(along, value, slope)
        assert a > 0
        assert along(a) <= value + C1 * a * slope
    assert jax.grad(along)(a) >= C2 * slope


def test_line_searches_back_away_from_nan_and_give_up_at_a_minimum(float64):
    one = jnp.ones([])
    for search in (backtracking, wolfe):
        assert 0 < search(lambda a: -jnp.log(0.3 - a) - 20 * a, -jnp.log(0.3 * one), 1 / 0.3 - 20 * one) < 0.3
        assert search(lambda a: a, 0 * one, -one) == 0  # it was said to go down, and goes up


@pytest.mark.parametrize(("wrong", "says"), [({"memory_size": 0}, "memory_size=0"), ({"linesearch": "x"}, "'x'")])
def test_lbfgs_says_what_was_wrong(wrong, says):
    with pytest.raises(ValueError, match=says):
        jl.lbfgs(**wrong)


# GaLore


def test_galore_of_full_rank_loses_nothing(float64):
    problem = PROBLEMS["mlp"]
    start = problem.start()
    galore = jl.galore(0.1, base=jl.gradient_descent)
    seen, plain = (walk(o, problem.loss, start, 20) for o in (galore, jl.gradient_descent(0.1)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), seen, plain)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_galore_steps_within_the_leading_singular_vectors(shape, float64):
    """Of the shorter side; the moments are as long as the other."""
    g = wave(*shape)
    optimizer: Any = jl.galore(0.1, scale=0.5, rank=2, base=jl.gradient_descent)
    updates, state = optimizer.update(g, optimizer.init(g), g)
    left, values, right = jnp.linalg.svd(g, full_matrices=False)
    np.testing.assert_allclose(updates, -0.05 * (left[:, :2] * values[None, :2]) @ right[:2], atol=1e-12)
    assert state.p.shape == (min(shape), 2)


def test_galore_says_what_was_wrong():
    with pytest.raises(ValueError, match="rank=0"):
        jl.galore(0.1, rank=0)
