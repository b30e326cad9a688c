"""Handwritten digits, 8 x 8 pixels: a small convolutional network, with or without batch normalisation."""

import math

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.checking import check_flag
from jaxopt_lab.tasks._data import load, split
from jaxopt_lab.tasks._models import accuracy, cross_entropy
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

SIDE, WHITE, CLASSES = 8, 16, 10
WINDOW = 3  # a filter sees 3 x 3 pixels
CHANNELS = (1, 8, 16)
POOLED = 2 * 2 * CHANNELS[-1]  # 8 x 8 pixels are 6 x 6, then 4 x 4 after the filters, and 2 x 2 after pooling
KEEP, EPS = 0.9, 1e-5  # of the running statistics at a step, and beneath the root: the usual values


def convolve(x: jax.Array, filters: jax.Array) -> jax.Array:
    """Convolve images (channels, height, width, n) with filters (height, width, in, out), without padding.

    One product with all windows, because XLA's convolution of many trials with weights of their own is a grouped one,
    which a CPU runs slowly: 8 trials of this network under `jit(vmap(grad))` take 0.4 ms a step and trial on one core,
    with `lax.conv_general_dilated` 7 ms. Channels come first and images last, because windows are then copied in long
    pieces and the product is wide: a step takes 0.7 of the time with channels last.
    """
    (height, width, _, out), (_, rows, columns, n) = filters.shape, x.shape
    rows, columns = rows - height + 1, columns - width + 1
    windows = [x[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    flat = jnp.concatenate(windows).reshape(-1, rows * columns * n)
    return (filters.reshape(-1, out).T @ flat).reshape(out, rows, columns, n)


def max_pool(x: jax.Array) -> jax.Array:
    """Return the maxima of blocks of 2 x 2 pixels (channels, height, width, n)."""
    channels, rows, columns, n = x.shape
    return x.reshape(channels, rows // 2, 2, columns // 2, 2, n).max((2, 4))


def normalise(x: jax.Array, layer: dict[str, jax.Array], seen: dict[str, jax.Array]) -> jax.Array:
    """Normalise channels by the statistics `seen`, then scale and shift them."""
    scale = layer["scale"] * jax.lax.rsqrt(seen["variance"] + EPS)
    return (x - by_channel(seen["mean"])) * by_channel(scale) + by_channel(layer["shift"])


def by_channel(v: jax.Array) -> jax.Array:
    """Return numbers for each channel in the shape that goes with images."""
    return v[:, None, None, None]


@about("network", 800, "validation loss of about .10, test accuracy of about .98: trained here", 0.13)
@task_function
def digits_cnn(batch_norm: bool = False, batch_size: int | None = 64) -> Task:
    """Which digit is it? A convolutional network, by mean cross-entropy.

    Two layers of 3 x 3 filters (8, then 16) with ReLU, 2 x 2 max-pooling, and a dense layer to 10 classes; no padding.
    1,797 images of 8 x 8 pixels in [0, 1] (scikit-learn's `load_digits`), split as for `digits_mlp`. Weights start
    normal with variance 2 / inputs (He et al. 2015, https://arxiv.org/abs/1502.01852), biases at 0.

    Args:
        batch_norm: Whether each layer of filters is followed by batch normalisation (Ioffe & Szegedy 2015,
            https://arxiv.org/abs/1502.03167) in place of its biases: by the statistics of the batch in training, by
            their running means, which the loss keeps as its state, on held-out data.
        batch_size: Images per step; None takes all of them.

    Raises:
        ValueError: The batch is larger than the data.

    """
    check_flag("batch_norm", batch_norm)

    def init(key):
        shapes = [(WINDOW, WINDOW, *CHANNELS[:2]), (WINDOW, WINDOW, *CHANNELS[1:]), (POOLED, CLASSES)]
        weights = [
            jax.random.normal(k, s) * (2 / math.prod(s[:-1])) ** 0.5
            for k, s in zip(jax.random.split(key, len(shapes)), shapes, strict=True)
        ]
        *filters, dense = [{"weights": w, "biases": jnp.zeros(w.shape[-1:])} for w in weights]
        if not batch_norm:
            return [*filters, dense]
        # Biases would be subtracted again with the mean.
        ones = [jnp.ones(channels) for channels in CHANNELS[1:]]
        layers = [
            {"weights": f["weights"], "scale": one, "shift": 0 * one} for f, one in zip(filters, ones, strict=True)
        ]
        return [*layers, dense], [{"mean": 0 * one, "variance": one} for one in ones]

    def logits(params, x, state=None, training=False):
        """Return the logits, and the statistics by which each layer was normalised."""
        *layers, dense = params
        h, seen = x.T.reshape(1, SIDE, SIDE, -1), []
        for i, layer in enumerate(layers):
            h = convolve(h, layer["weights"])
            if state is None:
                h = h + by_channel(layer["biases"])
            else:
                seen.append({"mean": h.mean((1, 2, 3)), "variance": h.var((1, 2, 3))} if training else state[i])
                h = normalise(h, layer, seen[-1])
            h = jax.nn.relu(h)
        flat = jnp.moveaxis(max_pool(h), 0, 2).reshape(POOLED, -1)
        return (dense["weights"].T @ flat).T + dense["biases"][None, :], seen

    def plain(params, x):
        return logits(params, x)[0]

    def normalised(params, x, *, state):
        return logits(params, x, state)[0]

    def normalised_loss(params, batch, *, state, training):
        x, y = batch
        outputs, seen = logits(params, x, state, training)
        if training:
            state = jax.tree.map(lambda old, new: KEEP * old + (1 - KEEP) * new, state, seen)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), state

    def normalised_accuracy(params, batch, *, state):
        return accuracy(lambda params, x: normalised(params, x, state=state))(params, batch)

    pixels, labels = load("digits")
    return Task(
        name="digits_cnn_batch_norm" if batch_norm else "digits_cnn",
        init=init,
        loss=normalised_loss if batch_norm else cross_entropy(plain),
        metrics={"accuracy": normalised_accuracy if batch_norm else accuracy(plain)},
        batch_size=batch_size,
        predict=normalised if batch_norm else plain,
        **split(pixels / WHITE, labels.astype("int32"), holdout=True),
    )
