"""What methods that precondition by Kronecker products promise beyond their records: options, limits, cost."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.optimizers._amortised import every, when
from jaxopt_lab.optimizers._kronecker import merged, squarest
from jaxopt_lab.verify.optimizers.problems import wave

METHODS = [jl.soap, jl.shampoo, jl.klshampoo, jl.psgd_kron, jl.splus]


def gradients(*shape, steps=6):
    """Gradients of full rank along every axis, another one in each step."""
    return np.random.default_rng(0).normal(size=(steps, *shape))


def walk(optimizer, w, gs, **extra):
    """The parameters after every step along these gradients, and the last state."""

    def step(carry, g):
        w, state = carry
        updates, state = optimizer.update(g, state, w, **extra)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    (_, state), ws = jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), gs))(w)
    return ws, state


def first_step(optimizer, g, w):
    return jax.jit(lambda g, w: optimizer.update(g, optimizer.init(w), w)[0])(g, w)


# A second derivation in NumPy, with the unfolded matrices of textbooks


def along(matrix, x, axis):
    return np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)


def along_all(matrices, x):
    for axis, matrix in enumerate(matrices):
        x = along(matrix, x, axis)
    return x


def gram(x, axis):
    unfolded = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    return unfolded @ unfolded.T


def basis(factor):
    return np.linalg.eigh(factor)[1][:, ::-1]


def soap_of_the_paper(gs, w, rate, b1, b2, eps, interval, sides):
    """Algorithm 3, with m in the original space, eps under the root, and what the authors' code does beside it.

    That is: a first call without a step, and columns sorted by eigenvalue before QR, with v.
    """
    factors = [(1 - b2) * gram(gs[0], i) for i in range(w.ndim)]
    q = [basis(f) if yes else np.eye(len(f)) for f, yes in zip(factors, sides, strict=True)]
    m, v, ws = np.zeros_like(w), np.zeros_like(w), [w]
    for t, g in enumerate(gs[1:], 1):
        back = [x.T for x in q]
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * along_all(back, g) ** 2
        w = w - rate * along_all(q, along_all(back, m) / np.sqrt(v + eps))
        ws.append(w)
        factors = [b2 * f + (1 - b2) * gram(g, i) for i, f in enumerate(factors)]
        for i in np.flatnonzero(sides) if t % interval == 0 else []:
            order = np.argsort(-np.diag(q[i].T @ factors[i] @ q[i]))
            v = np.take(v, order, i)
            q[i] = np.linalg.qr(factors[i] @ q[i][:, order])[0]
    return np.stack(ws)


@pytest.mark.parametrize(
    ("shape", "flags", "sides"),
    [
        ((4, 3), {}, (True, True)),
        ((2, 3, 4), {}, (True, True, True)),
        ((2, 3, 4), {"max_precond_dim": 3}, (True, True, False)),
        ((2, 2, 4), {"max_precond_dim": 4, "merge_dims": True}, (True, True)),
        ((2,), {"precondition_1d": True}, (True,)),
        ((5,), {}, (False,)),
    ],
)
def test_soap_is_the_papers(shape, flags, sides, float64):
    gs, w, folded = gradients(*shape), wave(*shape), (4, 4) if "merge_dims" in flags else shape
    soap = jl.soap(0.1, 0.8, 0.9, 0.0, 1e-3, 0.0, update_interval=2, bias_correction=False, **flags)
    expected = soap_of_the_paper(gs.reshape(-1, *folded), np.asarray(w).reshape(folded), 0.1, 0.8, 0.9, 1e-3, 2, sides)
    np.testing.assert_allclose(walk(soap, w, gs)[0], expected.reshape(-1, *shape), rtol=1e-10, atol=1e-12)


def test_soap_without_bases_is_adam_from_the_second_step_on(float64):
    gs, w = gradients(3, 4), wave(3, 4)
    soap, adam = jl.soap(0.1, 0.9, 0.95, 0.0, weight_decay=0.0, max_precond_dim=2), jl.adam(0.1, 0.9, 0.95, 0.0)
    ws, _ = walk(soap, w, gs)
    np.testing.assert_array_equal(ws[0], w)
    np.testing.assert_allclose(ws[1:], walk(adam, w, gs[1:])[0], rtol=1e-12)


def test_soap_of_a_transformers_projections_is_soap_of_each(float64):
    """Matrices of one shape are one stack."""
    gs = {name: gradients(3, 4) * (i + 1) + i for i, name in enumerate(("q", "k"))}
    gs["b"] = gradients(4)
    w, soap = jax.tree.map(lambda g: g[0], gs), jl.soap(0.1, update_interval=2)
    together, _ = walk(soap, w, gs)
    for name, g in gs.items():
        np.testing.assert_allclose(together[name], walk(soap, w[name], g)[0], rtol=1e-12)
    text = str(jax.make_jaxpr(soap.update)(w, soap.init(w), w))
    assert text.count(" = eigh[") == 4  # one for each side on a CPU, and on others; not one for each matrix


# Shampoo


def test_shampoos_first_step_is_the_polar_factor(float64):
    """(g g')^(-1/4) g (g' g)^(-1/4) = u v', where g = u s v'; with powers of 1/2 it is u v' / s."""
    g = wave(4, 4, phase=0.3) + 2 * jnp.eye(4)
    left, values, right = jnp.linalg.svd(g)
    kept: dict[str, Any] = {"eps": 1e-15, "fewest_axes": 2}
    np.testing.assert_allclose(first_step(jl.shampoo(0.1, **kept), g, g), -0.1 * left @ right, rtol=1e-9)
    inverse = -0.1 * (left / values[None]) @ right
    np.testing.assert_allclose(first_step(jl.shampoo(0.1, power=0.5, **kept), g, g), inverse, rtol=1e-9)


def root_of(factor, eps, power):
    values, vectors = np.linalg.eigh(factor + eps * np.eye(len(factor)))
    return vectors @ np.diag(values**-power) @ vectors.T


@pytest.mark.parametrize("kl", [False, True])
@pytest.mark.parametrize(
    ("shape", "folded", "flags"),
    [((2, 3, 4), (2, 3, 4), {"fewest_axes": 3}), ((2, 3, 4), (6, 4), {"fewest_axes": 2}), ((2, 3), (6,), {})],
)
def test_shampoo_of_tensors(kl, shape, folded, flags, float64):
    gs, w, power = gradients(*shape), np.asarray(wave(*shape)), 1 / (2 * len(folded))
    shampoo = jl.shampoo(0.1, 0.0, 0.9, 1e-2, 0.3, kl=kl, **flags)
    factors, roots, expected = [0.0] * len(folded), [np.eye(n) for n in folded], []
    for t, g in enumerate(gs.reshape(-1, *folded), 1):
        others = [[np.eye(len(x)) if i == j or not kl else x for j, x in enumerate(roots)] for i in range(len(folded))]
        factors = [
            0.9 * f + 0.1 * gram(along_all(o, g), i) for i, (f, o) in enumerate(zip(factors, others, strict=True))
        ]
        roots = [root_of(f / (1 - 0.9**t), 1e-2, power) for f in factors]
        expected.append(w := w - 0.1 * (along_all(roots, g).reshape(shape) + 0.3 * w))
    np.testing.assert_allclose(walk(shampoo, wave(*shape), gs)[0], np.stack(expected), rtol=1e-9)


def test_grafted_steps_are_as_long_as_the_others(float64):
    g, w = wave(3, 4), wave(3, 4, phase=1.0)
    length = lambda optimizer: jnp.linalg.norm(first_step(optimizer, g, w))
    shampoo = lambda **settings: jl.shampoo(0.1, eps=1e-3, fewest_axes=2, **settings)
    np.testing.assert_allclose(length(shampoo(grafting="sgd")), length(jl.sgd(0.1)), rtol=1e-12)
    np.testing.assert_allclose(length(shampoo(grafting="adam", graft_eps=1e-8)), length(jl.adam(0.1)), rtol=1e-12)
    adagrad = jl.adagrad(0.1, 0.0, 0.0)
    summed = shampoo(grafting="adam", graft_b2=1.0, graft_eps=0.0)
    np.testing.assert_allclose(length(summed), length(adagrad), rtol=1e-12)
    waiting = first_step(shampoo(grafting="sgd", start=2), g, w)
    np.testing.assert_allclose(waiting, -0.1 * g, rtol=1e-12)


def test_shampoo_leaves_a_long_axis_as_it_is(float64):
    g = wave(3, 5, phase=0.3)
    step = first_step(jl.shampoo(0.1, eps=1e-15, fewest_axes=2, max_precond_dim=4), g, g)
    np.testing.assert_allclose(step, -0.1 * root_of(np.asarray(g @ g.T), 1e-15, 0.25) @ g, rtol=1e-9)


# KL-Shampoo


@pytest.mark.parametrize("damping", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4)])
def test_klshampoo_of_tensors(shape, damping, float64):
    """From its covariance: a Kronecker product of Q diag(d^-2) Q', whose factors whiten each other's products."""
    gs, w, beta, eps = gradients(*shape, steps=8), np.asarray(wave(*shape)), 0.9, 1e-2
    axes = range(len(shape))
    rest = [np.prod(shape) / n for n in shape]
    factors = [(1 - beta) * gram(gs[0], i) / rest[i] for i in axes]
    q, d, m, expected = [basis(f) for f in factors], [np.full(n, 0.5**-0.5) for n in shape], 0.0, [w]
    for t, g in enumerate(gs[1:], 1):
        back = [x.T for x in q]
        m = 0.8 * m + 0.2 * g
        e = along_all([np.diag(x) for x in d], np.ones(shape))
        w = w - 0.1 * along_all(q, along_all(back, m) * (e / (1 + eps * e)))
        expected.append(w)
        whiten = [np.diag(x) @ y.T for x, y in zip(d, q, strict=True)]
        seen = [along_all([np.eye(shape[j]) if i == j else whiten[j] for j in axes], g) for i in axes]
        factors = [
            beta * f + (1 - beta) * gram(x, i) / rest[i] for i, (f, x) in enumerate(zip(factors, seen, strict=True))
        ]
        means = [np.diag(q[i].T @ gram(seen[i], i) @ q[i]) / rest[i] for i in axes]
        if damping:
            means = [x + eps * np.prod([np.mean(d[j] ** 2) for j in axes if j != i]) for i, x in enumerate(means)]
        d = [(beta / old**2 + (1 - beta) * x) ** -0.5 for old, x in zip(d, means, strict=True)]
        if t % 2 == 0:
            q = [np.linalg.qr(f @ x)[0] for f, x in zip(factors, q, strict=True)]
    method = jl.klshampoo(0.1, 0.8, 0.9, eps, 0.0, None, 0.5, None, update_interval=2, damping=damping)
    np.testing.assert_allclose(walk(method, wave(*shape), gs)[0], np.stack(expected), rtol=1e-9)


def test_klshampoo_clamps_and_normalises(float64):
    """With a factor of 1e-6 and no gradient to learn from, every d would grow beyond 1,000."""
    g, w = 1e-9 * gradients(4, 3), wave(4, 3)
    _, state = walk(jl.klshampoo(0.1, init_factor=1e-6), w, g)
    assert all(jnp.max(d) == 10 for d in state.d)
    ws, _ = walk(jl.klshampoo(0.1, weight_decay=0.0, normalize=True), w, gradients(4, 3))
    np.testing.assert_allclose(np.sqrt(np.mean(np.diff(ws, axis=0) ** 2, (1, 2))), 0.1, rtol=1e-9)


def test_vectors_beside_klshampoo_are_adams(float64):
    gs, w = gradients(5), wave(5)
    ws, _ = walk(jl.klshampoo(0.1, weight_decay=0.0), w, gs)
    np.testing.assert_allclose(ws, walk(jl.adam(0.1, 0.9, 0.98), w, gs)[0], rtol=1e-12)


# PSGD Kron


def test_psgd_kron_whitens_what_it_sees(float64):
    """Of gradients 30 times as large along one axis as along the others, the step has the same size everywhere."""
    gs = gradients(3, 4, steps=1500) * np.asarray([30.0, 1.0, 1.0])[:, None]
    kron = jl.psgd_kron(1.0, 0.0, update_probability=1.0, max_rms=np.inf)
    ws, _ = walk(kron, jnp.zeros((3, 4)), gs, key=None)
    steps = np.diff(ws, axis=0)[-500:]
    # The precision of a mean of 500 x 4 squares, and of factors that follow the last few dozen gradients.
    np.testing.assert_allclose(np.sqrt(np.mean(steps**2, (0, 2))), 1.0, rtol=0.2)


def test_psgd_kron_updates_at_even_steps(float64):
    """A quarter of all steps: the first and every fourth after it."""
    kron, w = jl.psgd_kron(0.1, update_probability=0.25), wave(3, 4)
    step: Any = jax.jit(kron.update)
    state: Any = kron.init(w)
    changed = []
    for g in gradients(3, 4, steps=9):
        before = state.q
        _, state = step(g, state, w)
        changed.append(bool(jnp.any(before[0] != state.q[0])))
    assert changed == [True, False, False, False] * 2 + [True]


@pytest.mark.parametrize(
    ("mode", "diagonal"),
    [(None, [0, 0]), ("one_diag", [0, 1]), ("smart_one_diag", [0, 1]), ("all_diag", [1, 1])],
)
def test_psgd_kron_saves_memory(mode, diagonal):
    state: Any = jl.psgd_kron(0.1, memory_save_mode=mode).init(jnp.ones((3, 4)))
    assert [q.ndim == 1 for q in state.q] == list(map(bool, diagonal))
    square: Any = jl.psgd_kron(0.1, memory_save_mode=mode).init(jnp.ones((3, 3)))
    alone = [0, 0] if mode == "smart_one_diag" else diagonal
    assert [q.ndim == 1 for q in square.q] == list(map(bool, alone))
    long: Any = jl.psgd_kron(0.1, max_size_triangular=3).init(jnp.ones((3, 4)))
    assert [q.ndim for q in long.q] == [2, 1]


def test_psgd_kron_takes_a_kernel_as_its_squarest_matrix(float64):
    gs, w, probe = gradients(2, 3, 4), wave(2, 3, 4), lambda key, t, like: jnp.cos(t + like)
    kron = jl.psgd_kron(0.1, probe=probe)
    flat, _ = walk(kron, w.reshape(6, 4), gs.reshape(-1, 6, 4))
    np.testing.assert_allclose(walk(kron, w, gs)[0].reshape(-1, 6, 4), flat, rtol=1e-12)
    apart: Any = jl.psgd_kron(0.1, merge_dims=False).init(w)
    assert len(apart.q) == 3


def test_psgd_kron_takes_large_matrices_one_after_the_other(float64, on_a_cpu, monkeypatch):
    """A CPU's way for two matrices of 66 x 65, of which no recorded run has any, gives what a batch of them gives."""
    w = {"a": wave(66, 65), "b": -wave(66, 65)[::-1], "bias": wave(65)}
    kron, found = jl.psgd_kron(0.1, update_probability=1.0), []
    for batched in (64, 100):
        monkeypatch.setattr("jaxopt_lab.optimizers._compiler.BATCHED", batched)
        step = lambda i, carry: kron.update(jax.tree.map(lambda x: jnp.cos(i * x), w), carry[1], w)
        program = jax.jit(lambda step=step: jax.lax.fori_loop(1, 4, step, (w, kron.init(w))))
        found.append(program())
    one_by_one, together = found
    assert optax.tree.norm(one_by_one[0]) > 0
    # Sums of products are in another order, and an inverse multiplies the difference.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), one_by_one, together)


def test_psgd_kron_draws_by_the_steps_key():
    g, w, kron = wave(3, 4), wave(3, 4), jl.psgd_kron(0.1)
    step = jax.jit(lambda key: kron.update(g, kron.init(w), w, key=key)[0])
    one, same, other = (step(jax.random.key(seed)) for seed in (1, 1, 2))
    assert jnp.array_equal(one, same)
    assert not jnp.array_equal(one, other)


# SPlus


def test_splus_steps_by_sign_first_and_averages_what_it_visits(float64):
    gs, w = gradients(3, 5), wave(3, 5)
    splus: Any = jl.splus(0.2, ema_rate=0.6, weight_decay=0.0)
    np.testing.assert_array_equal(splus.init(w).evaluation_params(w), w)
    ws, state = walk(splus, w, gs)
    np.testing.assert_allclose(ws[0], w - 0.2 * 2 / 8 * np.sign(gs[0]), rtol=1e-14)
    weights = 0.6 ** np.arange(len(gs))[::-1]
    mean = np.tensordot(weights, ws, 1) / weights.sum()
    np.testing.assert_allclose(state.evaluation_params(ws[-1]), mean, rtol=1e-12)


def test_splus_turned_steps_have_one_spectral_norm_times_the_root_of_both_sides(float64):
    """Q_L and Q_R do not change the Frobenius norm of a matrix of signs."""
    ws, state = walk(jl.splus(0.2, weight_decay=0.0, update_interval=2), wave(3, 5), gradients(3, 5))
    np.testing.assert_allclose(np.linalg.norm(np.diff(ws, axis=0), axis=(1, 2)), 0.2 * 2 / 8 * 15**0.5, rtol=1e-12)
    for q, factor in zip(state.q, state.factors, strict=True):
        turned = q.T @ factor @ q  # of the last step, which was the sixth
        np.testing.assert_allclose(turned, jnp.diag(jnp.diag(turned)), atol=1e-12)


# Costly work every few steps


def turn(q, t):
    return every(3, t, lambda q: jnp.linalg.qr(q)[0], lambda q: q, q)


def outside_conditions(jaxpr):
    """The names of all operations but those in the branches of conditions."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        if equation.primitive.name != "cond":
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
                if hasattr(inner, "eqns"):
                    yield from outside_conditions(inner)


def test_mapped_over_seeds_and_configurations_it_stays_a_condition():
    q, t = jnp.zeros((4, 5, 3, 3)), jnp.zeros((4, 5), int)
    plain = lambda q, t: jax.lax.cond(t % 3 == 0, lambda q: jnp.linalg.qr(q)[0], lambda q: q, q)
    names = lambda turn: {*outside_conditions(jax.make_jaxpr(jax.vmap(jax.vmap(turn)))(q, t).jaxpr)}
    assert "cond" in names(turn)
    assert not names(turn) & {"qr", "geqrf"}
    assert names(plain) & {"qr", "geqrf"}  # JAX's own becomes a selection of both


@pytest.mark.parametrize("mapped", ["both", "numbers of steps", "matrices"])
def test_mapped_it_is_what_each_would_be_alone(mapped):
    q, t = wave(4, 5, 3, 3), jnp.arange(20).reshape(4, 5)
    axes = {"both": (0, 0), "numbers of steps": (None, 0), "matrices": (0, None)}[mapped]
    q, t = q if axes[0] == 0 else q[0, 0], t if axes[1] == 0 else t[1, 4]
    found = jax.jit(jax.vmap(jax.vmap(turn, axes), axes))(q, t)
    each = [[turn(q[i, j] if q.ndim > 2 else q, t[i, j] if t.ndim else t) for j in range(5)] for i in range(4)]
    np.testing.assert_allclose(found, jnp.stack([jnp.stack(row) for row in each]), rtol=1e-6)


@pytest.mark.parametrize("due", [True, False])
def test_it_is_differentiated_as_a_condition_is(due, float64):
    loss = lambda choose: lambda x: jnp.sum(choose(x > 0, lambda x: x**3, lambda x: 2 * x, x))
    x = jnp.asarray([1.5, 2.0] if due else [-1.5, -2.0])
    each = lambda choose: jax.vmap(jax.grad(loss(choose)))(x)
    np.testing.assert_allclose(each(when), each(jax.lax.cond), rtol=1e-12)


def test_a_swept_trial_is_the_solo_run():
    """Also where the engine keeps arrays in another order of axes: seeds and configurations in one program."""
    x, y = wave(12, 5), wave(12, 3, phase=0.7)
    start = lambda key: {"w": 0.3 * jax.random.normal(key, (5, 3)), "b": jnp.zeros(3)}
    loss = lambda w, batch: jnp.mean((jnp.tanh(batch[0] @ w["w"] + w["b"][None]) - batch[1]) ** 2)
    task = jl.Task("small", start, loss, (x, y), batch_size=6)
    rates = [1e-3, 1e-2, 3e-2]
    soap = lambda learning_rate: jl.soap(learning_rate, update_interval=3)
    curves = lambda rates, seeds: (
        jl.sweep(soap, task, {"learning_rate": rates}, steps=10, seeds=seeds).dataset.train_loss
    )
    together = curves(rates, 2).values
    np.testing.assert_allclose(together[1, :1], curves(rates[1:2], 1).values[0], rtol=1e-5)


# Shapes, and what was wrong


def test_axes_are_joined():
    assert merged((2, 3, 4), 6) == (6, 4)
    assert merged((2, 3, 4), 24) == (24,)
    assert merged((2, 3, 4), 24, axes=2) == (6, 4)
    assert merged((2, 1, 4), 4) == (2, 4)
    assert merged((1, 1), 4) == (1,)
    assert merged((), 4) == ()
    assert merged((0, 3), 4) == (0, 3)
    assert squarest((2, 3, 4)) == (6, 4)
    assert squarest((3, 4)) == (3, 4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: jl.soap(0.1, update_interval=0), "update_interval=0"),
        (lambda: jl.shampoo(0.1, start=0), "start=0"),
        (lambda: jl.shampoo(0.1, grafting="lamb"), "got 'lamb'"),
        (lambda: jl.psgd_kron(0.1, memory_save_mode="diagonal"), "got 'diagonal'"),
        (lambda: jl.splus(0.1, max_dim=0), "max_dim=0"),
    ],
)
def test_what_was_wrong_is_said(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("method", METHODS)
def test_parameters_are_asked_for_and_tensors_are_not_joined(method):
    w = jnp.ones((2, 2))
    with pytest.raises(ValueError, match=r"call update\(grads, state, params\)"):
        method(0.1).update(w, method(0.1).init(w))
    with pytest.raises(ValueError, match="treats each tensor of the parameters by itself"):
        method(0.1).init(jl.flat({"w": w}))
