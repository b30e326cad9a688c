"""What the relatives of Muon promise where no record shows it: limits, forms of the papers, stacks, refusals."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.optimizers._compiler import BATCHED, one_by_one
from jaxopt_lab.optimizers._newton_schulz import newton_schulz, orthogonalizer, polar_factor
from jaxopt_lab.optimizers._stacks import in_stacks
from jaxopt_lab.verify.optimizers.haste import compiled
from jaxopt_lab.verify.optimizers.problems import wave

FAMILY = {
    "muon": jl.muon,
    "normuon": jl.normuon,
    "adamuon": jl.adamuon,
    "dion": partial(jl.dion, rank=2),
    "dion2": jl.dion2,
    "nordion2": jl.nordion2,
    "scion": jl.scion,
    "mars": partial(jl.mars, form="shampoo", max_norm=None),
}
Axes = optax.contrib.MuonDimensionNumbers


def gradients(shape, count=4):
    """Gradients of several steps, of full rank."""
    return [wave(*shape, phase=float(t)) + eye(*shape) / (t + 1) for t in range(count)]


def eye(*shape):
    """Ones on the diagonals of a stack of matrices."""
    return jnp.broadcast_to(jnp.eye(*shape[-2:]), shape)


def walk(optimizer: Any, gs, w=None):
    """The steps along these gradients, each from the parameters where the one before led."""

    def run(gs, w):
        state, steps = optimizer.init(w), []
        for g in gs:
            step, state = optimizer.update(g, state, w)
            w = optax.apply_updates(w, step)
            steps.append(step)
        return steps, state

    w = jax.tree.map(jnp.zeros_like, gs[0]) if w is None else w
    return compiled(jax.jit(run).lower(gs, w))(gs, w)


def assert_same_walk(one, other, gs, rtol=1e-11, w=None):
    for a, b in zip(walk(one, gs, w)[0], walk(other, gs, w)[0], strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-14), a, b)


# Stacks


def test_matrices_of_one_shape_are_one_stack(float64):
    tree = {"a": wave(3, 4), "b": [wave(2, 3, 4), wave(4, 3)], "c": wave(3, 4).astype("float32"), "d": wave(2, 2, 3, 4)}
    other = jax.tree.map(lambda x: x[..., :1, :] + 1, tree)
    seen = []

    def function(x, y):
        seen.append((x.shape, y.shape, str(x.dtype)))
        return x * y, jnp.sum(x, -1, keepdims=True)

    products, sums = in_stacks(function, tree, other, results=2)
    assert sorted(seen, key=str) == [
        ((3, 4), (1, 4), "float32"),
        ((4, 3), (1, 3), "float64"),
        ((7, 3, 4), (7, 1, 4), "float64"),
    ]
    jax.tree.map(np.testing.assert_array_equal, products, jax.tree.map(jnp.multiply, tree, other))
    jax.tree.map(np.testing.assert_array_equal, sums, jax.tree.map(lambda x: jnp.sum(x, -1, keepdims=True), tree))
    assert in_stacks(function, {}, {}, results=2) == ({}, {})
    assert len(seen) == 3


def test_large_matrices_one_by_one_are_the_stack(float64):
    side = BATCHED + 1
    stack = wave(3, side, side + 2)
    whole = partial(newton_schulz, triples=((2.0, -1.5, 0.5),) * 2, eps=1e-7)
    apart = partial(one_by_one, whole)
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(jax.jit(apart)(stack), whole(stack))
    close(jax.jit(jax.vmap(apart))(jnp.stack([stack, -stack])), jnp.stack([whole(stack), whole(-stack)]))
    slope = lambda f: jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(f(x)))))(stack)
    close(slope(apart), slope(whole))
    assert "while" in str(jax.make_jaxpr(apart)(stack)) or "scan" in str(jax.make_jaxpr(apart)(stack))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (3, 3)], ids=str)
def test_a_stack_of_matrices_steps_as_they_do_alone(name, shape, float64):
    factory = partial(FAMILY[name], 0.1)
    if name == "scion":
        factory = partial(factory, norms="spectral")
    apart = [{f"{i}": g[i] for i in range(3)} for g in gradients((3, *shape))]
    together, _ = walk(factory(matrices=Axes(1, 2)), gradients((3, *shape)))
    for stack, alone in zip(together, walk(factory(), apart)[0], strict=True):
        np.testing.assert_allclose(stack, jnp.stack(list(alone.values())), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", FAMILY)
def test_turned_axes_turn_the_steps(name, float64):
    """What `matrices` names outputs are outputs, wherever the axis is."""
    factory = partial(FAMILY[name], 0.1)
    gs = gradients((3, 5))
    steps, _ = walk(factory(), gs)
    turned, _ = walk(factory(matrices=Axes(1, 0)), [g.T for g in gs])
    for a, b in zip(steps, turned, strict=True):
        np.testing.assert_allclose(a, b.T, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "scion"])
def test_what_is_no_matrix_is_trained_by_adamw(name, float64):
    given = {"adam_b1": 0.8, "adam_b2": 0.9, "adam_weight_decay": 0.3, "adam_learning_rate": 0.2}
    if name == "muon":
        given |= {"adam_nesterov": False}
    eps = {} if name in ("muon", "mars") else {"adam_eps": 1e-8}
    g, w = [{"b": wave(4, phase=float(t))} for t in range(4)], {"b": wave(4, phase=9.0)}
    assert_same_walk(FAMILY[name](0.1, **given, **eps), jl.adamw(0.2, 0.8, 0.9, 1e-8, 0.0, 0.3), g, 1e-12, w)


# Orthogonalisation


def test_the_exact_factor_is_the_polar_factor(float64):
    x = wave(2, 3, 5) + eye(2, 3, 5)
    left, _, right = jnp.linalg.svd(x, full_matrices=False)
    for u, expected in [(x, left @ right), (x.mT, (left @ right).mT), (1e-30 * x, left @ right)]:
        np.testing.assert_allclose(polar_factor(u), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(polar_factor(0 * x), 0)
    one = wave(3)[:, None] * wave(5)[None]
    np.testing.assert_allclose(polar_factor(one), one / jnp.linalg.norm(one), rtol=1e-10)
    z = x * jnp.exp(0.3j)
    np.testing.assert_allclose(polar_factor(z), left @ right * jnp.exp(0.3j), rtol=1e-10, atol=1e-12)
    exact = walk(jl.muon(1.0, ns_coeffs="exact", scaling=None), [x[0]])[0][0]
    np.testing.assert_allclose(exact, -left[0] @ right[0], rtol=1e-10, atol=1e-12)


def test_polar_express_lifts_small_singular_values_the_most(float64):
    """Where they are spread over three decades: the others leave the least at half of what it does."""
    left, _, right = jnp.linalg.svd(wave(24, 40) + jnp.eye(24, 40), full_matrices=False)
    x = (left * jnp.logspace(0, -3, 24)[None]) @ right
    after = lambda name: jnp.linalg.svd(orthogonalizer(name, 5, 1e-7)(x), compute_uv=False)
    ours, others = after("polar_express"), [after(name).min() for name in ("dion", "standard")]
    assert ours.min() > 1.8 * max(others)
    assert ours.max() < 1.15


def test_named_coefficients_are_those_given_in_full(float64):
    u = wave(1, 3, 5)
    of = lambda coefficients: orthogonalizer(coefficients, 5, 1e-7)(u)
    np.testing.assert_array_equal(of("standard"), of((3.4445, -4.7750, 2.0315)))
    twin = optax.contrib.muon(0.1, ns_coeffs="dion")
    assert_same_walk(jl.muon(0.1, ns_coeffs="dion"), twin, gradients((3, 5)), 1e-9)


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "dion"])
def test_bfloat16_products_are_near(name, float32):
    """To a few of bfloat16's eight bits, of which the steps lose some more; parameters and state keep float32."""
    gs = gradients((6, 10), 2)
    (_, narrow), _ = walk(FAMILY[name](0.1, ns_dtype="bfloat16"), gs)
    (_, wide), _ = walk(FAMILY[name](0.1), gs)
    assert narrow.dtype == "float32"
    gap = jnp.linalg.norm(narrow - wide) / jnp.linalg.norm(wide)
    assert 1e-3 < gap < 0.3


def test_complex_matrices_keep_their_dtype(float32):
    z = wave(3, 4) + 1j * wave(3, 4, phase=2.0)
    np.testing.assert_array_equal(walk(jl.muon(0.1, ns_dtype="bfloat16"), [z])[0][0], walk(jl.muon(0.1), [z])[0][0])


# Limits


def test_normuon_that_evens_out_nothing_is_muon(float64):
    """Where norm_eps hides sqrt(v), all neurons are divided by the same."""
    given = {"weight_decay": 0.1, "eps": 1e-7}
    ours = jl.normuon(0.1, norm_eps=1e12, **given)
    assert_same_walk(ours, jl.muon(0.1, bias_correction=False, **given), gradients((4, 6)))


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)], ids=str)
def test_dion2_of_all_is_muon_of_a_sum(shape, float64):
    ours = jl.dion2(0.1, 0.9, weight_decay=0.1, fraction=1.0)
    muon = jl.muon(
        *(0.1, 0.9, 1e-8 * 0.1, 0.1),
        nesterov=False,
        bias_correction=False,
        scaling="spectral_norm",
        ns_coeffs="polar_express",
    )
    assert_same_walk(ours, muon, gradients(shape), 1e-9)


@pytest.mark.parametrize(("shape", "axis"), [((4, 8), 0), ((8, 4), 1), ((4, 4), 1)], ids=str)
def test_dion2_steps_where_the_sums_are_largest_and_keeps_the_rest(shape, axis, float64):
    g = np.asarray(gradients(shape)[0])
    (step,), state = walk(jl.dion2(0.1, 0.7, weight_decay=0.0, fraction=0.5), [jnp.asarray(g)])
    step = np.asarray(step)
    chosen = np.sort(np.argsort(np.sum(np.abs(g), 1 - axis))[-2:])
    np.testing.assert_array_equal(np.flatnonzero(np.abs(step).sum(1 - axis)), chosen)
    kept = np.array(g)
    kept[(chosen if axis == 0 else slice(None), chosen if axis == 1 else slice(None))] *= 0.7
    np.testing.assert_allclose(state.matrices.m, kept, rtol=1e-15)
    part = np.take(g, chosen, axis)
    expected = orthogonalizer("polar_express", 5, 1e-8)(jnp.asarray(part)) * -0.1 * (shape[1] / shape[0]) ** 0.5
    np.testing.assert_allclose(np.take(step, chosen, axis), expected, rtol=1e-10)


def test_nordion2_that_evens_out_nothing_is_dion2(float64):
    given = {"fraction": 0.5, "weight_decay": 0.1}
    assert_same_walk(jl.nordion2(0.1, norm_eps=1e12, **given), jl.dion2(0.1, **given), gradients((6, 4)))


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5)], ids=str)
@pytest.mark.parametrize("taller_side", [True, False])
def test_dion_finds_the_leading_directions(shape, taller_side, float64):
    """Of the singular vectors, after many power iterations; what is used leaves the momentum where beta is 0."""
    left, _, right = jnp.linalg.svd(gradients(shape)[0], full_matrices=False)
    g = (left * jnp.asarray([8.0, 4.0, *[1.0] * (min(shape) - 2)])[None]) @ right
    dion = jl.dion(0.1, 0.0, weight_decay=0.0, rank=2, power_iters=40, taller_side=taller_side)
    (step,), state = walk(dion, [g])
    np.testing.assert_allclose(step, -0.1 * (shape[1] / shape[0]) ** 0.5 * left[:, :2] @ right[:2], atol=1e-8)
    np.testing.assert_allclose(jnp.linalg.svd(state.matrices.m, compute_uv=False)[0], 1.0, rtol=1e-9)
    assert state.matrices.q.shape[-1] == 2


def test_dion_without_a_gradient_stands_still_and_keeps_its_directions(float64):
    g = jnp.zeros((3, 4))
    dion = jl.dion(0.1)
    (step,), state = walk(dion, [g])
    np.testing.assert_array_equal(step, 0)
    np.testing.assert_array_equal(state.matrices.q, dion.init(g).matrices.q)


def test_dions_start_is_drawn_by_its_seed(float64):
    q = lambda **given: jl.dion(0.1, **given).init(jnp.zeros((4, 3))).matrices.q
    np.testing.assert_array_equal(q(), q(seed=0))
    assert not jnp.allclose(q(), q(seed=1))
    assert q(rank_fraction=0.4).shape == (3, 2)
    assert q(rank=9).shape == (3, 3)
    np.testing.assert_array_equal(q(start=lambda key, shape: jnp.full(shape, 2.0)), 2.0)


# The papers' own forms


def test_normuons_paper_has_another_length_and_no_look_ahead(float64):
    """Algorithm 1 in NumPy, with matrices (outputs, inputs) and the polar factor in place of Newton-Schulz steps."""
    rate, beta, b2, eps, decay = 0.1, 0.9, 0.8, 1e-8, 0.2
    gs, w = gradients((5, 3)), wave(5, 3, phase=7.0)
    ours = jl.normuon(rate, beta, b2, 1e-30, eps, decay, nesterov=False, keep_norm=False, ns_coeffs="exact")
    seen = np.asarray(w + sum(walk(ours, gs, w)[0])).T
    w, m, v = np.array(w).T, np.zeros((3, 5)), np.zeros(3)
    for g in (np.array(g).T for g in gs):
        m = beta * m + (1 - beta) * g
        left, _, right = np.linalg.svd(m, full_matrices=False)
        o = left @ right
        v = b2 * v + (1 - b2) * np.mean(o * o, 1)
        even = o / (np.sqrt(v)[:, None] + eps)
        w = w - rate * decay * w - 0.2 * rate * np.sqrt(15) / np.linalg.norm(even) * even
    np.testing.assert_allclose(seen, w, rtol=1e-10)


def test_adamuons_step_has_the_root_mean_square_asked_for(float64):
    for rms in (0.2, 0.5):
        steps, _ = walk(jl.adamuon(1.0, consistent_rms=rms, weight_decay=0.0), gradients((4, 6)))
        np.testing.assert_allclose([jnp.sqrt(jnp.mean(step**2)) for step in steps], rms, rtol=1e-7)


@pytest.mark.parametrize("norms", ["spectral", "spectral_max", "sign", "rows", "columns"])
def test_scion_stays_in_its_ball(norms, float64):
    """However long it goes one way; and at the end of it is the point of the ball that is furthest that way."""
    g, scale = gradients((3, 5))[0], 2.0
    step = walk(jl.scion(1.0, 0.0, scale, norms=norms, ns_coeffs="exact"), [g])[0][0]
    far = sum(walk(jl.scion(0.1, 0.0, scale, norms=norms, ns_coeffs="exact"), [g] * 300)[0])
    np.testing.assert_allclose(far, step, rtol=1e-6, atol=1e-12)
    spectral, largest = jnp.linalg.svd(step, compute_uv=False)[0], abs(step).max()
    radius = {
        "spectral": spectral / (5 / 3) ** 0.5,
        "spectral_max": spectral / (5 / 3) ** 0.5,
        "sign": largest * 3,
        "rows": jnp.linalg.norm(step, axis=0).max() * 3**0.5,
        "columns": jnp.linalg.norm(step, axis=1).max() / 5**0.5,
    }[norms]
    np.testing.assert_allclose(radius, scale, rtol=1e-6)
    assert jnp.sum(step * g) < 0


# MARS

plain = {"gamma": 0.0, "max_norm": None}
BASES = {
    "adamw": jl.adamw(0.1, 0.9, 0.95, 1e-8, 0.0, 0.2),
    "lion": jl.lion(0.1, 0.9, 0.9, 0.2),
    "shampoo": jl.muon(0.1, 0.9, 1e-8 * 0.1, 0.2, nesterov=False, bias_correction=False),
}


@pytest.mark.parametrize("form", BASES)
def test_mars_without_its_correction_is_its_base(form, float64):
    ours = jl.mars(0.1, 0.9, 0.95, weight_decay=0.2, form=form, **plain)
    assert_same_walk(ours, BASES[form], gradients((4, 6)), w=wave(4, 6, phase=8.0))


@pytest.mark.parametrize("form", BASES)
def test_mars_is_its_base_along_corrected_gradients(form, float64):
    gs, gamma = gradients((4, 6)), 0.3
    last, corrected = 0 * gs[0], []
    for g in gs:
        c = np.asarray(g + gamma * 0.9 / 0.1 * (g - last))
        corrected.append(jnp.asarray(c / max(1.0, np.linalg.norm(c) / 2.0)))
        last = g
    base = walk(BASES[form], corrected, wave(4, 6, phase=8.0))[0]
    ours = walk(jl.mars(0.1, 0.9, 0.95, 1e-8, 0.2, gamma, 2.0, form=form), gs, wave(4, 6, phase=8.0))[0]
    for a, b in zip(ours, base, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


def test_mars_of_one_batch_is_exact_either_way(float64):
    """The gradient at the parameters before, of the same batch, is the gradient before."""
    loss = lambda w: jnp.sum(jnp.cosh(w["a"] - 0.3)) + jnp.sum(w["b"] ** 4)

    def end(**given):
        w: Any = {"a": wave(3, 4), "b": wave(3)}
        optimizer: Any = jl.mars(0.1, gamma=0.3, matrices_alone=False, **given)
        state = optimizer.init(w)
        for _ in range(4):
            updates, state = optimizer.update(jax.grad(loss)(w), state, w, value_fn=loss)
            w = optax.apply_updates(w, updates)
        return w

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), end(exact=True), end())
    with pytest.raises(ValueError, match="value_fn="):
        jl.mars(0.1, exact=True).update(wave(2), jl.mars(0.1, exact=True).init(wave(2)), wave(2))


# In a sweep, and refusals


@pytest.mark.parametrize("name", [*FAMILY, "mars exact"])
def test_it_runs_in_a_sweep(name, float32):
    factory = {**FAMILY, "mars exact": partial(jl.mars, exact=True)}[name]
    found = jl.sweep(factory, jl.tasks.matrix_factorization(), {"learning_rate": [1e-3, 1e-2]}, steps=20, seeds=2)
    assert np.isfinite(found.dataset.train_loss.values).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: jl.muon(0.1, ns_coeffs="jordan"), "ns_coeffs must be .* got 'jordan'"),
        (lambda: jl.normuon(0.1, ns_steps=0), "ns_steps must be at least 1"),
        (lambda: walk(jl.dion2(0.1, scaling="wide"), [jnp.ones((2, 2))]), "scaling must be .* got 'wide'"),
        (lambda: jl.dion2(0.1, fraction=0.0), r"in \(0, 1\], got fraction=0.0"),
        (lambda: jl.nordion2(0.1, fraction=1.5), r"in \(0, 1\], got fraction=1.5"),
        (lambda: jl.dion(0.1, rank=0), "rank must be at least 1"),
        (lambda: jl.dion(0.1, rank=1, rank_fraction=0.5), "without rank"),
        (lambda: jl.dion(0.1, rank_fraction=2.0), "rank_fraction=2.0"),
        (lambda: jl.mars(0.1, form="adam"), "form='adam'"),
        (lambda: walk(jl.scion(0.1, norms="nuclear"), [jnp.ones((2, 2))]), "'nuclear' for a parameter of shape"),
        (lambda: walk(jl.scion(0.1, norms="sign"), [jnp.ones(2)]), "is not a matrix"),
        (lambda: jl.scion(0.1).update(jnp.ones(2), jl.scion(0.1).init(jnp.ones(2))), "needs them"),
        (lambda: jl.normuon(0.1).init(jl.flat({"a": jnp.ones((2, 2))})), "normuon treats each tensor"),
        (lambda: jl.scion(0.1).init(jl.flat({"a": jnp.ones((2, 2))})), "scion treats each tensor"),
    ],
)
def test_it_says_what_was_wrong(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()
