"""What the newer relatives of Adam and of SGD promise beyond their records: the papers' forms, options and refusals."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, wave

MASK = {"weights": True, "biases": False}


def gradients(steps=12, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, 3))


def walk(optimizer: Any, gradients, w):
    """The parameters after every step, and the last state."""
    state, way = optimizer.init(w), []
    for g in gradients:
        updates, state = optimizer.update(g, state, w)
        w = optax.apply_updates(w, updates)
        way.append(w)
    return way, state


def assert_way(optimizer, expected, w, gradients):
    way, _ = walk(optimizer, [jnp.asarray(g) for g in gradients], jnp.asarray(w))
    np.testing.assert_allclose(np.stack(way), np.stack(expected), rtol=1e-12, atol=1e-14)


# The papers' forms, where they differ from the authors' code


def test_adabound_as_the_paper(float64):
    """Algorithm 2 in NumPy: nothing is corrected, and the clipped rate falls with the root of t."""
    rate, b1, b2, final, gamma, decay = 0.1, 0.8, 0.9, 0.05, 0.2, 1e-2
    w, m, v, v_max, expected = np.array([1.0, -0.5, 2.0]), 0.0, 0.0, 0.0, []
    for t, g in enumerate(gradients(), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        v_max = np.maximum(v_max, v)
        lower, upper = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        w = w - np.clip(rate / np.sqrt(v_max), lower, upper) / np.sqrt(t) * m - decay * w
        expected.append(w)
    flags = {"amsbound": True, "bias_correction": False, "over_root_t": True}
    assert_way(jl.adabound(rate, b1, b2, final, gamma, 0.0, decay, **flags), expected, [1.0, -0.5, 2.0], gradients())


@pytest.mark.parametrize("clip_decay", [False, True])
def test_stable_adamw_clips_the_step_and_as_the_paper_its_decay(clip_decay, float64):
    rate, b1, b2, eps, decay, threshold = 0.1, 0.8, 0.9, 1e-3, 0.3, 0.6
    w, m, v, expected = np.array([1.0, -0.5, 2.0]), 0.0, 0.0, []
    for t, g in enumerate(gradients(), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        rms = np.sqrt(np.mean(g**2 / np.maximum(v_hat, eps**2)))
        clipped = rate / max(1, rms / threshold)
        w = w - clipped * m_hat / (np.sqrt(v_hat) + eps) - (clipped if clip_decay else rate) * decay * w
        expected.append(w)
    optimizer = jl.stable_adamw(rate, b1, b2, eps, decay, threshold, clip_decay=clip_decay)
    assert_way(optimizer, expected, [1.0, -0.5, 2.0], gradients())


@pytest.mark.parametrize("eps_before", [False, True])
def test_grams_adds_eps_after_or_before_the_correction(eps_before, float64):
    rate, b1, b2, eps = 0.1, 0.8, 0.9, 0.3
    w, m, v, expected = np.array([1.0, -0.5, 2.0]), 0.0, 0.0, []
    for t, g in enumerate(gradients(), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        correct = np.sqrt(1 - b2**t)
        root = (np.sqrt(v) + eps) / correct if eps_before else np.sqrt(v) / correct + eps
        w = w - rate * np.sign(g) * np.abs(m / (1 - b1**t) / root)
        expected.append(w)
    optimizer = jl.grams(rate, b1, b2, eps, eps_before_correction=eps_before)
    assert_way(optimizer, expected, [1.0, -0.5, 2.0], gradients())


def test_laprop_weighs_past_steps_by_their_rates(float64):
    """A mean of scaled gradients with the rates among its weights, times the present rate."""
    rates = 0.1 / np.sqrt(1 + np.arange(12))
    w, v, scaled, expected = np.array([1.0, -0.5, 2.0]), 0.0, [], []
    for t, g in enumerate(gradients(), 1):
        v = 0.9 * v + 0.1 * g**2
        scaled.append(g / np.sqrt(v / (1 - 0.9**t)))
        weights = np.array([0.8 ** (t - i) * rates[i - 1] for i in range(1, t + 1)])
        w = w - rates[t - 1] * np.average(scaled, 0, weights)
        expected.append(w)
    schedule = lambda t: 0.1 / jnp.sqrt(1.0 + t)
    assert_way(jl.laprop(schedule, 0.8, 0.9, 0.0), expected, [1.0, -0.5, 2.0], gradients())


def test_sgdp_keeps_its_momentum_as_the_paper(float64):
    """One matrix of one output, whose gradient is orthogonal to it: every step is projected, the momentum is not."""
    w = np.array([[3.0], [4.0]])
    optimizer: Any = jl.sgdp(0.1, 0.9, keep_projected=False)
    kept: Any = jl.sgdp(0.1, 0.9)
    across, along = np.array([[-4.0], [3.0]]), np.array([[3.0], [4.0]])
    state, kept_state = (o.init(jnp.asarray(w))._replace(m=jnp.asarray(along)) for o in (optimizer, kept))
    updates, state = optimizer.update(jnp.asarray(across), state, jnp.asarray(w))
    kept_updates, kept_state = kept.update(jnp.asarray(across), kept_state, jnp.asarray(w))
    np.testing.assert_allclose(updates, -0.1 * across, rtol=1e-7)  # but for eps beside |w|
    np.testing.assert_allclose(kept_updates, updates, rtol=1e-12)
    np.testing.assert_allclose(state.m, across + 0.9 * along, rtol=1e-12)
    np.testing.assert_allclose(kept_state.m, across, rtol=1e-7)


# Projection


@pytest.mark.parametrize("name", ["adamp", "sgdp"])
@pytest.mark.parametrize("output_axis", [0, -1])
def test_scale_invariant_weights_are_not_lengthened(name, output_axis, float64):
    """Of a loss of each output's direction alone, w is orthogonal to every step, and decays by less."""
    w, target = wave(4, 5), wave(4, 5, phase=2.0)
    inputs = 1 if output_axis == 0 else 0
    loss = lambda w: -jnp.sum(target * w / jnp.linalg.norm(w, axis=inputs, keepdims=True))
    optimizer: Any = jl.OPTIMIZERS[name](0.01, output_axis=output_axis)
    state = optimizer.init(w)
    for _ in range(10):
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        assert np.abs(jnp.sum(updates * w, inputs)).max() < 1e-7 * jnp.linalg.norm(updates) * jnp.linalg.norm(w)
        w = w + updates


@pytest.mark.parametrize("name", ["adamp", "sgdp"])
def test_what_is_not_scale_invariant_is_left_alone(name, float64):
    """Neither where g has a part along w, nor a vector; and there decay is whole."""
    w, g = {"a": wave(3, 2), "b": wave(4)}, {"a": wave(3, 2) + 0.1, "b": wave(4, phase=1.0)}
    step = lambda **options: (o := jl.OPTIMIZERS[name](0.1, **options)).update(g, o.init(w), w)[0]
    jax.tree.map(np.testing.assert_array_equal, step(), step(delta=0.0))
    decayed = jax.tree.map(lambda plain, w: plain - 0.1 * 0.5 * w, step(), w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), step(weight_decay=0.5), decayed)


# Decay


@pytest.mark.parametrize(
    "name",
    ["laprop", "adamp", "sgdp", "qhadam", "qhm", "adabound", "came", "adam_mini", "stable_adamw", "grams"],
)
def test_what_is_masked_does_not_decay(name, float64):
    w, factory = PROBLEMS["mlp"].start(), jl.OPTIMIZERS[name]
    g = PROBLEMS["mlp"].gradient(w)

    def stepped(decay, mask=None):
        optimizer: Any = factory(0.01, weight_decay=decay, mask=mask)
        return optimizer.update(g, optimizer.init(w), w)[0]

    plain, whole, masked = stepped(0.0), stepped(0.5), stepped(0.5, MASK)
    jax.tree.map(np.testing.assert_array_equal, masked["biases"], plain["biases"])
    jax.tree.map(np.testing.assert_array_equal, masked["weights"], whole["weights"])
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(plain), strict=True))


@pytest.mark.parametrize("name", ["laprop", "adabound"])
def test_decay_is_not_multiplied_by_the_rate(name, float64):
    w, zero = jnp.asarray([1.0, -2.0]), jnp.zeros(2)
    for rate in (1e-3, 1.0):
        optimizer: Any = jl.OPTIMIZERS[name](rate, weight_decay=0.1)
        np.testing.assert_allclose(optimizer.update(zero, optimizer.init(w), w)[0], -0.1 * w, rtol=1e-14)
    without: Any = jl.OPTIMIZERS[name](0.1)
    without.update(zero, without.init(w))
    with pytest.raises(ValueError, match=rf"{name} decays the parameters"):
        optimizer.update(zero, optimizer.init(w))


@pytest.mark.parametrize("decay_of", ["z", "y"])
def test_gpa_decays_one_of_its_points_and_moves_the_other(decay_of, float64):
    """Written with x, y and z, where x follows from the other two before every step."""
    rate, decay, mu_y, mu_x = 0.1, 0.3, 0.7, 0.9
    optimizer: Any = jl.gpa_adamw(rate, 0.0, 0.0, 0.0, decay, mu_y, mu_x, decay_of=decay_of)
    y = z = np.array([1.0, -0.5, 2.0])
    state = optimizer.init(jnp.asarray(y))
    for g in gradients():
        updates, state = optimizer.update(jnp.asarray(g), state, jnp.asarray(y))
        shrunk_y, shrunk_z = ((1 - rate * decay) ** (point == decay_of) * at for point, at in (("y", y), ("z", z)))
        x, z = (shrunk_y - (1 - mu_y) * shrunk_z) / mu_y, shrunk_z - rate * np.sign(g)
        x = mu_x * x + (1 - mu_x) * z
        y = y + np.asarray(updates)
        np.testing.assert_allclose(y, (1 - mu_y) * z + mu_y * x, rtol=1e-12)
        np.testing.assert_allclose(state.evaluation_params(jnp.asarray(y)), x, rtol=1e-12)


def test_gpa_knows_what_may_decay():
    with pytest.raises(ValueError, match=r"decay_of must be one of .*got 'x'"):
        jl.gpa_adamw(0.1, decay_of="x")


# Blocks that share a number


def test_a_block_has_one_second_moment(float64):
    """The axes of a leaf, all, none, and by a function of the parameters, as the docstring of Adam-mini has it."""
    w = {"kernel": wave(3, 4), "bias": wave(4, phase=1.0)}
    shapes = lambda shared: {name: v.shape for name, v in jl.adam_mini(0.1, shared=shared).init(w).v.items()}

    def by_name(params):
        by_name = lambda path, w: False if "bias" in jax.tree_util.keystr(path) else tuple(range(w.ndim - 1))
        return jax.tree_util.tree_map_with_path(by_name, params)

    assert shapes(True) == {"kernel": (1, 1), "bias": (1,)}
    assert shapes({"kernel": -1, "bias": False}) == {"kernel": (3, 1), "bias": (4,)}
    assert shapes(by_name) == {"kernel": (1, 4), "bias": (4,)}
    optimizer: Any = jl.adam_mini(0.1, eps=0.0, shared={"kernel": 0, "bias": True})
    updates, _ = optimizer.update(w, optimizer.init(w), w)
    expected = lambda g, axes: -0.1 * g / np.sqrt(np.mean(np.square(g), axes, keepdims=True))
    np.testing.assert_allclose(updates["kernel"], expected(w["kernel"], 0), rtol=1e-12)
    np.testing.assert_allclose(updates["bias"], expected(w["bias"], None), rtol=1e-12)


@pytest.mark.parametrize("name", ["adam_mini", "amos", "adahessian"])
@pytest.mark.parametrize("said", [1, (0, -2), "rows", 0.5])
def test_axes_that_a_parameter_lacks_are_refused(name, said):
    optimizer = jl.OPTIMIZERS[name](0.1, shared=said)
    with pytest.raises(ValueError, match=r"A parameter of shape \(4,\) cannot share numbers along axes"):
        optimizer.init({"b": jnp.ones(4)})


def test_amos_tells_tensors_apart_only_where_it_is_told_to():
    held = jl.flat({"a": jnp.ones((2, 3)), "b": jnp.ones(2)})
    jl.amos(0.1, 0.5).init(held)
    for optimizer in (jl.amos(0.1, shared=True), jl.amos(0.1, {"a": 1.0, "b": 2.0})):
        with pytest.raises(ValueError, match="amos with shared axes or a tree of scales treats each tensor"):
            optimizer.init(held)


def test_amos_brings_weights_of_noise_to_the_scale_that_was_asked_for(float64):
    """Without a signal, the decay and the noise of the steps balance at a scale in proportion to eta."""
    noise = jax.random.normal(jax.random.key(0), (400, 1000))

    def end(eta):
        optimizer: Any = jl.amos(0.3, eta)
        step = lambda carry, g: ((carry[0] + (u := optimizer.update(g, carry[1], carry[0]))[0], u[1]), None)
        w = jnp.zeros(1000)
        return jnp.std(jax.lax.scan(step, (w, optimizer.init(w)), noise)[0][0])

    scales = jnp.asarray([0.5, 1.0, 2.0])
    found = jax.vmap(end)(scales) / scales
    assert np.all((found > 0.3) & (found < 3.0)), found


# AdaHessian


def test_adahessian_takes_newtons_step_where_the_hessian_is_diagonal(float64):
    curvatures, w = jnp.asarray([0.1, 2.0, 30.0]), jnp.asarray([3.0, -1.0, 0.2])
    loss = lambda w: jnp.sum(curvatures * w**2) / 2
    optimizer: Any = jl.adahessian(1.0, 0.0, 0.0, 0.0)
    updates, _ = optimizer.update(jax.grad(loss)(w), optimizer.init(w), w, value_fn=loss)
    np.testing.assert_allclose(updates, -w, rtol=1e-12)


@pytest.mark.parametrize("absolute", [True, False])
def test_adahessian_averages_over_the_positions_of_a_kernel(absolute, float64):
    """Without signs as the authors' code, with them as the paper."""
    w = {"kernel": wave(3, 3, 2, 4), "dense": wave(2, 4)}
    optimizer: Any = jl.adahessian(0.1, absolute=absolute, hessian_diagonal_fn=lambda value_fn, w, g, key: w)
    _, state = optimizer.update(w, optimizer.init(w), w, value_fn=lambda w: 0.0)
    expected = 1e-3 * np.mean(np.abs(w["kernel"]) if absolute else w["kernel"], (0, 1), keepdims=True) ** 2
    np.testing.assert_allclose(state.h["kernel"], expected, rtol=1e-12)
    np.testing.assert_allclose(state.h["dense"], 1e-3 * np.square(w["dense"]), rtol=1e-12)


def test_adahessian_draws_by_its_own_key_where_it_is_given_none(float64):
    """New signs in every step; and with a key those of the key."""
    loss, w = lambda w: jnp.prod(jnp.sin(w)), jnp.arange(1.0, 5.0)
    optimizer: Any = jl.adahessian(0.1, 0.0, 0.0)
    g = jax.grad(loss)(w)
    first, state = optimizer.update(g, optimizer.init(w), w, value_fn=loss)
    second, _ = optimizer.update(g, state, w, value_fn=loss)
    assert (first != second).any()
    given = lambda seed: optimizer.update(g, state, w, value_fn=loss, key=jax.random.key(seed))[0]
    np.testing.assert_array_equal(given(3), given(3))
    assert (given(3) != given(4)).any()


# Averages, and steps that are found


def test_asgd_averages_its_iterates(float64):
    """From the second on where the average starts at 0; the answer is w itself until it starts."""
    way, state = walk(jl.asgd(0.1, 0.01, averaging_start=0.0), map(jnp.asarray, gradients()), jnp.ones(3))
    np.testing.assert_allclose(state.evaluation_params(way[-1]), np.mean(way[1:], 0), rtol=1e-12)
    way, state = walk(jl.asgd(0.1), map(jnp.asarray, gradients()), jnp.ones(3))
    np.testing.assert_array_equal(state.evaluation_params(way[-1]), way[-1])


def test_schedule_free_radam_waits_until_the_variance_is_known(float64):
    """At b2 = 0.999 four steps go by; not silent, these are steps along the gradient."""
    w, g = jnp.ones(3), [jnp.asarray(g) for g in gradients(6)]
    way, _ = walk(jl.schedule_free_radam(0.1), g, w)
    assert [bool((at == w).all()) for at in way] == [True] * 4 + [False] * 2
    loud, state = walk(jl.schedule_free_radam(0.1, silent_sgd_phase=False), g[:1], w)
    np.testing.assert_allclose(loud[0], w - 0.1 * g[0], rtol=1e-12)
    np.testing.assert_allclose(state.evaluation_params(loud[0]), loud[0], rtol=1e-12)


def test_dadapt_sgd_finds_the_distance(float64):
    """On |w - 5|, whose minimum is 5 away: the estimate never falls, and theory bounds it by twice that."""
    optimizer: Any = jl.dadapt_sgd()

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jnp.sign(w - 5.0), state, w)
        return (w + updates, state), state.d

    w = jnp.zeros([])
    _, d = jax.lax.scan(step, (w, optimizer.init(w)), length=200)
    assert (np.diff(d) >= 0).all()
    assert 2.5 < d[-1] <= 10.0


def test_aggmo_takes_decays_that_are_traced(float64):
    g = [jnp.asarray(g) for g in gradients()]
    end = lambda betas: walk(jl.aggmo(0.1, betas=betas), g, jnp.ones(3))[0][-1]
    expected = jnp.stack([end((0.5, 0.9)), end((0.0, 0.99))])
    np.testing.assert_allclose(jax.vmap(end)((jnp.asarray([0.5, 0.0]), jnp.asarray([0.9, 0.99]))), expected, rtol=1e-12)


def test_aggmo_counts_its_momenta():
    with pytest.raises(ValueError, match="count must be at least 1, got count=0"):
        jl.aggmo(0.1, count=0)
    assert len(jl.aggmo(0.1, count=5).init(jnp.ones(2)).m) == 5


@pytest.mark.parametrize("name", ["adabound", "grams", "laprop", "qhadam", "adamp", "mirror_madgrad", "stable_adamw"])
def test_what_has_no_gradient_does_not_move(name):
    way, _ = walk(jl.OPTIMIZERS[name](0.1, weight_decay=0.0), [jnp.zeros((2, 2))] * 5, jnp.ones((2, 2)))
    np.testing.assert_array_equal(way[-1], 1.0)
