"""The public sweep: what can be swept, and what is refused before anything compiles."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.sweep import planning

MODULE = importlib.import_module("jaxopt_lab.sweep.sweep")  # the package's attribute is the function
RATES = {"learning_rate": [0.1, 0.2]}


@pytest.fixture(scope="module")
def task():
    return jl.tasks.linear_regression()


def test_optimizers_by_function_name_list_and_dict(task):
    for optimizers, names in [
        (jl.adam, ["adam"]),
        ("adam", ["adam"]),
        ([jl.adam, "sgd"], ["adam", "sgd"]),
        ({"mine": optax.adam, "ours": "adam"}, ["mine", "ours"]),
    ]:
        results = jl.sweep(optimizers, task, RATES, steps=3)
        assert results.dataset.optimizer.values.tolist() == [n for n in names for _ in range(2)]
    np.testing.assert_allclose(*results.dataset.train_loss.values.reshape(2, -1), rtol=1e-5)  # float32


def test_a_users_function_of_hyperparameters(task):
    def cosine_adam(learning_rate, warmup_share):
        schedule = lambda t: learning_rate * jnp.minimum(1.0, (t + 1) / (1 + 20 * warmup_share))
        return optax.chain(optax.clip_by_global_norm(1.0), jl.adam(schedule))

    space = RATES | {"warmup_share": jl.linear(0, 1, 3)}
    results = jl.sweep(cosine_adam, task, space, steps=50)
    assert results.dataset.sizes["config"] == 6
    slow, fast = results.grid().train_loss.sel(learning_rate=0.1, warmup_share=[1, 0]).values[:, 0, -1]
    assert fast < slow


def test_a_space_for_each_optimizer(task):
    spaces = {"adam": {"learning_rate": [0.1], "b1": [0.8, 0.9]}, "sgd": jl.zipped({"learning_rate": [0.3, 0.5, 0.7]})}
    dataset = jl.sweep([jl.adam, jl.sgd], task, spaces, steps=3).dataset
    assert dataset.optimizer.values.tolist() == ["adam"] * 2 + ["sgd"] * 3
    assert dataset.learning_rate.values.tolist() == [0.1, 0.1, 0.3, 0.5, 0.7]
    np.testing.assert_array_equal(dataset.b1, [0.8, 0.9, np.nan, np.nan, np.nan])


def test_structural_values_of_optimizer_and_task():
    space = RATES | {"nesterov": jl.static([False, True]), "task.width": jl.static([2, 16])}
    results = jl.sweep(jl.momentum, jl.tasks.digits_mlp, space, steps=60, seeds=2)
    assert results.dataset["task.width"].dtype == int
    grid = results.grid()
    assert dict(grid.sizes)["task.width"] == 2
    assert grid.nesterov.values.tolist() == [False, True]
    median = grid.validation_loss.isel(eval_step=-1).median("seed")
    assert (median.sel({"task.width": 16}) < median.sel({"task.width": 2})).all()
    wide = int(np.flatnonzero(results.dataset["task.width"].values == 16)[0])
    assert results.params(config=wide)[0]["weights"].shape == (64, 16)


def test_equal_values_of_different_types_are_different_structure(task):
    def picky(learning_rate, flag):
        return jl.sgd(learning_rate) if flag is True else jl.sgd(0.0)

    for flags, moves in ([1], False), ([True], True), ([1, True], True):
        results = jl.sweep(picky, task, {"learning_rate": [0.1], "flag": jl.static(flags)}, steps=3)
        loss = results.dataset.train_loss.values[-1, 0]
        assert (loss[-1] < loss[0]) == moves


def test_batch_size_of_the_task_may_differ_by_optimizer(task):
    spaces = {
        "gradient_descent": RATES | {"task.batch_size": jl.static([None])},
        "sgd": RATES | {"task.batch_size": jl.static([1])},
    }
    results = jl.sweep([jl.gradient_descent, jl.sgd], task, spaces, steps=200, record=1)
    noise = np.diff(results.dataset.train_loss.values[:, 0, 100:], axis=1).std(axis=1)
    assert noise[:2].max() < 1e-3 < noise[2:].min()
    assert results.best(optimizer="gradient_descent").hyperparameters["task.batch_size"] is None


def test_random_and_sobol_spaces_run(task):
    for space in (jl.random({"learning_rate": jl.log(1e-3, 1)}, 5, 0), jl.sobol({"learning_rate": jl.log(1e-3, 1)}, 5)):
        results = jl.sweep(jl.adam, task, space, steps=3)
        assert results.dataset.sizes["config"] == 5
        assert results.dataset.learning_rate.values.tolist() == space.columns["learning_rate"]
        with pytest.raises(ValueError, match="not a product"):
            results.grid()


def test_seeds_may_be_named(task):
    results = jl.sweep(jl.adam, task, RATES, steps=3, seeds=[7, 3])
    assert results.dataset.seed.values.tolist() == [7, 3]
    alone = jl.sweep(jl.adam, task, RATES, steps=3, seeds=[3])
    np.testing.assert_allclose(alone.dataset.train_loss[:, 0], results.dataset.train_loss[:, 1], rtol=1e-6)  # float32


def test_curves_stay_within_memory(task, monkeypatch):
    monkeypatch.setattr(planning, "KEPT_CURVE_BYTES", 4 * 20 * 10)
    results = jl.sweep(jl.adam, task, {"learning_rate": jl.log(1e-3, 1, 10)}, steps=1000, seeds=2)
    assert results.dataset.sizes["step"] <= 10
    assert results.dataset.step.values[[0, -1]].tolist() == [0, 1000]


# Bad input: every row is refused before anything compiles.


def model(**changes):
    defaults = {
        "name": "mine",
        "init": lambda key: jnp.zeros(2),
        "loss": lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2),
        "train": (np.ones((10, 2)), np.ones(10)),
    }
    return jl.Task(**(defaults | changes))


def run(optimizer=jl.adam, task=None, space=None, **options):
    return jl.sweep(optimizer, task or model(), RATES if space is None else space, **({"steps": 5} | options))


def branching(learning_rate):
    return optax.sgd(learning_rate) if learning_rate > 0.1 else optax.sgd(1.0)


nan_data = (np.where(np.arange(20).reshape(10, 2) == 7, np.nan, 1.0), np.ones(10))

BAD = [
    ("unknown optimizer", lambda: run("adam_"), ValueError, "Did you mean 'adam'"),
    ("unknown task", lambda: run(task="digits_mpl"), ValueError, "Did you mean 'digits_mlp'"),
    ("unknown hyperparameter", lambda: run(space={"learning_rat": [1]}), ValueError, "Did you mean 'learning_rate'"),
    (
        "unknown task argument",
        lambda: run(task="digits_mlp", space=RATES | {"task.widht": jl.static([1])}),
        ValueError,
        "'width'",
    ),
    (
        "task argument as numbers",
        lambda: run(task="digits_mlp", space=RATES | {"task.width": [1]}),
        TypeError,
        "jl.static",
    ),
    (
        "a task without arguments",
        lambda: run(space=RATES | {"task.width": jl.static([1])}),
        ValueError,
        "made directly",
    ),
    (
        "structural as numbers",
        lambda: run(jl.momentum, space=RATES | {"nesterov": [0, 1]}),
        TypeError,
        "is structural, got 0",
    ),
    (
        "text for a number",
        lambda: run(jl.sgd, space=RATES | {"momentum": jl.static(["x"])}),
        TypeError,
        "must be a number or None, got 'x'",
    ),
    (
        "a flag as text",
        lambda: run(jl.momentum, space=RATES | {"nesterov": jl.static(["no"])}),
        TypeError,
        "True or False",
    ),
    ("Optax's flag as numbers", lambda: run(optax.sgd, space=RATES | {"nesterov": [0, 1]}), TypeError, "is structural"),
    ("numbers as structural", lambda: run(space={"learning_rate": jl.static([0.1])}), TypeError, "is numeric"),
    ("missing hyperparameter", lambda: run(space={"b1": [0.9]}), ValueError, "adam needs learning_rate"),
    ("reserved name", lambda: run(lambda step: jl.sgd(step), space={"step": [1]}), ValueError, "results use that name"),
    ("a made optimizer", lambda: run(jl.adam(0.1)), TypeError, "jl.adam, not jl.adam"),
    ("a list with a made optimizer", lambda: run({"a": jl.adam(0.1)}), TypeError, "jl.adam, not jl.adam"),
    ("no optimizer", lambda: run([]), ValueError, "No optimizer"),
    ("twice the same name", lambda: run([jl.adam, optax.adam]), ValueError, "share a name"),
    ("optimizer of another kind", lambda: run(3), TypeError, "optimizers must be"),
    ("not an optimizer's factory", lambda: run(lambda learning_rate: 3), TypeError, r"\(init, update\) pair, got int"),
    ("branching on a number", lambda: run(branching), TypeError, "branches in Python"),
    ("space of an unknown optimizer", lambda: run(space={"adm": RATES}), ValueError, "Did you mean 'adam'"),
    ("space missing for one", lambda: run([jl.adam, jl.sgd], space={"adam": RATES}), ValueError, "no entry for sgd"),
    ("empty range", lambda: run(space={"learning_rate": []}), ValueError, "empty list"),
    ("not finite", lambda: run(space={"learning_rate": [np.inf]}), ValueError, "not finite"),
    ("steps 0", lambda: run(steps=0), ValueError, "steps must be at least 1, got 0"),
    ("steps 1.5", lambda: run(steps=1.5), TypeError, "steps must be an integer, got 1.5"),
    ("steps True", lambda: run(steps=True), TypeError, "steps must be an integer, got True"),
    ("seeds 0", lambda: run(seeds=0), ValueError, "seeds must be at least 1"),
    ("no seeds", lambda: run(seeds=[]), ValueError, "seeds is empty"),
    ("seeds twice", lambda: run(seeds=[1, 1]), ValueError, "seeds must differ"),
    ("seed below 0", lambda: run(seeds=[-1]), ValueError, "at least 0"),
    ("seed too large", lambda: run(seeds=[2**31]), ValueError, "at most 2147483647"),
    ("record 0", lambda: run(record=0), ValueError, "record must be at least 1"),
    ("evaluate -1", lambda: run(evaluate=-1), ValueError, "evaluate must be at least 1"),
    ("target NaN", lambda: run(target=np.nan), ValueError, "target must be finite"),
    ("target a string", lambda: run(target="low"), TypeError, "target must be a number"),
    ("tolerance below 0", lambda: run(tolerance=-1), ValueError, "tolerance must be >= 0"),
    (
        "loss not a scalar",
        lambda: run(task=model(loss=lambda w, b: b[0] @ w)),
        TypeError,
        r"one floating-point number, got float\d+ of shape \(10,\)",
    ),
    (
        "loss an integer",
        lambda: run(task=model(loss=lambda w, b: jnp.int32(1))),
        TypeError,
        "one floating-point number, got int32",
    ),
    ("loss a pair", lambda: run(task=model(loss=lambda w, b: (jnp.sum(w), b))), TypeError, "got tuple"),
    (
        "metric not a scalar",
        lambda: run(task=model(metrics={"m": lambda w, b: w}, test=model().train)),
        TypeError,
        "metric m on test",
    ),
    (
        "integer parameters",
        lambda: run(task=model(init=lambda k: {"w": jnp.zeros(2), "n": jnp.int32(3)})),
        TypeError,
        r"\['n'\] is int32",
    ),
    ("no parameters", lambda: run(task=model(init=lambda k: {})), ValueError, "gave no parameters"),
    ("batch larger than data", lambda: model(batch_size=11), ValueError, "11 is larger than the 10"),
    ("batch of 0", lambda: model(batch_size=0), ValueError, "at least 1, got 0"),
    ("batch of nothing", lambda: model(train=None, batch_size=3), ValueError, "needs training data"),
    ("NaN in the data", lambda: model(train=nan_data), ValueError, r"1 non-finite values, the first at index \(3, 1\)"),
    ("NaN in test data", lambda: model(test=nan_data), ValueError, "test data have"),
    ("unequal lengths", lambda: model(train=(np.ones((10, 2)), np.ones(9))), ValueError, "as many examples"),
    ("no examples", lambda: model(train=(np.ones((0, 2)), np.ones(0))), ValueError, "leading example axis"),
    ("a scalar in the data", lambda: model(train=(np.ones((3, 2)), 1.0)), ValueError, "leading example axis"),
    ("nameless", lambda: model(name=""), TypeError, "non-empty string"),
    ("loss not a function", lambda: model(loss=3), TypeError, "loss must be a function"),
    ("task not a task", lambda: jl.sweep(jl.adam, 3, RATES, steps=5), TypeError, "jl.Task"),
    ("task function of something else", lambda: run(task=lambda: 3), TypeError, "must return a jl.Task"),
]


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_refused_before_anything_compiles(call, error, words, monkeypatch):
    def compile_nothing(*_):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(MODULE, "execute", compile_nothing)
    with pytest.raises(error, match=words) as caught:
        call()
    message = str(caught.value)
    assert message.endswith((".", ")"))
    assert "Traceback" not in message


def test_numbers_stay_what_they_were_given(task):
    """A number that a program takes as an argument is the number given, in the program's precision."""
    with jax.enable_x64(True):
        results = jl.sweep(jl.sgd, task, {"learning_rate": [0.1]}, steps=1)
    assert results.dataset.learning_rate.item() == 0.1


@pytest.mark.parametrize(
    ("values", "scales"),
    [
        ([(1,), (True,), (1.0,)], [2, 3, 4]),
        ([(0.0,), (-0.0,)], [4, -4]),
        ([0.0, -0.0], [4, -4]),
        ([1, True, 1.0], [2, 3, 4]),
        ([(1, (True,)), (1, (1,))], [7, 8]),
    ],
)
def test_structural_values_that_python_takes_for_equal_are_not(values, scales):
    """The optimizer tells them apart, and so do the programs."""
    kinds = {int: 2, bool: 3, float: 4}

    def told_apart(learning_rate, value):
        inner = value[-1] if isinstance(value, tuple) else value
        nested = isinstance(inner, tuple)
        scale = {bool: 7, int: 8}[type(inner[0])] if nested else kinds[type(inner)]
        return optax.sgd(learning_rate * scale * (1 if nested else np.copysign(1, inner)))

    task = jl.Task("falls", lambda key: jnp.zeros([]), lambda w, _: -w, train=None)
    results = jl.sweep(told_apart, task, {"learning_rate": [1.0], "value": jl.static(values)}, steps=1)
    np.testing.assert_array_equal(-results.dataset.train_loss[:, 0, -1], scales)


def test_equal_structural_values_share_a_program():
    made = []

    def counted(learning_rate, value):
        made.append(value)
        return optax.sgd(learning_rate)

    task = jl.Task("falls", lambda key: jnp.zeros([]), lambda w, _: -w, train=None)
    values = jl.static([(np.nan,), (float("nan"),), (1,), (1,)])
    space = jl.zipped({"learning_rate": [1.0, 2.0, 3.0, 4.0], "value": values})
    results = jl.sweep(counted, task, space, steps=1)
    assert len(json.loads(results.dataset.attrs["strategies"])) == 2
    count = len(made)
    jl.sweep(counted, task, space, steps=1)
    assert len(made) == count  # remembered


def test_task_arguments_that_python_takes_for_equal_are_not():
    @jl.tasks.task.task_function
    def typed(kind=1):
        value = float(type(kind) is bool) + 2 * float(type(kind) is float)
        return jl.Task("typed", lambda key: jnp.zeros([]), lambda w, _: w + value, train=None)

    space = {"learning_rate": [0.0], "task.kind": jl.static([1, True, 1.0])}
    results = jl.sweep(jl.sgd, typed(), space, steps=1)
    np.testing.assert_array_equal(results.dataset.train_loss[:, 0, 0], [0, 1, 2])


def test_a_draw_may_find_numbers_alone_among_structural_values():
    draws = [jl.random({"learning_rate": [0.1], "momentum": jl.static([None, 0.9])}, n=1, key=key) for key in range(9)]
    assert {draw.columns["momentum"][0] for draw in draws} == {None, 0.9}
    for draw in draws:
        assert jl.sweep(jl.sgd, "quadratic", draw, steps=2).dataset.sizes["config"] == 1
