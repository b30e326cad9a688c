"""Budgets in examples and epochs: each batch size has its own number of steps, compared with a sweep of its own."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy.stats import rankdata

import jaxopt_lab as jl
from jaxopt_lab.cli.spec import SpecError, parse

N = 120
SIZES = [8, 20, 50]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.1 * RNG.normal(size=N)


@functools.cache
def line(batch_size: int | None = None):
    loss = lambda w, batch: jax.numpy.mean((batch[0] @ w - batch[1]) ** 2)
    return jl.Task("line", lambda key: jax.random.normal(key, (3,)), loss, (X, Y), (X, Y), batch_size=batch_size)


RATES = {"learning_rate": [0.01, 0.1]}
SPACE = {**RATES, "task.batch_size": jl.static(SIZES)}


def steps_of(examples, size):
    return -(-examples // size)


@pytest.mark.parametrize("cut", [{}, {"chunk": 1}, {"strategy": "steps"}], ids=str)
def test_each_batch_size_is_a_sweep_of_its_own(cut, float64):
    total = 500
    found = jl.sweep(jl.sgd, line, SPACE, steps=jl.examples(total), seeds=2, **cut).dataset
    assert found["train_loss"].dims == ("config", "seed", "examples")
    at, evaluated = found["examples"].values, found["eval_examples"].values
    assert at[0] == evaluated[0] == 0
    assert at[-1] == evaluated[-1] == total
    for size in SIZES:
        steps, rows = steps_of(total, size), np.flatnonzero(found["task.batch_size"].values == size)
        alone = jl.sweep(jl.sgd, line(size), RATES, steps=steps, seeds=2, record=1, evaluate=1).dataset
        np.testing.assert_array_equal(found["steps_taken"][rows], steps)
        np.testing.assert_array_equal(found["examples_seen"][rows], steps * size)
        curves = alone["train_loss"].sel(step=[steps_of(x, size) for x in at])
        np.testing.assert_allclose(found["train_loss"][rows], curves, rtol=1e-12)
        curves = alone["validation_loss"].sel(eval_step=[steps_of(x, size) for x in evaluated])
        np.testing.assert_allclose(found["validation_loss"][rows], curves, rtol=1e-12)


def test_epochs_are_passes_over_the_data(float64):
    space = SPACE | {"task.batch_size": jl.static([8, None])}
    found = jl.sweep(jl.sgd, line, space, steps=jl.epochs(2.5)).dataset
    assert found.attrs["examples"] == 300
    assert sorted(set(found["steps_taken"].values.ravel().tolist())) == [3, 38]


def test_a_run_is_resumed_and_repeated(tmp_path, float64):
    interrupt = iter([False] * 3 + [True] + [False] * 10_000)

    def report(progress):
        if progress.trial_steps and next(interrupt):
            raise KeyboardInterrupt

    options = {"steps": jl.examples(40_000), "seeds": 2, "stop": jl.halving(2, min_steps=10_000)}
    whole = jl.sweep(jl.sgd, line, SPACE, **options)
    for _ in range(20):
        found = jl.sweep(jl.sgd, line, SPACE, out=tmp_path / "run", checkpoint=0, progress=report, **options)
        if not found.dataset.attrs["interrupted"]:
            break
    loaded = jl.load(tmp_path / "run", line())
    for results in (found, loaded):
        for name in ("train_loss", "validation_loss", "status", "steps_taken", "examples_seen"):
            np.testing.assert_array_equal(results.dataset[name], whole.dataset[name], err_msg=name)
    for config in (0, 5):
        again = jl.rerun(loaded, config, 1, task=line)
        assert again.largest_difference < 1e-12
    with pytest.raises(jl.RunError, match="steps"):
        jl.sweep(jl.sgd, line, SPACE, out=tmp_path / "run", **options | {"steps": jl.examples(40_001)})
    with pytest.raises(jl.RunError, match="budget in"):
        jl.sweep(jl.sgd, line, SPACE, out=tmp_path / "run", **options | {"steps": 40_000})


def test_rungs_are_examples(float64):
    results = jl.sweep(jl.sgd, line, SPACE, steps=jl.examples(1000), seeds=2, stop=jl.halving(2, min_steps=300))
    found = results.dataset
    free = jl.sweep(jl.sgd, line, SPACE, steps=jl.examples(1000), seeds=2).dataset
    stopped = found["status"].values == "stopped"
    sizes = np.array([[size] * 2 for size in found["task.batch_size"].values.tolist()])
    at = np.where(found["rung"].values == 0, 300, 600)
    np.testing.assert_array_equal(found["steps_taken"].values[stopped], steps_of(at, sizes)[stopped])
    np.testing.assert_array_equal(found["train_loss"].values[~stopped], free["train_loss"].values[~stopped])
    losses = found["validation_loss"].sel(eval_examples=300).values
    survivors = found["rung"].values != 0
    for seed in range(2):
        assert set(rankdata(losses[:, seed])[survivors[:, seed]]) == {1, 2, 3}


def test_a_schedule_knows_each_trials_length(float64):
    optimizer = jl.scheduled(jl.sgd, jl.schedules.linear)
    found = jl.sweep(optimizer, line, SPACE, steps=jl.examples(400), record=1).dataset
    rates = found["learning_rate_in_force"].values[:, 0]
    np.testing.assert_allclose(rates[:, 0], found["learning_rate"])
    np.testing.assert_allclose(rates[:, -1], 0.0, atol=1e-15)


def test_what_trials_of_unequal_examples_are_told_by(float64):
    unequal = jl.sweep(jl.sgd, line, SPACE, steps=30, seeds=2)
    assert "8 to 50 examples a step" in repr(unequal)
    spaces = {"sgd": {"learning_rate": [0.1]}, "adam": {"learning_rate": [0.1], "task.batch_size": jl.static([8])}}
    board = jl.sweep([jl.sgd, jl.adam], line, spaces, steps=30).leaderboard()
    assert dict(zip(board["optimizer"], board["examples"], strict=True)) == {"sgd": 30 * N, "adam": 240}
    equal = jl.sweep(jl.sgd, line, SPACE, steps=jl.examples(400), seeds=2)
    assert "examples a step" not in repr(equal)
    assert "12 trials (6 configurations x 2 seeds) of 400 examples on line" in repr(equal)
    assert "examples" not in equal.leaderboard()
    ax = equal.plot.curves("train_loss")
    assert ax.get_xlabel() == "training examples seen"
    assert "400 examples" in ax.get_title("left")


WRONG = [
    (jl.examples, 0, "must be at least 1"),
    (jl.examples, 2.5, "must be an integer"),
    (jl.epochs, 0, "must be above 0"),
    (jl.epochs, "ten", "must be a number"),
]


@pytest.mark.parametrize(("make", "count", "message"), WRONG)
def test_no_budget(make, count, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make(count)


def endless():
    return dataclasses.replace(line(), train=lambda key: (jax.random.normal(key, (4, 3)), jax.numpy.zeros(4)))


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (jl.tasks.quadratic(), {"steps": jl.examples(10)}, "has no training data"),
        (endless(), {"steps": jl.epochs(1)}, r"no epochs to count. Use jl\.examples"),
        (line, {"steps": jl.epochs}, r"must be an integer, jl\.examples\(\.\.\.\)"),
        (line(50), {"steps": jl.examples(400), "stop": jl.halving(2, min_steps=370)}, "closer than a step of 50"),
    ],
)
def test_budgets_that_cannot_be(task, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        jl.plan(jl.sgd, task, {"learning_rate": [0.1, 0.2]}, **options)


def test_endless_data_have_examples(float64):
    found = jl.sweep(jl.sgd, endless(), {"learning_rate": [0.1]}, steps=jl.examples(42)).dataset
    assert found["steps_taken"].item() == 11


SPEC = 'name = "x"\nseeds = 1\nsteps = BUDGET\n[tasks.digits_mlp]\n[optimizers.sgd]\nlearning_rate = [0.1]\n'


@pytest.mark.parametrize(
    ("raw", "budget"), [("{ epochs = 2.5 }", jl.epochs(2.5)), ("{ examples = 900 }", jl.examples(900))]
)
def test_a_spec_may_give_examples(raw, budget):
    assert parse(SPEC.replace("BUDGET", raw), "x.toml").options["steps"] == budget


@pytest.mark.parametrize("raw", ["{ epoch = 2 }", "{ examples = 2.5 }", "{}", "{ epochs = 1, examples = 2 }"])
def test_a_wrong_budget_in_a_spec_is_named_with_its_line(raw):
    with pytest.raises(SpecError, match=r"x\.toml:3: "):
        parse(SPEC.replace("BUDGET", raw), "x.toml")
