"""A small transformer that learns the transitions of a Markov chain, whose entropy rate no model can beat."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.checking import check_count
from jaxopt_lab.tasks.about import about
from jaxopt_lab.tasks.task import Task, task_function

SYMBOLS, CONTEXT, WIDTH, HEADS = 8, 16, 16, 2
INNER = 4 * WIDTH  # units of the feed-forward part
CHAIN_SEED, CONCENTRATION = 0, 0.5
HELD_OUT = 512  # sequences for validation and for test
MOST_LAYERS = 16


def chain(seed: int = CHAIN_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Draw a transition matrix, with rows of a symmetric Dirichlet distribution; return it and its stationary one."""
    rows = np.random.RandomState(seed).dirichlet([CONCENTRATION] * SYMBOLS, size=SYMBOLS)
    equations = np.vstack([rows.T - np.eye(SYMBOLS), np.ones(SYMBOLS)])  # p rows = p, and p sums to 1
    return rows, np.linalg.lstsq(equations, np.eye(SYMBOLS + 1)[-1], rcond=None)[0]


def entropy_rate(rows: np.ndarray, stationary: np.ndarray) -> float:
    """Return the entropy of the next symbol given all before it, in nats: sum_i p_i H(rows_i)."""
    return float(-stationary @ np.sum(rows * np.log(rows), axis=1))


def norm(x: jax.Array, gain: jax.Array) -> jax.Array:
    """Scale vectors to a root mean square of 1, then by `gain` (Zhang & Sennrich 2019)."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-5) * gain[None, None, :]


def attend(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Causal self-attention."""
    n, length, _ = x.shape
    split_heads = lambda y: y.reshape(n, length, HEADS, WIDTH // HEADS)
    q, k, v = map(split_heads, jnp.split(x @ layer["qkv"], 3, axis=-1))
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) * (WIDTH // HEADS) ** -0.5
    future = np.triu(np.ones((1, 1, length, length), bool), 1)
    weights = jax.nn.softmax(jnp.where(future, -jnp.inf, scores), axis=-1)
    return jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(n, length, WIDTH) @ layer["out"]


@about("sequence", 1000, "expected loss of at least the chain's entropy rate: Shannon 1948")
@task_function
def markov_transformer(layers: int = 1, sequences: int = 16) -> Task:
    """Predict the next of 8 symbols: a causal transformer on text of a first-order Markov chain, by cross-entropy.

    Pre-norm, with learned positions (Radford et al. 2019, GPT-2): width 16, 2 heads, context 16, feed-forward part of
    64 units, no biases. Matrices start normal with variance 1 / inputs, embeddings with standard deviation .1.

    Every batch is new text. The chain is fixed: the rows of its transition matrix are drawn from Dirichlet(1/2, ...).
    Texts start with a symbol of the stationary distribution. `minimum` is the chain's entropy rate, sum_i p_i H(P_i) in
    nats (Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x): no model has a smaller expected loss,
    and one that knows the transitions has this one. The loss of one batch can lie below it by chance. The metric
    `excess_loss` does not depend on chance so: it is the mean divergence of the predictions from the true
    distributions of the next symbol, >= 0.

    Args:
        layers: Pairs of attention and feed-forward part, 1 to 16.
        sequences: Sequences of a batch, each of 16 symbols to predict, >= 1.

    Raises:
        ValueError: An argument is out of range.

    """
    check_count("layers", layers, most=MOST_LAYERS)
    check_count("sequences", sequences)
    rows, stationary = chain()

    def text(count):
        """Make a function `key -> batch` of `count` sequences."""

        def draw(key):
            uniform = jax.random.uniform(key, (CONTEXT + 1, count, 1))
            # A symbol is the number of cumulative probabilities below a uniform number; the last is 1 but for rounding.
            below = jnp.asarray(np.cumsum(rows, axis=1)[:, :-1], uniform.dtype)
            start = jnp.asarray(np.cumsum(stationary)[None, :-1], uniform.dtype)
            symbols = [jnp.sum(uniform[0] > start, axis=-1)]
            for u in uniform[1:]:
                symbols.append(jnp.sum(u > below[symbols[-1]], axis=-1))
            drawn = jnp.stack(symbols, axis=1).astype("int32")
            return drawn[:, :-1], drawn[:, 1:]

        return draw

    def init(key):
        symbols, positions, last, *keys = jax.random.split(key, 3 + 4 * layers)
        matrix = lambda k, inputs, outputs: jax.random.normal(k, (inputs, outputs)) * inputs**-0.5
        layer = lambda qkv, out, up, down: {
            "qkv": matrix(qkv, WIDTH, 3 * WIDTH),
            "out": matrix(out, WIDTH, WIDTH),
            "up": matrix(up, WIDTH, INNER),
            "down": matrix(down, INNER, WIDTH),
            "attention_gain": jnp.ones(WIDTH),
            "inner_gain": jnp.ones(WIDTH),
        }
        return {
            "symbols": 0.1 * jax.random.normal(symbols, (SYMBOLS, WIDTH)),
            "positions": 0.1 * jax.random.normal(positions, (CONTEXT, WIDTH)),
            "layers": [layer(*keys[4 * i : 4 * i + 4]) for i in range(layers)],
            "gain": jnp.ones(WIDTH),
            "logits": matrix(last, WIDTH, SYMBOLS),
        }

    def predict(params, symbols):
        # A product rather than a lookup, whose gradient would scatter.
        x = jax.nn.one_hot(symbols, SYMBOLS, dtype=params["symbols"].dtype) @ params["symbols"]
        x = x + params["positions"][None]
        for layer in params["layers"]:
            x = x + attend(layer, norm(x, layer["attention_gain"]))
            x = x + jax.nn.gelu(norm(x, layer["inner_gain"]) @ layer["up"]) @ layer["down"]
        return norm(x, params["gain"]) @ params["logits"]

    def loss(params, batch):
        symbols, following = batch
        return optax.softmax_cross_entropy_with_integer_labels(predict(params, symbols), following).mean()

    def excess_loss(params, batch):
        found = jax.nn.log_softmax(predict(params, batch[0]), axis=-1)
        true = jnp.asarray(rows, found.dtype)[batch[0]]
        return jnp.mean(jnp.sum(true * (jnp.log(true) - found), axis=-1))

    return Task(
        name="markov_transformer",
        init=init,
        loss=loss,
        train=text(sequences),
        validation=text(HELD_OUT),
        test=text(HELD_OUT),
        metrics={"excess_loss": excess_loss},
        minimum=entropy_rate(rows, stationary),
        predict=predict,
    )
