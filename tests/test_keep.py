"""The best evaluated step of each trial: its value, and its parameters where they are kept."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.seeding import initial
from jaxopt_lab.types import random_key

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4))
Y = X @ RNG.normal(size=4) + 0.5 * RNG.normal(size=96)
SPACE = {"learning_rate": [0.01, 0.3, 1.3, 1e6]}  # noisy ones pass their best step, and the last diverges
OPTIONS = {"steps": 60, "seeds": 3, "evaluate": 7, "record": 1}


@functools.cache
def task(main_metric="loss", stateful=False):
    def loss(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    def counting(w, batch, *, state):
        return loss(w, batch), state + 1

    init = lambda key: jax.random.normal(key, (4,))
    pair = lambda key: (init(key), jnp.zeros([]))
    return jl.Task(
        "line",
        pair if stateful else init,
        counting if stateful else loss,
        (X[:48], Y[:48]),
        validation=(X[48:], Y[48:]),
        batch_size=4,
        metrics={"closeness": jl.maximize(lambda w, batch: -loss(w, batch))},
        main_metric=main_metric,
    )


def by_hand(task, learning_rate, seed, evaluated):
    """Return the best validation loss of an Optax loop at the evaluated steps, its step and parameters."""
    key = random_key(seed)
    w, optimizer = initial(task, key)[0], optax.sgd(learning_rate)
    state, best = optimizer.init(w), (np.inf, -1, None)
    for t in range(max(evaluated) + 1):
        if t in evaluated:
            value = float(task.loss(w, task.validation))
            best = min(best, (value, t, np.asarray(w)), key=lambda found: found[0])
        batch = task.batch(task.train, jl.trial.batch_key(key), jnp.int32(t))
        updates, state = optimizer.update(jax.grad(task.loss)(w, batch), state, w)
        w = w + updates
    return best


@pytest.mark.parametrize("cut", [{}, {"chunk": 1}, {"strategy": "steps"}], ids=str)
def test_the_parameters_of_the_best_step_are_kept(cut, float64):
    results = jl.sweep(jl.sgd, task(), SPACE, keep="best", **OPTIONS, **cut)
    evaluated = results.dataset["eval_step"].values.tolist()
    passed = 0
    for config, seed in itertools.product(range(3), range(3)):
        rate = float(results.dataset["learning_rate"][config])
        value, step, w = by_hand(task(), rate, seed, evaluated)
        np.testing.assert_allclose(results.params(config, seed), w, rtol=1e-10)
        best = results.best(at="best")
        if config == best.config:
            np.testing.assert_allclose(best.values[seed], value, rtol=1e-10)
            assert best.steps[seed] == step
        passed += step < 60
    assert passed > 3
    start = initial(task(), random_key(1))[0]
    np.testing.assert_array_equal(results.params(3, 1), start)  # it diverges at once


def test_it_changes_nothing_else(float64):
    found, expected = (jl.sweep(jl.sgd, task(), SPACE, keep=keep, **OPTIONS) for keep in ("best", "last"))
    for name in expected.dataset.data_vars:
        np.testing.assert_array_equal(found.dataset[name], expected.dataset[name], err_msg=name)
    assert found.best() == expected.best()
    assert found.best(at="best") == expected.best(at="best")


def test_a_metric_of_which_more_is_better_selects(float64):
    by_loss, by_closeness = (jl.sweep(jl.sgd, task(m), SPACE, keep="best", **OPTIONS) for m in ("loss", "closeness"))
    for config, seed in itertools.product(range(3), range(3)):
        np.testing.assert_array_equal(by_loss.params(config, seed), by_closeness.params(config, seed))
    assert by_closeness.best(at="best").value == -by_loss.best(at="best").value


def test_the_state_of_a_loss_is_of_the_same_step(float64):
    results = jl.sweep(jl.sgd, task(stateful=True), SPACE, keep="best", **OPTIONS)
    best = results.best(at="best")
    assert [float(results.state(best.config, seed)) for seed in range(3)] == [float(step) for step in best.steps]


@pytest.mark.parametrize("stop", [None, jl.halving(2, min_steps=14)], ids=["to the end", "halving"])
def test_an_interrupted_run_keeps_the_same(stop, tmp_path, float64):
    options = OPTIONS | {"steps": 20_000, "evaluate": 700, "record": 100, "stop": stop}
    expected, reports = jl.sweep(jl.sgd, task(), SPACE, keep="best", **options), itertools.count()

    def report(progress):
        if progress.trial_steps and next(reports) in (0, 2):
            raise KeyboardInterrupt

    for _ in range(10):
        found = jl.sweep(
            jl.sgd, task(), SPACE, keep="best", out=tmp_path / "r", checkpoint=0, progress=report, **options
        )
        if not found.dataset.attrs["interrupted"]:
            break
    for config, seed in itertools.product(range(4), range(3)):
        np.testing.assert_array_equal(found.params(config, seed), expected.params(config, seed))
    loaded = jl.load(tmp_path / "r", task())
    np.testing.assert_array_equal(loaded.params(), expected.params())
    with pytest.raises(jl.RunError, match="parameters kept: 'best' in the folder, 'last' now"):
        jl.sweep(jl.sgd, task(), SPACE, out=tmp_path / "r", **options)


def test_the_best_step_is_of_the_curve(float64):
    results = jl.sweep(jl.sgd, task(), SPACE, **OPTIONS)
    best, curve = results.best(at="best"), results.dataset["validation_loss"]
    assert best.values == tuple(curve.sel(config=best.config).min("eval_step").values)
    assert best.steps == tuple(curve.sel(config=best.config).idxmin("eval_step").values)
    assert results.best().steps == (60, 60, 60)
    assert results.best(at="best").value <= results.best().value
    with pytest.raises(ValueError, match=r"which is the loss of one batch"):
        results.best("train_loss", at="best")
    with pytest.raises(ValueError, match=r"Unknown at 'bets'"):
        results.best(at="bets")


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(ValueError, match=r"keep.*'lst'"):
        jl.sweep(jl.sgd, task(), SPACE, steps=5, keep="lst")
    with pytest.raises(ValueError, match=r"needs validation data"):
        jl.sweep(jl.sgd, jl.tasks.quadratic(), {"learning_rate": 0.1}, steps=5, keep="best")
