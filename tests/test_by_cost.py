"""Results at equal cost: curves, boards and plots by gradients, training examples and seconds."""

import dataclasses
import functools
import json

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxopt_lab as jl
from jaxopt_lab.engine.devices import devices, thread_count
from jaxopt_lab.tasks.task import task_function

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4))
Y = X @ RNG.normal(size=4) + 0.5 * RNG.normal(size=96)


@task_function
def line(batch_size: int = 4) -> jl.Task:
    loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    held_out = {"validation": (X[48:], Y[48:])}
    return jl.Task("line", lambda key: jnp.zeros(4), loss, (X[:48], Y[:48]), batch_size=batch_size, **held_out)


@functools.cache
def swept():
    """Return a sweep of two methods, of which SAM takes two gradients a step, and whose last rate diverges late."""
    return jl.sweep(
        {"sgd": jl.sgd, "sam": jl.sam},
        line,
        {"learning_rate": [0.01, 0.03, 0.6]},
        steps=40,
        seeds=2,
        evaluate=4,
        record=1,
    )


def test_at_equal_gradients(float64):
    before, after = swept().dataset, swept().by("gradients").dataset
    assert after["gradients"].values.tolist() == list(range(0, 41, 2))  # 40 gradients are all that SGD takes
    assert after["eval_gradients"].values.tolist() == [0, 8, 16, 24, 32, 40]
    of = lambda name: before["optimizer"] == name
    for axis, curve in (("step", "train_loss"), ("eval_step", "validation_loss")):
        points = after[f"{'eval_' if axis != 'step' else ''}gradients"].values
        for name, each in (("sgd", 1), ("sam", 2)):
            wanted = before[curve].isel(config=of(name)).sel({axis: points // each}).values
            np.testing.assert_array_equal(after[curve].isel(config=of(name)).values, wanted)
    assert (after["gradients_taken"] <= 40).all()
    assert after["steps_taken"].isel(config=of("sam")).values[0].tolist() == [20, 20]
    board = swept().by("gradients").leaderboard().set_index("optimizer")
    assert board.loc["sam", "validation_loss"] == np.median(
        before["validation_loss"].sel(config=board.loc["sam", "config"], eval_step=20)
    )
    assert "of 40 gradients on line" in repr(swept().by("gradients"))
    with pytest.raises(ValueError, match="There are no parameters"):
        swept().by("gradients").params()


def test_a_trial_that_ended_at_a_greater_cost_was_going_on(float64):
    before, after = swept().dataset, swept().by("gradients").dataset
    bad = before["first_bad_step"].values * np.where(before["optimizer"] == "sam", 2, 1)[:, None]
    diverged = before["status"].values == "diverged"
    assert (diverged & (bad > 40)).any()
    np.testing.assert_array_equal(after["status"].values == "diverged", diverged & (bad <= 40))
    np.testing.assert_array_equal(after["status"].values == "completed", ~diverged | (bad > 40))
    np.testing.assert_array_equal(after["first_bad_step"].values >= 0, diverged & (bad <= 40))


def test_a_trial_that_ended_at_less_cost_stays_as_it_is(float64):
    results = jl.sweep({"sgd": jl.sgd, "sam": jl.sam}, line, {"learning_rate": [0.9]}, steps=40, seeds=2)
    before, after = results.dataset, results.by("gradients").dataset
    for name in ("status", "first_bad_step", "steps_taken", "gradients_taken"):
        np.testing.assert_array_equal(after[name], before[name])
    assert (after["status"] == "diverged").all()


def test_at_equal_examples(float64):
    space = {"learning_rate": [0.02], "task.batch_size": jl.static([2, 4, 12])}
    results = jl.sweep(jl.sgd, line, space, steps=24, evaluate=1, record=1)
    found = results.by("examples").dataset
    assert found["eval_examples"].values.tolist() == [0, 12, 24, 36, 48]  # all of 24 steps of 2
    for i, each in enumerate((2, 4, 12)):
        wanted = results.dataset["validation_loss"].values[i, 0, [0, 12 // each, 24 // each, 36 // each, 48 // each]]
        np.testing.assert_array_equal(found["validation_loss"].values[i, 0], wanted)
    assert found["examples_seen"].values.ravel().tolist() == [48] * 3
    xr.testing.assert_identical(results.by("examples").by("examples").dataset, found)


def timed(results, *seconds):
    """Return results in which a step of each group took these seconds."""
    strategies = json.loads(results.dataset.attrs["strategies"])
    for strategy, value in zip(strategies, seconds, strict=True):
        strategy["step_seconds"] = value
    dataset = results.dataset.assign_attrs(strategies=json.dumps(strategies))
    return dataclasses.replace(results, dataset=dataset)


def test_at_equal_seconds(float64, tmp_path):
    results = timed(swept(), 1e-3, 2.5e-3)
    found = results.by("seconds")
    np.testing.assert_allclose(found.dataset["eval_seconds"], [0, 0.01, 0.02, 0.03, 0.04])
    sam = found.dataset["validation_loss"].values[3]
    np.testing.assert_array_equal(sam, results.dataset["validation_loss"].sel(config=3, eval_step=[0, 4, 8, 12, 16]))
    sgd = found.dataset["validation_loss"].values[0]  # at 0.01 seconds, ten steps: the last evaluation was after eight
    np.testing.assert_array_equal(sgd, results.dataset["validation_loss"].sel(config=0, eval_step=[0, 8, 20, 28, 40]))
    np.testing.assert_allclose(found.dataset["seconds_taken"].values[[0, 3]], 0.04)
    ax = found.plot.curves("validation_loss")
    assert ax.get_xlabel() == "time on one core or accelerator (s)"
    assert "0.04 seconds" in ax.get_title(loc="left")
    found.save(tmp_path / "saved")
    xr.testing.assert_identical(jl.load(tmp_path / "saved", line()).dataset, found.dataset)


def test_the_seconds_of_a_step_are_measured():
    """Those of all trials together are at most what the threads had."""
    results = jl.sweep({"sgd": jl.sgd, "sam": jl.sam}, line, {"learning_rate": [0.01] * 1}, steps=3000, seeds=8)
    attrs = results.dataset.attrs
    each = [strategy["step_seconds"] for strategy in json.loads(attrs["strategies"])]
    assert min(each) > 0
    assert sum(each) * 3000 * 8 <= thread_count(devices()) * attrs["run_seconds"] * 1.001
    assert results.by("seconds").dataset.attrs["seconds"] == pytest.approx(min(each) * 3000, rel=1e-3)


def test_merged_sweeps_have_the_costs_of_both():
    one, other = (
        timed(jl.sweep(jl.sgd, line, {"learning_rate": [rate]}, steps=8, evaluate=2), seconds)
        for rate, seconds in ((0.01, 1e-3), (0.02, 3e-3))
    )
    assert jl.concat([one, other]).by("seconds").dataset.attrs["seconds"] == pytest.approx(8 * 2e-3)


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r"Unknown cost 'flops'"):
        swept().by("flops")
    searched = jl.sweep(jl.lbfgs, line, {}, steps=3)
    with pytest.raises(ValueError, match=r"depends on losses, for lbfgs: compare by seconds"):
        searched.by("gradients")
    without = jl.sweep(jl.sgd, jl.tasks.quadratic(), {"learning_rate": 0.1}, steps=3)
    with pytest.raises(ValueError, match=r"The examples of this sweep's trials were not counted"):
        without.by("examples")
    unfinished = dataclasses.replace(
        searched, dataset=searched.dataset.assign(status=searched.dataset["status"].where(False, "running"))
    )
    with pytest.raises(ValueError, match=r"when their sweep has ended"):
        unfinished.by("seconds")
    strategies = json.loads(searched.dataset.attrs["strategies"])
    for strategy in strategies:
        del strategy["step_seconds"]
    unknown = searched.dataset.assign_attrs(strategies=json.dumps(strategies))
    with pytest.raises(ValueError, match=r"seconds of a step of lbfgs were not measured"):
        dataclasses.replace(searched, dataset=unknown).by("seconds")
