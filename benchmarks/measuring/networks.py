"""Real models as a user would write them in plain JAX, with nothing of the package but `jl.Task`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring.handwritten import BATCH

import jaxopt_lab as jl

CHARACTERS, CONTEXT, WINDOWS, TEXT_BATCH = 64, 32, 8192, 16
WIDTH, HEADS, LAYERS = 32, 4, 2
CHANNELS, CLASSES, DROPOUT = (8, 16), 10, 0.1
EPSILON = 1e-5  # of both normalisations


def markov_text(length: int) -> np.ndarray:
    """Draw a text whose characters depend on the one before: an int32 array."""
    rng = np.random.default_rng(0)
    cumulative = np.cumsum(rng.dirichlet(np.full(CHARACTERS, 0.1), CHARACTERS), axis=1)
    text, uniform = np.zeros(length, np.int32), rng.uniform(size=length)
    for i in range(1, length):
        text[i] = min(np.searchsorted(cumulative[text[i - 1]], uniform[i]), CHARACTERS - 1)
    return text


def character_transformer() -> jl.Task:
    """Which character comes next? Two layers of causal attention, 30,000 parameters, without a state or a key."""
    windows = np.lib.stride_tricks.sliding_window_view(markov_text(WINDOWS + CONTEXT), CONTEXT + 1)
    causal = np.tril(np.ones((CONTEXT, CONTEXT), bool))

    def init(key):
        normal = lambda key, *shape, gain=1.0: jax.random.normal(key, shape) * gain / shape[0] ** 0.5

        def layer(key):
            keys = jax.random.split(key, 4)
            return {
                "attention_scale": jnp.ones(WIDTH),
                "queries_keys_values": normal(keys[0], WIDTH, 3 * WIDTH),
                "joined": normal(keys[1], WIDTH, WIDTH, gain=0.5),
                "hidden_scale": jnp.ones(WIDTH),
                "hidden": normal(keys[2], WIDTH, 4 * WIDTH),
                "hidden_biases": jnp.zeros(4 * WIDTH),
                "out": normal(keys[3], 4 * WIDTH, WIDTH, gain=0.5),
            }

        characters, positions, head, *layers = jax.random.split(key, 3 + LAYERS)
        return {
            "characters": 0.1 * jax.random.normal(characters, (CHARACTERS, WIDTH)),
            "positions": 0.1 * jax.random.normal(positions, (CONTEXT, WIDTH)),
            "layers": [layer(key) for key in layers],
            "head_scale": jnp.ones(WIDTH),
            "head": normal(head, WIDTH, CHARACTERS),
        }

    def normalised(x, scale):
        return scale * x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPSILON)

    def attended(layer, x):
        joint = normalised(x, layer["attention_scale"]) @ layer["queries_keys_values"]
        q, k, v = jnp.moveaxis(joint.reshape(*x.shape[:-1], 3, HEADS, WIDTH // HEADS), -3, 0)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / (WIDTH // HEADS) ** 0.5
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape) @ layer["joined"]

    def loss(params, batch):
        x = params["characters"][batch[:, :-1]] + params["positions"]
        for layer in params["layers"]:
            x += attended(layer, x)
            hidden = normalised(x, layer["hidden_scale"]) @ layer["hidden"] + layer["hidden_biases"]
            x += jax.nn.gelu(hidden) @ layer["out"]
        logits = normalised(x, params["head_scale"]) @ params["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:]).mean()

    return jl.Task("character_transformer", init, loss, train=windows.copy(), batch_size=TEXT_BATCH)


def convolutional_network() -> jl.Task:
    """Which digit is it? Two convolutions, max-pooling and a dense layer, without a state or a key."""
    task = batch_norm_network(max_pooling=True)

    def convolve(layer, x):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["filters"], (1, 1), "SAME", dimension_numbers=layout)
        return jax.nn.relu(x * layer["scale"] + layer["shift"])

    def loss(params, batch):
        x, y = batch
        for layer in params["convolutions"]:
            x = convolve(layer, x)
        logits = max_pooled(x).reshape(len(x), -1) @ params["head"]["weights"] + params["head"]["biases"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return dataclasses.replace(task, name="convolutional_network", init=lambda key: task.init(key)[0], loss=loss)


def max_pooled(x: jax.Array) -> jax.Array:
    """Halve images by the maximum of each 2 x 2 pixels."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def batch_norm_network(max_pooling: bool = False) -> jl.Task:
    """Which digit is it? Two convolutions with batch statistics, dropout before the last layer: a state and a key."""
    pixels, labels = jl.tasks.digits_mlp().train
    images = np.asarray(pixels, np.float32).reshape(-1, 8, 8, 1)

    def init(key):
        shapes = [(3, 3, 1, CHANNELS[0]), (3, 3, *CHANNELS), (4 * 4 * CHANNELS[1], CLASSES)]
        keys = jax.random.split(key, len(shapes))
        weights = [jax.random.normal(k, s) * (2 / np.prod(s[:-1])) ** 0.5 for k, s in zip(keys, shapes, strict=True)]
        params = {
            "convolutions": [
                {"filters": filters, "scale": jnp.ones(n), "shift": jnp.zeros(n)}
                for filters, n in zip(weights, CHANNELS, strict=False)
            ],
            "head": {"weights": weights[-1], "biases": jnp.zeros(CLASSES)},
        }
        return params, [{"mean": jnp.zeros(n), "variance": jnp.ones(n)} for n in CHANNELS]

    def convolve(layer, x, statistics, training):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["filters"], (1, 1), "SAME", dimension_numbers=layout)
        seen = {"mean": x.mean((0, 1, 2)), "variance": x.var((0, 1, 2))} if training else statistics
        x = (x - seen["mean"]) * jax.lax.rsqrt(seen["variance"] + EPSILON) * layer["scale"] + layer["shift"]
        return jax.nn.relu(x), jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, statistics, seen)

    def loss(params, batch, *, key, state, training):
        x, y = batch
        kept: list[Any] = []
        for layer, statistics in zip(params["convolutions"], state, strict=True):
            x, statistics = convolve(layer, x, statistics, training)
            kept.append(statistics)
        x = max_pooled(x) if max_pooling else x.reshape(len(x), 4, 2, 4, 2, -1).mean((2, 4))
        x = x.reshape(len(x), -1)
        if training:
            x *= jax.random.bernoulli(key, 1 - DROPOUT, x.shape) / (1 - DROPOUT)
        logits = x @ params["head"]["weights"] + params["head"]["biases"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), kept

    return jl.Task("batch_norm_network", init, loss, train=(images, labels), batch_size=BATCH)


def character_lstm() -> jl.Task:
    """Which character comes next? One LSTM of 64 units, as an inner scan over the characters."""
    transformer, units = character_transformer(), 2 * WIDTH

    def init(key):
        characters, cell, head = jax.random.split(key, 3)
        return {
            "characters": 0.1 * jax.random.normal(characters, (CHARACTERS, WIDTH)),
            "cell": jax.random.normal(cell, (WIDTH + units, 4 * units)) * (WIDTH + units) ** -0.5,
            "cell_biases": jnp.zeros(4 * units),
            "head": jax.random.normal(head, (units, CHARACTERS)) * units**-0.5,
        }

    def loss(params, batch):
        def step(carry, x):
            h, c = carry
            gates = jnp.concatenate([x, h], axis=-1) @ params["cell"] + params["cell_biases"]
            i, f, o, g = jnp.split(gates, 4, axis=-1)
            c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        x = jnp.moveaxis(params["characters"][batch[:, :-1]], 1, 0)
        zero = jnp.zeros((x.shape[1], units), x.dtype)
        logits = jax.lax.scan(step, (zero, zero), x)[1] @ params["head"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.moveaxis(batch[:, 1:], 1, 0)).mean()

    return dataclasses.replace(transformer, name="character_lstm", init=init, loss=loss)


def training_alone(task: jl.Task, batch_size: int) -> jl.Task:
    """Leave out what is not training: held-out data and metrics."""
    plain = {"validation": None, "test": None, "metrics": {}, "main_metric": "loss", "batch_size": batch_size}
    return dataclasses.replace(task, **plain)
