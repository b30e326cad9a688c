"""Parameters held as one vector: the same steps, and a word of those who would take others."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl

TENSOR_BY_TENSOR = """
lars lamb fromage novograd muon adafactor sm3 galore adamp sgdp came adam_mini stable_adamw adahessian
"""


def params():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {
        "layers": [{"w": draw(3, 4), "b": draw(4)}, {"w": draw(4, 1), "b": draw()}],
        "half": draw(5).astype(jnp.bfloat16),
    }


def loss(tree):
    return sum(jnp.sum(jnp.sin(w.astype(jnp.float32)) * (i + 1)) for i, w in enumerate(jax.tree.leaves(tree)))


def trained(optimizer, w, loss, steps=5):
    state = optimizer.init(w)

    @jax.jit
    def step(w, state):
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        return optax.apply_updates(w, updates), state

    for _ in range(steps):
        w, state = step(w, state)
    return w


def test_reads_as_the_tree_it_was_made_of():
    tree = params()
    held = jl.flat(tree)
    assert [(v.dtype, v.size) for v in held.vectors] == [(jnp.bfloat16, 5), (jnp.float32, 21)]
    jax.tree.map(np.testing.assert_array_equal, held.tree, tree)
    assert [w.dtype for w in jax.tree.leaves(held.tree)] == [w.dtype for w in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", ["adam", "adamw", "lion", "momentum", "schedule_free_sgd", "dog", "prodigy"])
def test_trains_as_the_tree_does(name):
    optimizer = getattr(jl, name)(0.01)
    tree, held = trained(optimizer, params(), loss), trained(optimizer, jl.flat(params()), lambda w: loss(w.tree)).tree
    close = lambda a, b: np.testing.assert_allclose(*(np.asarray(x, np.float64) for x in (a, b)), rtol=1e-5)
    jax.tree.map(close, held, tree)


def test_gradients_may_come_as_a_tree():
    held = jl.flat(params())
    joined = jl.flat(jax.grad(loss)(held.tree))
    assert jax.tree.structure(joined) == jax.tree.structure(held)
    jax.tree.map(np.testing.assert_array_equal, joined, jax.grad(lambda w: loss(w.tree))(held))


def test_gradients_are_joined_not_added_up():
    text = str(jax.make_jaxpr(jax.grad(lambda w: loss(w.tree)))(jl.flat(params())))
    assert "concatenate" in text
    assert "pad" not in text


@pytest.mark.parametrize("name", TENSOR_BY_TENSOR.split())
def test_methods_that_tell_tensors_apart_refuse(name):
    optimizer, held = getattr(jl, name)(0.01), jl.flat(params())
    with pytest.raises(ValueError, match=f"{name} treats each tensor .* by itself"):
        optimizer.update(held, optimizer.init(held), held)


def test_layerwise_dog_and_masks_refuse():
    held = jl.flat(params())
    with pytest.raises(ValueError, match="layerwise dog treats"):
        jl.dog(layerwise=True).init(held)
    masked = jl.adamw(0.01, mask=lambda tree: jax.tree.map(lambda w: w.ndim > 1, tree))
    with pytest.raises(ValueError, match="mask of weight decay treats"):
        masked.update(held, masked.init(held), held)


def test_a_task_may_hold_its_parameters_flat():
    task = jl.tasks.breast_cancer()
    init, loss = lambda key: jl.flat(task.init(key)), lambda w, batch: task.loss(w.tree, batch)
    space = {"learning_rate": [0.01, 0.1]}
    curves = [
        jl.sweep(jl.adam, each, space, steps=5, seeds=2, progress=False).dataset.train_loss.values
        for each in (task, jl.Task("flat", init, loss, train=task.train))
    ]
    np.testing.assert_allclose(*curves, rtol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(3, 5), (40, 5), (40, 5000)])
def test_leaves_are_joined_in_order(count, size):
    tree = [np.arange(size, dtype=np.float32) + n for n in range(count)]
    join = lambda tree: jl.flat(tree).vectors[0]
    np.testing.assert_array_equal(jax.jit(join)(tree), np.concatenate(tree))
    both = jax.vmap(join)([np.stack([x, 2 * x]) for x in tree])
    np.testing.assert_array_equal(both[1], 2 * np.concatenate(tree))
    grads = jax.grad(lambda tree: (join(tree) ** 2).sum() / 2)(tree)
    np.testing.assert_array_equal(np.stack(grads), np.stack(tree))
