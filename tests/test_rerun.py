"""Repeating one trial of a sweep."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tracing.caching import remembered

TASK = {"holdout": True, "batch_size": 32}


@remembered(maxsize=8)  # several tests look at one sweep; none changes it
def sweep(**changes):
    space = {"learning_rate": jl.log(1e-3, 1.0, 3), "nesterov": jl.static([False, True])}
    options = {"steps": 40, "seeds": [2, 7], "record": 4} | changes
    return jl.sweep([jl.momentum, jl.sgd], jl.tasks.breast_cancer(**TASK), space, **options)


@pytest.mark.parametrize("kept", ["in memory", "in a folder"])
def test_a_trial_again_is_the_trial(kept, tmp_path, precision):
    results = sweep() if kept == "in memory" else sweep(out=tmp_path / "run")
    again = jl.rerun(results if kept == "in memory" else tmp_path / "run", config=9, seed=7)
    assert again.agrees
    assert again.largest_difference < {"float32": 1e-5, "float64": 1e-13}[precision]
    assert again.dataset.sizes["step"] == 41
    stored = results.dataset.sel(config=9, seed=7)
    np.testing.assert_allclose(again.dataset.train_loss.values[::4], stored.train_loss, rtol=again.tolerance)
    np.testing.assert_allclose(again.params, results.params(9, 7), rtol=1e-3, atol=1e-6)
    assert again.dataset["learning_rate"] == stored["learning_rate"]
    assert str(again.dataset["nesterov"].values) == str(stored["nesterov"].values) == "True"


@pytest.mark.parametrize("record", [4, 5])  # a rung is no recorded step, or is one
def test_a_stopped_trial_goes_as_far_as_it_went(record):
    results = sweep(stop=jl.halving(2, min_steps=10), record=record)
    config = int(results.dataset.config[(results.dataset.rung == 0).all("seed")][0])
    again = jl.rerun(results, config, 2)
    assert again.dataset.attrs["steps"] == 10
    assert again.agrees


@pytest.mark.parametrize("altered", [1.01, np.nan, np.inf])
def test_an_altered_curve_does_not_agree(altered):
    results = sweep()
    losses = results.dataset.train_loss.copy()
    losses[3, 0, 5] *= altered
    altered = dataclasses.replace(results, dataset=results.dataset.assign(train_loss=losses))
    assert not jl.rerun(altered, 3, 2).agrees
    assert jl.rerun(altered, 3, 7).agrees


def picky(learning_rate, a=0, b=0):
    """An optimizer whose rate depends on the type of a value, so that another value has another curve."""
    return jl.sgd(learning_rate * (1 + len(repr(a)) / 8 + len(repr(b)) / 64 + (a is None) / 2 + (b is True) / 32))


@pytest.mark.parametrize(
    "values",
    [[None, 0.9], [1, True, 1.0], [0.0, -0.0], [(1, (2, None)), (1.0, (2, None))], [None, "None", ""], [16, 8]],
    ids=str,
)
def test_structural_values_are_read_back_as_what_they_were(values, tmp_path):
    task = jl.tasks.quadratic()
    rate = {"learning_rate": 0.1}
    spaces = {"one": rate | {"a": jl.static(values)}, "two": rate | {"b": jl.static(["x"])}}
    results = jl.sweep({"one": picky, "two": picky}, task, spaces, steps=8, record=1)
    loaded = jl.load(results.save(tmp_path / "results"))
    for config in range(len(values) + 1):
        assert jl.rerun(loaded, config, 0, optimizer=picky, task=task).agrees


def test_none_beside_numbers_and_integers_of_one_optimizer_alone():
    spaces = {
        "sgd": {"learning_rate": 0.1, "momentum": jl.static([None, 0.9])},
        "galore": {"learning_rate": 0.1, "rank": jl.static([1, 2])},
    }
    task = jl.Task("matrix", lambda key: jnp.ones((3, 3)), lambda w, _: jnp.mean(w**2), train=None)
    results = jl.sweep(["sgd", "galore"], task, spaces, steps=8, record=1)
    assert all(jl.rerun(results, config, 0, task=task).agrees for config in range(4))


def test_what_cannot_be_known_is_asked_for():
    task = dataclasses.replace(jl.tasks.quadratic(), name="mine", factory=None)
    results = jl.sweep({"mine": jl.adam}, task, {"learning_rate": [0.1]}, steps=5)
    stranger = dataclasses.replace(results, task=None)
    with pytest.raises(ValueError, match="pass its factory"):
        jl.rerun(results, 0, 0)
    with pytest.raises(ValueError, match="pass it, as task="):
        jl.rerun(stranger, 0, 0, optimizer=jl.adam)
    with pytest.raises(ValueError, match="no config 1: there are"):
        jl.rerun(results, 1, 0)
    with pytest.raises(ValueError, match="no seed 5"):
        jl.rerun(results, 0, 5)
    assert jl.rerun(stranger, 0, 0, optimizer=jl.adam, task=task).agrees
    masked = jl.sweep(jl.adamw, task, {"learning_rate": [0.1], "mask": jl.static([lambda w: True])}, steps=5)
    with pytest.raises(ValueError, match="cannot be read back: pass it"):
        jl.rerun(masked, 0, 0)
    assert jl.rerun(masked, 0, 0, values={"mask": lambda w: True}).agrees


def mine(matrix=1.0, threshold=0.5, held_out=3.0):
    return jl.Task(
        "mine",
        lambda key: jax.random.normal(key, (2,)),
        lambda w, _: jnp.sum((jnp.eye(2) * matrix @ w - 1) ** 2),
        train=None,
        validation=jnp.full((3,), held_out),
        metrics={"hits": lambda w, x: jnp.mean(w > threshold)},
    )


def scaled(scale):
    return lambda learning_rate: optax.chain(optax.scale(scale), optax.sgd(learning_rate))


@remembered(maxsize=1)
def small_sweep():
    return jl.sweep({"scaled": scaled(0.5), "adam": jl.adam}, mine(), {"learning_rate": [0.1, 0.2]}, steps=3)


@pytest.mark.parametrize("kept", ["in memory", "saved"])
@pytest.mark.parametrize(
    ("task", "optimizer", "said"),
    [
        (
            mine(2.0),
            scaled(0.5),
            r": task, loss: changed; .*optimizer scaled, mathematics of a step: changed",
        ),
        (mine(threshold=0.7), scaled(0.5), r": task, metrics, hits: changed\. Pass"),
        (mine(held_out=4.0), scaled(0.5), r": task, validation data: changed\. Pass"),
        (mine(), scaled(0.25), r": optimizer scaled, mathematics of a step: changed\. Pass"),
    ],
    ids=["loss", "metric", "data", "optimizer"],
)
def test_another_problem_is_refused(kept, task, optimizer, said, tmp_path):
    results = small_sweep()
    results = jl.load(results.save(tmp_path / "saved")) if kept == "saved" else results
    assert jl.rerun(results, 1, 0, task=mine(), optimizer=scaled(0.5)).agrees
    with pytest.raises(ValueError, match=f"This is not a trial of the sweep{said}"):
        jl.rerun(results, 1, 0, task=task, optimizer=optimizer)


@pytest.mark.parametrize("problem", ["[", "[1, 2]", '{"task": 1}', '{"task": [], "optimizers": {}}'])
def test_a_damaged_problem_is_none(problem):
    results = small_sweep()
    altered = dataclasses.replace(results, dataset=results.dataset.assign_attrs(problem=problem))
    with pytest.raises(ValueError, match="This is not a trial of the sweep: "):
        jl.rerun(altered, 2, 0, task=mine())


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", 2**-3.5), ("float16", 2**-5), ("float32", 2**-11.5), ("float64", 2**-26)],
)
def test_the_tolerance_is_that_of_the_parameters(dtype, expected, float64):
    init = lambda key: jax.random.normal(key, (8,), dtype)
    task = jl.Task("low", init, lambda w, _: jnp.sum((w - 1) ** 2), train=None)
    again = jl.rerun(jl.sweep(jl.sgd, task, {"learning_rate": [0.01]}, steps=20), 0, 0)
    assert again.tolerance == expected
    assert again.agrees
