"""The Task contract: batches, data, and users' own models."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.sampling import batch_indices, shuffled


def make(**changes):
    defaults = {
        "name": "mine",
        "init": lambda key: jax.random.normal(key, (2,)),
        "loss": lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2),
        "train": (np.arange(20.0).reshape(10, 2), np.arange(10.0)),
    }
    return jl.Task(**(defaults | changes))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 100, 1257, 60_000])
def test_shuffle_is_a_permutation(n):
    order = np.asarray(shuffled(jax.random.key(n), jnp.arange(n), n))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_shuffle_sends_every_position_everywhere_equally_often():
    draws, n = 50_000, 10
    order = jax.vmap(lambda key: shuffled(key, jnp.arange(n), n))(jax.random.split(jax.random.key(0), draws))
    counts = np.stack([np.bincount(column, minlength=n) for column in np.asarray(order).T])
    chi2 = ((counts - draws / n) ** 2 / (draws / n)).sum()
    assert chi2 < 140  # 81 degrees of freedom: 99.99th percentile 135


@pytest.mark.parametrize(("examples", "size"), [(10, 3), (10, 1), (10, 10), (64, 16)])
def test_an_epoch_sees_every_example_at_most_once(examples, size):
    key, per_epoch = jax.random.key(1), examples // size
    epochs = [
        np.concatenate([batch_indices(key, jnp.int32(e * per_epoch + i), examples, size) for i in range(per_epoch)])
        for e in range(2)
    ]
    for seen in epochs:
        assert len(set(seen.tolist())) == per_epoch * size
        assert seen.min() >= 0
        assert seen.max() < examples
    if size < examples:
        assert epochs[0].tolist() != epochs[1].tolist()


def test_batches_are_pure_in_key_and_step():
    task = make(batch_size=4)
    at = jax.jit(lambda key, step: task.batch(task.data[0], key, step))
    x, y = at(jax.random.key(0), 7)
    again = at(jax.random.key(0), 7)
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(x[:, 0], 2 * y)  # inputs and targets stay together
    assert not np.array_equal(y, at(jax.random.key(1), 7)[1])
    assert not np.array_equal(y, at(jax.random.key(0), 8)[1])


def test_endless_data_are_drawn_from_the_key():
    task = make(train=lambda key: (jax.random.normal(key, (5, 2)), jnp.zeros(5)), validation=make().train)
    first, second = (task.batch(None, jax.random.key(0), jnp.int32(t))[0] for t in (0, 1))
    assert not np.array_equal(first, second)
    results = jl.sweep(jl.sgd, task, {"learning_rate": [0.1]}, steps=50)
    assert float(results.dataset.train_loss[0, 0, -1]) < 1e-3
    assert "validation_loss" in results.dataset


def test_endless_held_out_data_are_fixed():
    task = make(validation=lambda key: (jax.random.normal(key, (5, 2)), jnp.zeros(5)))
    np.testing.assert_array_equal(task.data[1][0], jax.random.normal(jax.random.key(0), (5, 2)))


def test_replace_says_why_it_cannot():
    with pytest.raises(ValueError, match="made directly"):
        make().replace(width=3)
    with pytest.raises(ValueError, match="Did you mean 'width'"):
        jl.tasks.digits_mlp().replace(widht=3)


# A user's own models: the same regression in plain JAX, Flax NNX and Equinox.

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = np.sin(X.sum(1))


def plain_jax_task():
    def init(key):
        k1, k2 = jax.random.split(key)
        return {"a": jax.random.normal(k1, (3, 8)), "b": jax.random.normal(k2, (8,)) / 8}

    def loss(params, batch):
        x, y = batch
        return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)

    return jl.Task("plain JAX", init, loss, train=(X, Y), validation=(X, Y), batch_size=16)


def flax_task():
    from flax import nnx

    def model(rngs):
        return nnx.Sequential(nnx.Linear(3, 8, rngs=rngs), nnx.tanh, nnx.Linear(8, 1, rngs=rngs))

    graph = nnx.split(model(nnx.Rngs(0)))[0]

    def init(key):
        return nnx.to_pure_dict(nnx.state(model(nnx.Rngs(params=key)), nnx.Param))

    def loss(params, batch):
        x, y = batch
        state = nnx.state(nnx.eval_shape(lambda: model(nnx.Rngs(0))), nnx.Param)
        nnx.replace_by_pure_dict(state, params)
        return jnp.mean((nnx.merge(graph, state)(x)[:, 0] - y) ** 2)

    return jl.Task("Flax NNX", init, loss, train=(X, Y), validation=(X, Y), batch_size=16)


def equinox_task():
    import equinox as eqx

    def init(key):
        return eqx.filter(eqx.nn.MLP(3, "scalar", 8, 1, jnp.tanh, key=key), eqx.is_inexact_array)

    static = eqx.partition(eqx.nn.MLP(3, "scalar", 8, 1, jnp.tanh, key=jax.random.key(0)), eqx.is_inexact_array)[1]

    def loss(params, batch):
        x, y = batch
        return jnp.mean((jax.vmap(eqx.combine(params, static))(x) - y) ** 2)

    return jl.Task("Equinox", init, loss, train=(X, Y), validation=(X, Y), batch_size=16)


@pytest.mark.parametrize("make_task", [plain_jax_task, flax_task, equinox_task])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the frameworks' own
def test_users_models_become_tasks(make_task):
    task = make_task()
    both = {"ours": jl.adam, "optax": optax.adam}
    results = jl.sweep(both, task, {"learning_rate": [1e-3, 1e-2]}, steps=200, seeds=2)
    loss = results.dataset.validation_loss.values
    assert (loss[..., -1].min(0) < 0.4 * loss[..., 0].max(0)).all()
    np.testing.assert_allclose(loss[:2], loss[2:], rtol=1e-3)  # float32 over 200 steps
    assert float(task.loss(results.params(), (X, Y))) == pytest.approx(loss[..., -1].min(), rel=1e-4)


def test_what_a_function_makes_for_validation_is_of_the_precision():
    task = jl.Task(
        "made",
        lambda key: jnp.zeros(2),
        lambda w, x: jnp.mean(w) + jnp.mean(0.0 if x is None else x),
        train=None,
        validation=lambda key: jax.random.normal(key, (3,)),
    )
    for wide in (False, True, False):
        with jax.enable_x64(wide):
            dtype = jnp.float64 if wide else jnp.float32
            assert task.data[1].dtype == dtype
            expected = jax.random.normal(jax.random.key(0), (3,))
            assert expected.dtype == dtype
            np.testing.assert_array_equal(task.data[1], expected)
            assert task.data[1] is task.data[1]  # made once


def test_held_out_data_that_a_function_makes_are_data_within_a_trace_too():
    """The first to ask may be a traced function; what it leaves behind is used by all others."""
    drawn = lambda key: jax.random.normal(key, (5,))
    task = jl.Task("t", lambda key: jnp.zeros(()), lambda w, x: jnp.mean((w - x) ** 2), drawn, validation=drawn)
    inside = jax.jit(lambda w: task.loss(w, task.data[1]))(jnp.zeros(()))
    np.testing.assert_allclose(inside, np.mean(np.asarray(task.data[1]) ** 2), rtol=1e-6)
    assert "validation_loss" in jl.sweep(jl.sgd, task, {"learning_rate": 0.1}, steps=2).dataset
