"""A convolutional network as a user would write it, with nothing of the package but `jl.Task`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring.handwritten import BATCH

import jaxopt_lab as jl

CHANNELS = (16, 32)


def digits_conv() -> jl.Task:
    """Which digit is it? A convolutional network on 8 x 8 images, as a user's own task."""
    pixels, labels = jl.tasks.digits_mlp().train
    images = np.asarray(pixels, np.float32).reshape(-1, 8, 8, 1)
    shapes = {"first": (3, 3, 1, CHANNELS[0]), "second": (3, 3, *CHANNELS), "head": (4 * 4 * CHANNELS[1], 10)}

    def init(key):
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        variance = {name: 2 / np.prod(shape[:-1]) for name, shape in shapes.items()}
        weights = {name: jax.random.normal(keys[name], shapes[name]) * variance[name] ** 0.5 for name in shapes}
        return {name: {"weights": w, "biases": jnp.zeros(w.shape[-1])} for name, w in weights.items()}

    def convolve(layer, x):
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, layer["weights"], (1, 1), "SAME", dimension_numbers=layout)
        return jax.nn.relu(y + layer["biases"])

    def loss(params, batch):
        x, y = batch
        x = convolve(params["second"], convolve(params["first"], x))
        x = x.reshape(len(x), 4, 2, 4, 2, -1).mean((2, 4)).reshape(len(x), -1)
        logits = x @ params["head"]["weights"] + params["head"]["biases"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return jl.Task("digits_conv", init, loss, train=(images, labels), batch_size=BATCH)
