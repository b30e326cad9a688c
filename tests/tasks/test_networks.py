"""Networks on digits, a transformer, a physics-informed network and the cart-pole, against plain NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.about import ABOUT
from jaxopt_lab.tasks.cart_pole import cart_pole, episodes_of
from jaxopt_lab.tasks.digits import digits_mlp
from jaxopt_lab.tasks.digits_autoencoder import digits_autoencoder
from jaxopt_lab.tasks.digits_cnn import digits_cnn
from jaxopt_lab.tasks.markov_transformer import chain, markov_transformer
from jaxopt_lab.tasks.pinn import pinn

MADE = {
    "digits_cnn": digits_cnn,
    "digits_cnn_batch_norm": lambda: digits_cnn(batch_norm=True),
    "digits_autoencoder": digits_autoencoder,
    "markov_transformer": markov_transformer,
    "pinn": pinn,
    "cart_pole": cart_pole,
}


def started(task, seed=0):
    """Return initial parameters, and the state or None."""
    made = jax.jit(task.init)(jax.random.key(seed))
    return made if task.is_stateful else (made, None)


def drawn(task, seed=0):
    return jax.jit(task.batch)(task.data[0], jax.random.key(seed), jnp.int32(0))


def measured(task, params, batch, **extra):
    """Return the loss and the metrics, by one program: operations one by one would compile a program each."""
    state = {"state": extra["state"]} if task.is_stateful else {}
    every = lambda params: (
        task.loss(params, batch, **extra),
        [m(params, batch, **state) for m in task.metrics.values()],
    )
    loss, metrics = jax.jit(every)(params)
    return loss, *metrics


def to_numpy(tree):
    return jax.tree.map(np.asarray, tree)


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


REFUSED = [
    (lambda: digits_cnn(batch_norm="no"), TypeError),
    (lambda: digits_cnn(batch_size=2000), ValueError),
    (lambda: digits_autoencoder(code=0), ValueError),
    (lambda: digits_autoencoder(code=65), ValueError),
    (lambda: digits_autoencoder(noise=-0.1), ValueError),
    (lambda: markov_transformer(layers=0), ValueError),
    (lambda: markov_transformer(sequences=0), ValueError),
    (lambda: pinn(points=0), ValueError),
    (lambda: pinn(width=0), ValueError),
    (lambda: pinn(depth=0), ValueError),
    (lambda: cart_pole(horizon=0), ValueError),
    (lambda: cart_pole(episodes=1), ValueError),
]


@pytest.mark.parametrize(("make", "error"), REFUSED)
def test_bad_arguments_are_refused(make, error):
    with pytest.raises(error):
        make()


def convolved(x, filters):
    """Sum over each window, one pixel at a time."""
    n, rows, columns, _ = x.shape
    out = np.zeros((n, rows - 2, columns - 2, filters.shape[-1]))
    for i, j in np.ndindex(rows - 2, columns - 2):
        out[:, i, j] = np.einsum("nabc,abco->no", x[:, i : i + 3, j : j + 3], filters)
    return out


def cnn_in_numpy(params, x, seen=None):
    """Return the logits and each layer's statistics; `seen` normalises by these, () by the batch's own."""
    *layers, dense = params
    h, found = x.reshape(-1, 8, 8, 1), []
    for i, layer in enumerate(layers):
        h = convolved(h, layer["weights"])
        flat = h.reshape(-1, h.shape[-1])
        found.append((flat.mean(0), flat.var(0)))
        if seen is None:
            h = h + layer["biases"]
        else:
            mean, variance = seen[i] if seen else found[-1]
            h = (h - mean) / np.sqrt(variance + 1e-5) * layer["scale"] + layer["shift"]
        h = np.maximum(h, 0)
    pooled = np.stack([h[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(0)
    return pooled.reshape(len(x), -1) @ dense["weights"] + dense["biases"], found


def disturbed(params, seed=0):
    """Add noise, so that no bias is 0 and no scale 1."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape), params)


def cnn_losses(outputs, y):
    return -log_softmax(outputs)[np.arange(len(y)), y].mean(), (outputs.argmax(1) == y).mean()


def test_the_convolutional_network_is_numpys(float64):
    task = digits_cnn()
    params, (x, y) = disturbed(started(task)[0]), drawn(task)
    loss, accuracy = cnn_losses(cnn_in_numpy(to_numpy(params), np.asarray(x))[0], np.asarray(y))
    assert measured(task, params, (x, y)) == pytest.approx((loss, accuracy), rel=1e-12)
    for split in ("train", "validation", "test"):
        for ours, other in zip(getattr(task, split), getattr(digits_mlp(), split), strict=True):
            np.testing.assert_array_equal(ours, other)


def test_batch_normalisation_is_numpys(float64):
    task = digits_cnn(batch_norm=True)
    params, state = started(task)
    params, (x, y) = disturbed(params), drawn(task)
    (trained, updated), _ = measured(task, params, (x, y), state=state, training=True)
    outputs, found = cnn_in_numpy(to_numpy(params), np.asarray(x), ())
    assert trained == pytest.approx(cnn_losses(outputs, np.asarray(y))[0], rel=1e-12)
    running = [(0.1 * mean, 0.9 + 0.1 * variance) for mean, variance in found]
    for ours, (mean, variance) in zip(updated, running, strict=True):
        np.testing.assert_allclose(ours["mean"], mean, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(ours["variance"], variance, rtol=1e-12)
    (held_out, unchanged), share = measured(task, params, (x, y), state=updated, training=False)
    loss, accuracy = cnn_losses(cnn_in_numpy(to_numpy(params), np.asarray(x), running)[0], np.asarray(y))
    assert held_out == pytest.approx(loss, rel=1e-12)
    assert share == accuracy
    jax.tree.map(np.testing.assert_array_equal, unchanged, updated)


def test_the_autoencoder_sees_noise_in_training_only(float64):
    task = digits_autoencoder(noise=0.5)
    params, x = disturbed(started(task)[0]), np.asarray(drawn(task))

    def restored(x):
        (a, b, c, d), relu = to_numpy(params), lambda h: np.maximum(h, 0)
        h = relu(x @ a["weights"] + a["biases"]) @ b["weights"] + b["biases"]
        return relu(h @ c["weights"] + c["biases"]) @ d["weights"] + d["biases"]

    assert measured(task, params, x, key=None) == pytest.approx((np.mean((restored(x) - x) ** 2),), rel=1e-12)
    key = jax.random.key(5)
    seen = x + 0.5 * np.asarray(jax.random.normal(key, x.shape))
    assert measured(task, params, x, key=key) == pytest.approx((np.mean((restored(seen) - x) ** 2),), rel=1e-12)


def test_the_autoencoders_reference_is_scikit_learns_pca():
    from sklearn.decomposition import PCA

    task = digits_autoencoder()
    pca = PCA(8, svd_solver="full").fit(task.train)
    left = np.mean((pca.inverse_transform(pca.transform(task.validation)) - task.validation) ** 2)
    assert 0 <= ABOUT[digits_autoencoder].score - left < 1e-4
    assert f"{left:.4f}"[1:] in ABOUT[digits_autoencoder].reference


def test_the_chain_is_stationary_and_its_entropy_rate_is_the_limit():
    rows, stationary = chain()
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.linalg.matrix_power(rows, 4096), np.tile(stationary, (8, 1)), atol=1e-12)
    # The entropy of n + 1 symbols less that of n, over all 8^4 texts.
    texts = stationary
    entropies = []
    for _ in range(4):
        entropies.append(-np.sum(texts * np.log(texts)))
        texts = texts[..., None] * rows
    assert markov_transformer().minimum == pytest.approx(entropies[3] - entropies[2], rel=1e-12)
    assert markov_transformer().minimum == pytest.approx(entropies[2] - entropies[1], rel=1e-12)


def test_texts_follow_the_chain():
    rows, stationary = chain()
    symbols, following = map(np.asarray, drawn(markov_transformer(sequences=20_000)))
    assert symbols.shape == (20_000, 16)
    np.testing.assert_array_equal(symbols[:, 1:], following[:, :-1])
    for column in (symbols[:, 0], following[:, -1]):  # five standard deviations are .018 at most
        np.testing.assert_allclose(np.bincount(column, minlength=8) / 20_000, stationary, atol=0.018)
    pairs = np.zeros((8, 8))
    np.add.at(pairs, (symbols.ravel(), following.ravel()), 1)
    error = pairs / pairs.sum(1, keepdims=True) - rows
    assert np.abs(error / np.sqrt(rows * (1 - rows) / pairs.sum(1, keepdims=True))).max() < 5
    true = -np.log(rows[symbols, following])
    deviation = true.mean(1).std() / np.sqrt(20_000)
    assert abs(true.mean() - markov_transformer().minimum) < 5 * deviation


def transformer_in_numpy(params, symbols):
    """Return the logits of one text, position by position and head by head."""
    norm = lambda v, gain: v / np.sqrt(np.mean(v**2, -1, keepdims=True) + 1e-5) * gain
    x = params["symbols"][symbols] + params["positions"]
    for layer in params["layers"]:
        q, k, v = np.split(norm(x, layer["attention_gain"]) @ layer["qkv"], 3, axis=1)
        mixed = np.zeros_like(x)
        for t, h in itertools.product(range(16), (slice(0, 8), slice(8, 16))):
            weights = np.exp(q[t, h] @ k[: t + 1, h].T / np.sqrt(8))
            mixed[t, h] = weights / weights.sum() @ v[: t + 1, h]
        x = x + mixed @ layer["out"]
        z = norm(x, layer["inner_gain"]) @ layer["up"]
        gelu = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
        x = x + gelu @ layer["down"]
    return norm(x, params["gain"]) @ params["logits"]


def test_the_transformer_is_numpys(float64):
    task = markov_transformer(layers=2, sequences=3)
    params, batch = disturbed(started(task)[0]), drawn(task)
    symbols, following = map(np.asarray, batch)
    log_p = np.stack([log_softmax(transformer_in_numpy(to_numpy(params), text)) for text in symbols])
    loss = -np.take_along_axis(log_p, following[..., None], -1).mean()
    rows = chain()[0][symbols]
    divergence = np.sum(rows * (np.log(rows) - log_p), -1).mean()
    assert measured(task, params, batch) == pytest.approx((loss, divergence), rel=1e-12)
    assert divergence > 0


def test_the_residual_is_that_of_finite_differences(float64):
    task = pinn(points=7, width=5, depth=2)
    params = to_numpy(disturbed(started(task)[0]))
    x, exact = task.train
    np.testing.assert_allclose(x[:, 0], [-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75], atol=1e-15)
    np.testing.assert_allclose(exact, np.sin(np.pi * x) + 0.1 * np.sin(3 * np.pi * x), atol=1e-15)

    def u(x):
        *hidden, last = params
        for layer in hidden:
            x = np.tanh(x @ layer["weights"] + layer["biases"])
        return x @ last["weights"] + last["biases"]

    step = 1e-3  # an error of order step^4, 1e-12 times the sixth derivative, and of rounding, 1e-16 / step^2
    second = lambda u: (
        (-u(x + 2 * step) + 16 * u(x + step) - 30 * u(x) + 16 * u(x - step) - u(x - 2 * step)) / (12 * step**2)
    )
    force = second(lambda x: np.sin(np.pi * x) + 0.1 * np.sin(3 * np.pi * x))
    loss = np.mean((second(u) - force) ** 2) + u(np.array([[-1.0]]))[0, 0] ** 2 + u(np.array([[1.0]]))[0, 0] ** 2
    error = np.linalg.norm(u(x) - exact) / np.linalg.norm(exact)
    residual, relative_error = measured(task, params, task.train)
    assert residual == pytest.approx(loss, rel=1e-7)
    assert relative_error == pytest.approx(error, rel=1e-12)


def test_the_network_of_few_parameters_claims_no_minimum():
    assert pinn().minimum == 0
    assert pinn(points=64, width=4, depth=1).minimum is None
    assert pinn(points=11, width=4, depth=1).minimum == 0  # 13 parameters, 13 equations


def played(start, forces):
    """Play one episode of the cart-pole, as Gym's `CartPoleEnv.step` does it; return the states and the return."""
    x, x_dot, theta, theta_dot = start
    states = []
    for force in forces:
        states.append((x, x_dot, theta, theta_dot))
        temp = (force + 0.05 * theta_dot**2 * np.sin(theta)) / 1.1
        theta_acc = (9.8 * np.sin(theta) - np.cos(theta) * temp) / (0.5 * (4 / 3 - 0.1 * np.cos(theta) ** 2 / 1.1))
        x_acc = temp - 0.05 * theta_acc * np.cos(theta) / 1.1
        x, x_dot = x + 0.02 * x_dot, x_dot + 0.02 * x_acc
        theta, theta_dot = theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc
        if abs(x) > 2.4 or abs(theta) > 12 * 2 * np.pi / 360:
            break
    return np.array(states), len(states)


def chance_of_right(params, states):
    first, last = params
    z = np.tanh(states @ first["weights"] + first["biases"]) @ last["weights"] + last["biases"]
    return 1 / (1 + np.exp(z[..., 0] - z[..., 1]))


def test_episodes_are_gyms(float64):
    task = cart_pole(horizon=60, episodes=16)
    params = to_numpy(disturbed(started(task)[0]))
    batch = drawn(task)
    assert np.abs(batch[0]).max() <= 0.05
    states, actions, rewards = map(np.asarray, jax.jit(episodes_of)(params, batch))
    lengths = []
    for i in range(16):
        expected, length = played(np.asarray(batch[0])[i], np.where(actions[:, i], 10.0, -10.0))
        np.testing.assert_allclose(states[:length, i], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(rewards[:, i], np.arange(60) < length)
        chosen = np.asarray(batch[1])[i] < chance_of_right(params, states[:, i])
        np.testing.assert_array_equal(actions[:length, i], chosen[:length])
        lengths.append(length)
    assert measured(task, params, batch)[1] == pytest.approx(np.mean(lengths))
    assert min(lengths) < 60


def test_the_surrogates_gradient_is_the_policy_gradient(float64):
    """Against the expected return over all 2^11 sequences of actions from one start, differentiated numerically."""
    horizon, episodes = 11, 16
    task = cart_pole(horizon=horizon, episodes=episodes)
    params, start = to_numpy(disturbed(started(task)[0])), np.array([0.02, 0.5, 0.05, 0.6])
    sequences = [played(start, force) for force in itertools.product((-10.0, 10.0), repeat=horizon)]
    choices = np.array(list(itertools.product((False, True), repeat=horizon)))
    lengths = np.array([length for _, length in sequences])
    assert lengths.min() < horizon - 2
    states = np.zeros((len(sequences), horizon, 4))
    for i, (visited, length) in enumerate(sequences):
        states[i, :length] = visited

    def expected(shift):
        moved = [params[0], {"weights": params[1]["weights"], "biases": np.array([0.0, shift]) + params[1]["biases"]}]
        right = chance_of_right(moved, states)
        return np.sum(np.prod(np.where(choices, right, 1 - right), axis=1) * lengths)

    assert expected(0.3) <= horizon
    exact = -(expected(1e-4) - expected(-1e-4)) / 2e-4 / horizon
    uniform = jax.random.uniform(jax.random.key(0), (4000, episodes, horizon))
    starts = jnp.tile(start[None], (episodes, 1))
    gradient = jax.grad(lambda params, uniform: task.loss(params, (starts, uniform)))
    found = jax.jit(jax.vmap(lambda u: gradient(params, u)[1]["biases"][1]))(uniform)
    deviation = float(found.std()) / np.sqrt(len(found))
    assert abs(float(found.mean()) - exact) < 4 * deviation
    assert abs(exact) > 20 * deviation  # so that a wrong sign or factor, such as 15 / 16, would show


# (task, learning rate of Adam, steps, least and greatest value of the main metric on validation data). Fewer steps than
# the tasks' own budgets. The transformer's 8,192 held-out symbols have a loss within .02 of the expected one.
REACHED = [
    pytest.param("digits_cnn_batch_norm", 0.01, 300, 0, 0.14, marks=pytest.mark.thorough),
    ("digits_autoencoder", 0.01, 3000, 0.015, 0.024),
    ("markov_transformer", 0.01, 300, 1.43 - 0.02, 1.43 + 0.04),
    ("pinn", 0.003, 1000, 0, 2e-3),
    ("cart_pole", 0.03, 60, 195, 200),
]


@pytest.mark.parametrize(("name", "rate", "steps", "least", "greatest"), REACHED)
def test_adam_reaches_the_reference(name, rate, steps, least, greatest, float32):
    results = jl.sweep(jl.adam, MADE[name](), {"learning_rate": rate}, steps=steps, record=steps, seeds=1)
    assert least <= results.best().value <= greatest
