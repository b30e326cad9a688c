"""Curves beside the training loss: further scalars of a loss, and hyperparameters in force, against a loop by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl

STEPS, SEEDS = 12, [0, 4]
X = np.random.default_rng(1).normal(size=(40, 3))
Y = X @ np.ones(3)


def falling(t):
    """A schedule in JAX's own precision: Optax's is in float32 where the count of steps is an int32."""
    return 0.3 * (1 - jnp.asarray(t, float) / STEPS)


def loss(w, batch):
    error = batch[0] @ w - batch[1]
    return jnp.mean(error**2), {"mae": jnp.mean(jnp.abs(error)), "near": jnp.sum(jnp.abs(error) < 0.5)}


@functools.cache
def task(**changes):
    fields = {"train": (X, Y), "validation": (X, Y), "batch_size": 8, "loss": loss} | changes
    return jl.Task("line", lambda key: jax.random.normal(key, (3,)), **fields)


@functools.cache
def by_hand(rate, seed, steps=STEPS):
    """Loss, its further scalars and the learning rate, before every step and after the last."""
    made, key = task(), jax.random.key(seed)
    w = made.init(jax.random.fold_in(key, 0))
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    batch = jax.jit(lambda t: made.batch(made.data[0], jax.random.fold_in(key, 1), t))
    rows = []
    for t in range(steps + 1):
        (value, aux), g = gradient(w, batch(t))
        now = rate(t) if callable(rate) else rate
        rows.append([value, aux["mae"], aux["near"], now])
        w = w - now * g
    return np.array(rows, float).T


@pytest.mark.parametrize(
    "cut", [{}, {"chunk": 1}, {"strategy": "steps"}, {"strategy": "scan_each"}, {"record": 5}], ids=str
)
def test_curves_are_those_of_a_loop(cut, float64):
    options = {"steps": STEPS, "seeds": SEEDS, "record": 1, "evaluate": 4, "cache": False} | cut
    space = {"plain": {"learning_rate": [0.1, 0.2]}, "scheduled": {"learning_rate": jl.static([falling])}}
    found = jl.sweep({"plain": jl.sgd, "scheduled": jl.sgd}, task(), space, **options).dataset
    at = found["step"].values
    for row, rate in enumerate([0.1, 0.2, falling]):
        for s, seed in enumerate(SEEDS):
            value, mae, near, rates = by_hand(rate, seed)[:, at]
            np.testing.assert_allclose(found["train_loss"][row, s], value, rtol=1e-10)
            np.testing.assert_allclose(found["mae"][row, s], mae, rtol=1e-10)
            np.testing.assert_array_equal(found["near"][row, s], near)
            if callable(rate):
                np.testing.assert_allclose(found["learning_rate_in_force"][row, s], rates, rtol=1e-12, atol=1e-15)
            else:
                assert np.isnan(found["learning_rate_in_force"][row, s]).all()


def test_a_trial_that_has_ended_keeps_its_last_values(float64):
    space = {"learning_rate": [0.1, 1e6]}
    free = jl.sweep(jl.sgd, task(), space, steps=40, record=1).dataset
    target = float(free["train_loss"][0, 0, 20])
    found = jl.sweep(jl.sgd, task(), space, steps=40, record=1, target=target).dataset
    end = int(found["steps_taken"][0, 0])
    assert found["status"].values[:, 0].tolist() == ["reached", "diverged"]
    np.testing.assert_array_equal(found["mae"][0, 0, : end + 1], free["mae"][0, 0, : end + 1])
    np.testing.assert_array_equal(found["mae"][0, 0, end:], free["mae"][0, 0, end])
    bad = int(found["first_bad_step"][1, 0])
    assert np.isfinite(found["mae"][1, 0, :bad]).all()
    assert np.isnan(found["mae"][1, 0, bad:]).all()
    assert np.isposinf(found["train_loss"][1, 0, bad:]).all()


def test_a_skipped_step_takes_nothing_off_a_schedule(float64):
    def sometimes(w, batch):  # every fourth batch is bad
        value, aux = loss(w, batch[:2])
        return jnp.where(batch[2][0] % 4 == 3, jnp.nan, value), aux

    number = np.arange(STEPS + 1.0)
    steps = jl.Task("steps", lambda key: jnp.zeros(3), sometimes, (X[:13], Y[:13], number), batch_size=1)
    space = {"learning_rate": jl.static([falling])}
    found = jl.sweep(jl.sgd, steps, space, steps=STEPS, record=1, nonfinite=3).dataset.isel(config=0, seed=0)
    skipped = ~np.isfinite(found["train_loss"].values[:-1])
    taken = np.concatenate([[0], np.cumsum(~skipped)])
    assert 0 < skipped.sum() == int(found["skipped_steps"])
    np.testing.assert_allclose(found["learning_rate_in_force"], falling(taken), rtol=1e-12, atol=1e-15)


def test_curves_are_kept_with_the_run(tmp_path, float64):
    interrupt = iter([False] * 3 + [True] + [False] * 10_000)

    def report(progress):
        if progress.trial_steps and next(interrupt):
            raise KeyboardInterrupt

    options = {"steps": 4000, "seeds": SEEDS, "record": 7}
    space = {"a": {"learning_rate": jl.static([falling])}, "b": {"learning_rate": [0.1, 0.2]}}
    optimizers = {"a": jl.sgd, "b": jl.sgd}
    whole = jl.sweep(optimizers, task(), space, **options).dataset
    for _ in range(20):
        found = jl.sweep(optimizers, task(), space, out=tmp_path / "run", checkpoint=0, progress=report, **options)
        if not found.dataset.attrs["interrupted"]:
            break
    loaded = jl.load(tmp_path / "run").dataset
    for name in ("train_loss", "mae", "near", "learning_rate_in_force"):
        np.testing.assert_array_equal(found.dataset[name], whole[name])
        np.testing.assert_array_equal(loaded[name], whole[name])


def test_curves_can_be_chosen_by_where_their_name_says_which_way(float64):
    found = jl.sweep(jl.sgd, task(), {"learning_rate": [0.01, 0.1]}, steps=STEPS)
    assert found.best("mae").hyperparameters == {"learning_rate": 0.1}
    with pytest.raises(ValueError, match="whether more or less of 'near' is better"):
        found.best("near")
    assert {"mae", "near"} <= set(found.table().columns)
    assert "learning_rate_in_force" not in found.leaderboard().columns


@pytest.mark.parametrize(
    ("aux", "error", "words"),
    [
        ({"vector": jnp.ones(2)}, TypeError, "further scalar 'vector' must be one floating-point number"),
        ({3: 1.0}, TypeError, "names of further scalars must be strings"),
        ({"train_loss": 1.0}, ValueError, "cannot be called 'train_loss'"),
        ({"validation_mae": 1.0}, ValueError, "cannot be called 'validation_mae'"),
        ({"a/b": 1.0}, ValueError, "cannot be called 'a/b'"),
        ({"status": 1.0}, ValueError, "called 'status': results already use that name"),
        ({"learning_rate": 1.0}, ValueError, "called 'learning_rate': results already use that name"),
        ([1.0], TypeError, "got tuple of 2"),
    ],
)
def test_further_scalars_that_cannot_be(aux, error, words):
    made = task(loss=lambda w, batch: (loss(w, batch)[0], aux))
    with pytest.raises(error, match=words):
        jl.sweep(jl.sgd, made, {"learning_rate": [0.1]}, steps=2)
