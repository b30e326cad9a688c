"""Models of other libraries: sweeps of them are compared with training loops written by hand in each library."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.seeding import batch_key, loss_key
from jaxopt_lab.types import random_key

STEPS, BATCH, RATE, MOMENTUM = 12, 16, 3e-2, 0.5
X = (2.0 + 3.0 * np.random.default_rng(0).normal(size=(96, 4))).astype("float32")  # batch statistics matter
Y = np.sin(X.sum(1)).astype("float32")
DATA = {"train": (X[:64], Y[:64]), "validation": (X[64:], Y[64:]), "batch_size": BATCH}

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def equal():
    """Tolerances for two compiled programs of the same mathematics."""
    return {"rtol": 1e-10 if jax.config.jax_enable_x64 else 1e-5, "atol": 0.0}


def squared(predictions, targets):
    return jnp.mean((predictions[:, 0] - targets) ** 2)


def swept(task, seed):
    """Return the training losses and the validation losses before each step, and the results."""
    results = jl.sweep(
        jl.sgd,
        task,
        {"learning_rate": [RATE / 3, RATE]},
        steps=STEPS,
        seeds=[seed],
        record=1,
        evaluate=1,
        strategy="scan",
    )
    one = results.dataset.isel(config=1, seed=0)
    return one.train_loss.values, one.validation_loss.values, results


def by_hand(task, seed, start, step, evaluate):
    """Train in a library's own way, on the batches and keys of the task; return losses before each step."""
    key, losses, held_out = random_key(seed), [], []
    held = start
    drawn = jax.jit(lambda t: (task.batch(task.data[0], batch_key(key), t), loss_key(task, key, t)))
    for t in range(STEPS):
        held_out.append(evaluate(held, DATA["validation"]))
        held, loss = step(held, *drawn(t))
        losses.append(loss)
    return np.asarray(losses), np.asarray([*held_out, evaluate(held, DATA["validation"])]), held


def agrees(task, seed, start, step, evaluate):
    losses, held_out, results = swept(task, seed)
    expected, expected_held_out, end = by_hand(task, seed, start, step, evaluate)
    np.testing.assert_allclose(losses[:STEPS], expected, **equal())
    np.testing.assert_allclose(held_out, expected_held_out, **equal())
    assert task.is_random
    assert task.is_stateful
    return results, end


def nnx_network():
    nnx = pytest.importorskip("flax.nnx")

    class Network(nnx.Module):
        def __init__(self, rngs, width=8):
            own = {"param_dtype": jnp.result_type(float), "rngs": rngs}
            self.layers = nnx.List([nnx.Linear(4, width, **own), nnx.Linear(width, width, **own)])
            self.norm = nnx.BatchNorm(width, momentum=MOMENTUM, **own)
            self.dropouts = nnx.List([nnx.Dropout(0.3, rngs=rngs), nnx.Dropout(0.3, rngs=rngs)])
            self.out = nnx.Linear(width, 1, **own)
            self.again = self.layers[1]  # a weight that is used twice
            self.activation = lambda x: jnp.tanh(x)

        def __call__(self, x):
            x = self.dropouts[0](self.activation(self.norm(self.layers[0](x))))
            return self.out(self.dropouts[1](self.activation(self.again(self.layers[1](x)))))

    return nnx, Network


def nnx_loss(model, batch):
    return squared(model(batch[0]), batch[1])


def test_nnx_trains_as_a_loop_in_nnx(precision):
    nnx, network = nnx_network()
    task = jl.nnx_task("NNX", network, nnx_loss, **DATA, metrics={"squared": jl.minimize(nnx_loss)})
    model = nnx.jit(lambda key: network(nnx.Rngs(key)))(jax.random.fold_in(random_key(3), 0))
    statistics = nnx.state(model, nnx.BatchStat)  # NNX begins them in float32, whatever the parameters
    nnx.update(model, jax.tree.map(lambda x: x.astype(jnp.result_type(float)), statistics))
    optimizer = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)

    @nnx.jit
    def one(model, optimizer, batch, key):
        model.train()
        nnx.reseed(model, default=jax.random.fold_in(key, 0))
        loss, grads = nnx.value_and_grad(nnx_loss)(model, batch)
        optimizer.update(model, grads)
        return loss

    @nnx.jit
    def evaluate(model, batch):
        model.eval()
        return nnx_loss(model, batch)

    def step(held, batch, key):
        loss = one(model, optimizer, batch, key)
        return held, loss

    results, _ = agrees(task, 3, None, step, lambda _, batch: evaluate(model, batch))
    again = results.model(1, 3)
    np.testing.assert_allclose(evaluate(again, DATA["validation"]), evaluate(model, DATA["validation"]), **equal())
    np.testing.assert_allclose(results.dataset.validation_squared, results.dataset.validation_loss, **equal())
    assert set(results.params(1, 3)) == {"again", "layers", "norm", "out"}
    assert set(results.params(1, 3)["layers"]) == {0}  # the second has one name, "again"
    assert set(results.state(1, 3)) == {"norm"}


def linen_network():
    linen = pytest.importorskip("flax.linen")

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            own = {"param_dtype": jnp.result_type(float)}
            norm = linen.BatchNorm(use_running_average=not train, momentum=MOMENTUM, **own)
            x = linen.Dropout(0.3, deterministic=not train)(jnp.tanh(norm(linen.Dense(8, **own)(x))))
            return linen.Dense(1, **own)(linen.Dropout(0.3, deterministic=not train)(x))

    return Network()


def test_linen_trains_as_a_loop_in_linen(precision):
    module = linen_network()
    task = jl.linen_task(
        "Linen", module, lambda apply, batch: squared(apply(batch[0]), batch[1]), example=X[:1], **DATA
    )
    optimizer = optax.sgd(RATE)
    variables = jax.jit(module.init, static_argnames="train")(jax.random.fold_in(random_key(3), 0), X[:1], train=False)
    variables = jax.tree.map(lambda x: x.astype(jnp.result_type(float)), variables)  # Flax's statistics are float32

    @jax.jit
    def step(held, batch, key):
        variables, state = held

        def loss(params):
            dropout = jax.random.split(jax.random.fold_in(key, 0))[0]
            outputs, updated = module.apply(
                {**variables, "params": params}, batch[0], train=True, rngs={"dropout": dropout}, mutable="batch_stats"
            )
            return squared(outputs, batch[1]), updated

        (value, updated), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        updates, state = optimizer.update(grads, state)
        return ({"params": optax.apply_updates(variables["params"], updates), **updated}, state), value

    @jax.jit
    def evaluate(held, batch):
        return squared(module.apply(held[0], batch[0], train=False), batch[1])

    results, (end, _) = agrees(task, 3, (variables, optimizer.init(variables["params"])), step, evaluate)
    again = results.model(1, 3)
    variables = {"params": again.params, **again.state}
    np.testing.assert_allclose(
        evaluate((variables,), DATA["validation"]), evaluate((end,), DATA["validation"]), **equal()
    )
    np.testing.assert_allclose(again(X), module.apply(variables, X, train=False), **equal())


def equinox_network():
    eqx = pytest.importorskip("equinox")

    class Network(eqx.Module):
        first: eqx.nn.Linear
        last: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        dropout: eqx.nn.Dropout
        order: jax.Array
        activation: object

        def __init__(self, key):
            first, last, order = jax.random.split(key, 3)
            self.first, self.last = eqx.nn.Linear(4, 8, key=first), eqx.nn.Linear(8, 1, key=last)
            self.norm = eqx.nn.BatchNorm(8, "batch", momentum=MOMENTUM, mode="batch")
            self.dropout = eqx.nn.Dropout(0.3)
            self.order = jax.random.permutation(order, 8)  # not trained, and each seed has its own
            self.activation = lambda x: jnp.tanh(x)

        def __call__(self, x, state, key=None):
            x, state = self.norm(self.first(x)[self.order], state)
            return self.last(self.dropout(self.activation(x), key=key)), state

    return eqx, Network


def equinox_loss(model, batch, key, state):
    keys = None if key is None else jax.random.split(key, len(batch[0]))
    mapped = jax.vmap(model, axis_name="batch", in_axes=(0, None, None if key is None else 0), out_axes=(0, None))
    outputs, state = mapped(batch[0], state, keys)
    return squared(outputs, batch[1]), state


def test_equinox_trains_as_a_loop_in_equinox(precision):
    eqx, network = equinox_network()
    make = eqx.nn.make_with_state(network)
    task = jl.equinox_task("Equinox", make, equinox_loss, **DATA)
    optimizer = optax.sgd(RATE)
    model, state = eqx.filter_jit(make)(jax.random.fold_in(random_key(3), 0))

    @eqx.filter_jit
    def step(held, batch, key):
        model, state, moments = held
        (loss, state), grads = eqx.filter_value_and_grad(equinox_loss, has_aux=True)(model, batch, key, state)
        updates, moments = optimizer.update(grads, moments)
        return (eqx.apply_updates(model, updates), state, moments), loss

    @eqx.filter_jit
    def evaluate(held, batch):
        return equinox_loss(eqx.nn.inference_mode(held[0]), batch, None, held[1])[0]

    start = model, state, optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    results, end = agrees(task, 3, start, step, evaluate)
    again = results.model(1, 3)
    np.testing.assert_allclose(evaluate(again, DATA["validation"]), evaluate(end, DATA["validation"]), **equal())
    assert "first.weight" in results.params(1, 3)


def plain_nnx(width=4):
    nnx = pytest.importorskip("flax.nnx")
    make = lambda rngs: nnx.Sequential(nnx.Linear(4, width, rngs=rngs), jnp.tanh, nnx.Linear(width, 1, rngs=rngs))
    return jl.nnx_task("plain", make, penalised, **DATA, metrics={"mine": jl.minimize(nnx_loss)})


def plain_linen(width=4):
    linen = pytest.importorskip("flax.linen")
    module = linen.Sequential([linen.Dense(width), jnp.tanh, linen.Dense(1)])
    return jl.linen_task("plain", module, penalised, example=X[:1], **DATA, metrics={"mine": jl.minimize(nnx_loss)})


def plain_equinox(width=4):
    eqx = pytest.importorskip("equinox")
    make = lambda key: eqx.nn.MLP(4, 1, width, 1, jnp.tanh, key=key)
    loss = lambda model, batch, key, *, penalty=0.0: penalised(jax.vmap(model), batch, penalty=penalty)
    mine = jl.minimize(lambda model, batch: nnx_loss(jax.vmap(model), batch))
    return jl.equinox_task("plain", make, loss, **DATA, metrics={"mine": mine})


def penalised(model, batch, *, penalty=0.0):
    outputs = model(batch[0])
    size = jnp.mean(outputs**2)
    return squared(outputs, batch[1]) + penalty * size, {"size": size}


@pytest.mark.parametrize("make_task", [plain_nnx, plain_linen, plain_equinox])
def test_a_plain_model_costs_no_state_and_no_key(make_task, tmp_path):
    space = {"learning_rate": RATE, "task.penalty": [0.0, 0.5], "task.width": jl.static([8])}
    results = jl.sweep(jl.sgd, make_task, space, steps=STEPS, strategy="scan", record=1)
    assert not results.task.is_stateful
    assert not results.task.is_random
    data = results.dataset
    np.testing.assert_allclose(
        data.validation_mine.values, data.validation_loss.values, **equal()
    )  # without the penalty
    (one, other), (size, _) = (data[name].values[:, 0, 0] for name in ("train_loss", "size"))
    np.testing.assert_allclose(other - one, 0.5 * size, rtol=1e-4)
    loaded = jl.load(results.save(tmp_path / "saved"), results.task)
    model = loaded.model(1, 0)
    outputs = jax.vmap(model)(X[64:]) if make_task is plain_equinox else model(X[64:])
    assert float(squared(outputs, Y[64:])) == pytest.approx(float(data.validation_loss[1, 0, -1]), rel=1e-5)


def test_a_rate_of_dropout_is_a_number_of_an_equinox_model():
    eqx = pytest.importorskip("equinox")

    def make(key, *, rate=0.5, width=4):
        first, last = jax.random.split(key)
        layers = [eqx.nn.Linear(4, width, key=first), eqx.nn.Dropout(rate), eqx.nn.Linear(width, 1, key=last)]
        return eqx.nn.Sequential(layers)

    def loss(model, batch, key):
        keys = None if key is None else jax.random.split(key, len(batch[0]))
        mapped = jax.vmap(lambda x, key: model(x, key=key), in_axes=(0, None if key is None else 0))
        return squared(mapped(batch[0], keys), batch[1])

    task = jl.equinox_task("rate", make, loss, **DATA)
    space = {"learning_rate": RATE, "task.rate": [0.0, 0.5], "task.width": jl.static([8])}
    results = jl.sweep(jl.sgd, task, space, steps=STEPS, strategy="scan", record=1)
    without, same = results.dataset.train_loss.values[:, 0, 0]
    key, zero = random_key(0), jnp.int32(0)
    params, batch = make(jax.random.fold_in(key, 0), width=8), task.batch(task.data[0], batch_key(key), zero)
    assert without == pytest.approx(float(loss(eqx.nn.inference_mode(params), batch, None)), rel=1e-5)
    assert same == pytest.approx(float(loss(params, batch, loss_key(task, key, zero))), rel=1e-5)
    assert results.model(1, 0).layers[0].weight.shape == (8, 4)
    assert set(results.params(1, 0)) == {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"}


@pytest.mark.parametrize(
    ("make", "module"), [("nnx_task", "flax.nnx"), ("linen_task", "flax.linen"), ("equinox_task", "equinox")]
)
def test_a_missing_library_is_named(make, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    extra = module.partition(".")[0]
    with pytest.raises(ImportError, match=rf"jl.{make} needs {extra.capitalize()}: .*'jaxopt_lab\[{extra}\]'"):
        getattr(jl, make)("x", None, None, X, **({"example": X} if make == "linen_task" else {}))


def test_what_cannot_be_a_model_is_refused():
    linen = pytest.importorskip("flax.linen")
    with pytest.raises(TypeError, match=r"make\(rngs\) must return an nnx.Module, got 3"):
        jl.nnx_task("x", lambda rngs: 3, nnx_loss, **DATA)
    nnx = pytest.importorskip("flax.nnx")
    with pytest.raises(TypeError, match=r"make must be a function of nnx.Rngs, got a model\. Pass what makes it"):
        jl.nnx_task("x", nnx.Linear(4, 1, rngs=nnx.Rngs(0)), nnx_loss, **DATA)
    with pytest.raises(TypeError, match=r"must be a flax.linen.Module"):
        jl.linen_task("x", lambda x: x, nnx_loss, example=X[:1], **DATA)
    with pytest.raises(ValueError, match="no argument that says whether it trains"):
        jl.linen_task(
            "x", linen.Sequential([linen.BatchNorm(use_running_average=False)]), nnx_loss, example=X[:1], **DATA
        )
    with pytest.raises(ValueError, match="not of another library's model"):
        jl.sweep(jl.sgd, jl.tasks.quadratic(), {"learning_rate": RATE}, steps=2, strategy="scan").model()


def test_what_cannot_be_a_model_of_equinox_is_refused():
    eqx = pytest.importorskip("equinox")
    make = lambda key: eqx.nn.Linear(4, 1, key=key)
    loss = lambda model, batch, key: squared(jax.vmap(model)(batch[0]), batch[1])
    for model in (make(random_key(0)), eqx.nn.make_with_state(make)(random_key(0))):
        with pytest.raises(TypeError, match="make must be a function of a key, got a model"):
            jl.equinox_task("x", model, loss, **DATA)
    with pytest.raises(TypeError, match=r"make returns a model alone\. Pass eqx.nn.make_with_state\(Model\)"):
        jl.equinox_task("x", make, lambda model, batch, key, state: (0.0, state), **DATA)


def test_a_rate_of_dropout_is_structural_in_nnx():
    nnx = pytest.importorskip("flax.nnx")

    def make(rngs, *, rate=0.5):
        return nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.Dropout(rate, rngs=rngs), nnx.Linear(4, 1, rngs=rngs))

    task, values = jl.nnx_task("rate", make, nnx_loss, **DATA), [0.0, 0.5]
    with pytest.raises(TypeError, match=r"branches in Python on it .*Write 'task.rate': jl.static\(\[...\]\)"):
        jl.sweep(jl.sgd, task, {"learning_rate": RATE, "task.rate": values}, steps=STEPS)
    space = {"learning_rate": RATE, "task.rate": jl.static(values)}
    results = jl.sweep(jl.sgd, task, space, steps=STEPS, strategy="scan", record=1)
    without, half = results.dataset.train_loss.values[:, 0, 0]
    assert without != half
    assert [results.model(i, 0).layers[1].rate for i in (0, 1)] == values
    needless = {"learning_rate": [RATE, 0.1], "task.penalty": jl.static(values)}
    with pytest.raises(TypeError, match=r"task.penalty is numeric: write 'task.penalty': \[0.0, 0.5\] without"):
        jl.sweep(jl.sgd, plain_nnx(), needless, steps=STEPS)


@pytest.mark.parametrize(
    ("library", "titles"),
    [
        ("flax", ["Flax NNX", "Saving a model"]),
        ("flax", ["Flax Linen"]),
        ("equinox", ["Equinox"]),
        ("jax", ["Plain JAX"]),
        ("equinox", ["Hyperparameters of the loss and the model"]),
    ],
    ids=lambda x: x if isinstance(x, str) else x[0],
)
def test_the_page_on_models_runs(library, titles, tmp_path):
    pytest.importorskip(library)
    introduction, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    by_title = {section.partition("\n")[0]: section for section in sections}
    defined = {"folder": tmp_path}
    for text in (introduction, *map(by_title.get, titles)):
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            exec(block, defined)
    assert np.isfinite(defined["results"].dataset.validation_loss.values).all()
