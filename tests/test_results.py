"""Results: the dataset's contract, selection, tables, and that saving loses nothing."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxopt_lab as jl
from jaxopt_lab.sweep import collect

SPACE = {"learning_rate": jl.log(1e-3, 100, 6), "b1": [0.8, 0.9]}


@pytest.fixture(scope="module")
def results():
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    spaces = {"adam": SPACE, "sgd": {"learning_rate": jl.log(1e-3, 1e6, 6)}}
    return jl.sweep([jl.adam, jl.sgd], task, spaces, steps=60, seeds=3)


def test_dataset_has_the_promised_names(results):
    dataset = results.dataset
    assert dict(dataset.sizes) == {"config": 18, "seed": 3, "step": 61, "eval_step": 21}
    assert set(dataset.data_vars) == {
        *("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"),
        *("status", "first_bad_step", "steps_taken", "examples_seen", "gradients_taken"),
    }
    assert dataset.train_loss.dims == ("config", "seed", "step")
    np.testing.assert_array_equal(dataset.examples_seen, 32 * dataset.steps_taken)
    assert dataset.validation_loss.dims == ("config", "seed", "eval_step")
    assert set(dataset.coords) == {"config", "seed", "step", "eval_step", "optimizer", "learning_rate", "b1"}
    assert {*np.unique(dataset.status)} == {"completed", "diverged"}
    assert ((dataset.first_bad_step >= 0) == (dataset.status == "diverged")).all()
    assert not dataset.train_loss.isnull().any()


def test_attributes_tell_how_to_repeat_it(results):
    attrs = results.dataset.attrs
    assert attrs["steps"] == 60
    assert attrs["seeds"] == [0, 1, 2]
    assert attrs["task_function"] == "breast_cancer"
    assert json.loads(attrs["task_arguments"]) == {"l2": 1e-2, "holdout": True, "batch_size": 32}
    assert json.loads(attrs["space"])["adam"]["space"]["learning_rate"] == "jl.log(0.001, 100, 6)"
    assert set(json.loads(attrs["versions"])) >= {"jax", "optax", "jaxopt_lab"}
    assert attrs["device"].startswith(jax.default_backend())
    assert attrs["minimum"] == results.task.minimum


def test_best_is_the_least_median_over_seeds(results):
    final = results.dataset.validation_loss.values[..., -1]
    best = results.best()
    assert best.config == np.argmin(np.median(final, axis=1))
    assert best.value == np.median(final[best.config])
    assert best.values == tuple(final[best.config].tolist())
    assert best.hyperparameters["learning_rate"] == results.dataset.learning_rate.values[best.config]
    assert results.best("validation_loss") == best
    accuracy = results.dataset.test_accuracy.values[..., -1]
    assert results.best("test_accuracy").value == np.nanmax(np.median(accuracy, axis=1))
    sgd = results.best(optimizer="sgd")
    assert sgd.optimizer == "sgd"
    assert sgd.config >= 12
    assert set(sgd.hyperparameters) == {"learning_rate"}


def test_a_best_on_the_edge_of_the_grid_says_so():
    few = jl.sweep(jl.sgd, jl.tasks.linear_regression(), {"learning_rate": [1e-4, 1e-3, 1e-2]}, steps=30)
    assert few.best().on_edge == ("learning_rate",)
    enough = jl.sweep(jl.sgd, jl.tasks.linear_regression(), {"learning_rate": [1e-3, 0.5, 100.0]}, steps=30)
    assert enough.best().on_edge == ()


def test_a_diverged_seed_never_helps(results):
    loss = results.dataset.validation_loss.copy(deep=True)
    best = results.best().config
    loss[best, :2, -1] = np.inf  # two of three seeds diverge
    dataset = results.dataset.assign(validation_loss=loss)
    changed = dataclasses.replace(results, dataset=dataset)
    assert changed.best().config != best


def ended(results, status, **curves):
    """Change how trials ended: statuses broadcast to (configs, seeds), curves replaced as a whole."""
    shape = results.dataset.status.shape
    new = {"status": (("config", "seed"), np.broadcast_to(np.asarray(status), shape))}
    new |= {name: (results.dataset[name].dims, values) for name, values in curves.items()}
    return dataclasses.replace(results, dataset=results.dataset.assign(new))


@pytest.fixture(scope="module")
def small():
    """Four configurations by two seeds of 8 steps, evaluated every 2; finite throughout."""
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    space = {"learning_rate": [1e-3, 1e-2, 0.1, 1.0]}
    return jl.sweep(jl.sgd, task, space, steps=8, seeds=2, record=1, evaluate=2)


HELD_OUT = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("diverged", "of 8 trials 8 diverged; the furthest made 8 of 8 steps. Try smaller learning rates"),
        ("interrupted", "8 interrupted.*Let it run longer"),
        ("failed", "8 failed.*notes"),
        ([["diverged", "diverged"]] * 3 + [["diverged", "interrupted"]], "7 diverged, 1 interrupted"),
        ([["diverged", "completed"]] * 4, "4 diverged"),  # half of the seeds of each: no median
    ],
    ids=["diverged", "interrupted", "failed", "both", "halves"],
)
def test_where_none_is_best_an_error_says_how_they_ended(small, status, words):
    status = np.broadcast_to(np.asarray(status), (4, 2))
    curves = {name: small.dataset[name].values.copy() for name in HELD_OUT}
    for name, values in curves.items():
        values[status != "completed", 1:] = np.nan
        values[status == "diverged", 1:] = np.inf if name.endswith("loss") else np.nan
    results = ended(small, status, **curves)
    for call in (results.best, results.params, lambda: results.best(optimizer="sgd")):
        with pytest.raises(ValueError, match=words):
            call()
    assert len(results.leaderboard()) == 1  # nothing is hidden
    assert "8 trials" in repr(results)
    assert len(results.table()) == 8


ALL = [4] * 8
CUT = {  # how many evaluations are known of each trial beside that at the start, those that are not complete, and more
    "interrupted": ([4, 4, 2, 3, *ALL[4:]], {2: "interrupted", 3: "interrupted"}, 4, []),
    "running": ([4, 4, 2, 3, *ALL[4:]], {2: "running", 3: "running"}, 4, []),
    "not begun": ([*ALL[:4], 3, 0, 4, 4], {4: "interrupted", 5: "interrupted"}, 8, [2]),
    "ended": ([4, 4, 1, 1, 3, 4, 1, 4], {2: "stopped", 3: "stopped", 4: "running", 6: "diverged"}, 6, []),
    "held": ([4, 4, 3, 4, 2, 1, 4, 4], {2: "running", 4: "plateau", 5: "reached"}, 6, []),
}


@pytest.mark.parametrize(("known", "statuses", "step", "left_out"), CUT.values(), ids=CUT)
def test_an_unfinished_sweep_is_compared_at_the_last_step_that_all_reached(small, known, statuses, step, left_out):
    curves = {name: small.dataset[name].values.copy() for name in (*HELD_OUT, "train_loss")}
    for name, values in curves.items():
        for trial, points in enumerate(known):
            last = points if name != "train_loss" else 2 * points - (points < 4)
            values[trial // 2, trial % 2, last + 1 :] = np.nan
    status = np.full(8, "completed", dtype="<U11")
    for trial, text in statuses.items():
        status[trial] = text
    results = ended(small, status.reshape(4, 2), **curves)
    point = np.asarray(known) if step == 8 else np.minimum(known, step // 2)  # an ended trial keeps its last value
    point = np.where([statuses.get(trial) in ("plateau", "reached") for trial in range(8)], point, step // 2)
    whole = small.dataset.validation_loss.values.reshape(8, -1)
    expected = whole[np.arange(8), point].reshape(4, 2)
    expected[np.isin(status.reshape(4, 2), ("stopped", "diverged"))] = np.inf
    expected[left_out] = np.inf
    with pytest.warns(UserWarning, match=f"Compared at step {step} of 8") as said:
        best = results.best()
    assert ("left out" in str(said[0].message)) == bool(left_out)
    assert (best.step, best.config) == (step, np.argmin(np.median(expected, axis=1)))
    np.testing.assert_array_equal(best.values, expected[best.config])
    board = results.leaderboard()
    assert (board.step[0], board.config[0]) == (step, best.config)
    assert f"step {step}" in repr(results)
    assert small.best().step == 8
    assert "step" not in small.leaderboard()


def test_the_best_seed_has_the_most_of_what_is_to_be_maximized(small):
    accuracy = small.dataset.validation_accuracy.values.copy()
    accuracy[1, :, -1] = 0.25, 0.75
    status = np.full((4, 2), "completed", dtype="<U11")
    main = small.dataset.assign_attrs(main_metric="validation_accuracy")
    results = ended(dataclasses.replace(small, dataset=main), status, validation_accuracy=accuracy)
    np.testing.assert_array_equal(results.params(1), results.params(1, seed=1))
    status[1, 1] = "diverged"
    results = ended(results, status)
    np.testing.assert_array_equal(results.params(1), results.params(1, seed=0))


def test_parameters_of_a_trial_that_never_began_are_an_error(small):
    without = lambda x: np.where(np.arange(4)[:, None, None] == 2, np.nan, x)
    params = [(rows, jax.tree.map(without, tree)) for rows, tree in small.final_params]
    cut = ended(small, [["completed"] * 2] * 2 + [["interrupted"] * 2] * 2)
    results = dataclasses.replace(cut, final_params=params)
    with pytest.raises(ValueError, match=r"no parameters of configuration 2 with seed 1, which is interrupted.*rerun"):
        results.params(2, 1)
    np.testing.assert_array_equal(results.params(3, 1), small.params(3, 1))


def test_table_has_a_row_for_every_trial(results):
    table = results.table()
    assert len(table) == 54
    assert table.columns[:5].tolist() == ["config", "optimizer", "learning_rate", "b1", "seed"]
    row = table[(table.config == 4) & (table.seed == 2)].iloc[0]
    assert row.validation_loss == results.dataset.validation_loss.values[4, 2, -1]
    assert row.train_loss == results.dataset.train_loss.values[4, 2, -1]
    assert row.b1 == 0.8
    assert (table.status == "diverged").sum() == (results.dataset.status == "diverged").sum()


def test_grid_has_hyperparameters_as_dimensions(results):
    grid = results.grid("adam")
    assert dict(grid.sizes) == {"learning_rate": 6, "b1": 2, "seed": 3, "step": 61, "eval_step": 21}
    for config in (0, 5, 11):
        own = results.dataset.isel(config=config)
        cell = grid.sel(learning_rate=own.learning_rate.values, b1=own.b1.values)
        np.testing.assert_array_equal(cell.train_loss, own.train_loss)
    assert dict(results.grid("sgd").sizes)["learning_rate"] == 6
    with pytest.raises(ValueError, match="name one of adam, sgd"):
        results.grid()
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        results.grid("adm")


def test_leaderboard_ranks_optimizers(results):
    board = results.leaderboard()
    assert sorted(board.optimizer) == ["adam", "sgd"]
    assert board.validation_loss.is_monotonic_increasing
    assert results.leaderboard("test_accuracy").test_accuracy.is_monotonic_decreasing
    for row in board.itertuples():
        best = results.best(optimizer=row.optimizer)
        assert (row.config, row.validation_loss) == (best.config, best.value)
        assert row.validation_loss_q25 <= row.validation_loss <= row.validation_loss_q75
        own = results.dataset.status.values[results.dataset.optimizer.values == row.optimizer]
        assert row.diverged == (own == "diverged").mean()


def test_good_decades_is_the_width_around_the_best():
    """By hand: reductions of 100, 96, 99, 50 % around the best: three neighbours are good, one decade apart each."""
    rates, final = [1e-4, 1e-3, 1e-2, 1e-1, 1.0], [0.96, 0.04, 0.0, 0.01, 0.5]
    base = jl.sweep(jl.sgd, jl.tasks.quadratic(), {"learning_rate": rates}, steps=1, record=1)
    loss = xr.zeros_like(base.dataset.train_loss)
    loss[:, 0, 0], loss[:, 0, 1] = 1.0, final
    board = dataclasses.replace(base, dataset=base.dataset.assign(train_loss=loss)).leaderboard()
    assert board.good_decades[0] == pytest.approx(2.0)


def test_params_predict(results):
    best = results.best()
    losses = [float(results.task.loss(results.params(seed=s), results.task.validation)) for s in range(3)]
    np.testing.assert_allclose(losses, best.values, rtol=1e-5)
    assert float(results.task.loss(results.params(), results.task.validation)) == pytest.approx(min(losses), rel=1e-6)


ERRORS = [
    (lambda r: r.best("validation_los"), "Did you mean 'validation_loss'"),
    (lambda r: r.best(optimizer="adma"), "Did you mean 'adam'"),
    (lambda r: r.leaderboard("loss"), "Unknown metric 'loss'"),
    (lambda r: r.params(config=99), "no configuration 99"),
    (lambda r: r.params(seed=99), "no seed 99"),
    (lambda r: dataclasses.replace(r, final_params=[]).params(), "more than 256 MiB, or with keep_top="),
]


@pytest.mark.parametrize(("call", "words"), ERRORS)
def test_errors_say_what_to_do(call, words, results):
    with pytest.raises(ValueError, match=words):
        call(results)


def test_html_escapes_names():
    task = dataclasses.replace(jl.tasks.quadratic(), name="<script>alert(1)</script>", factory=None)
    results = jl.sweep({"<b>adam</b>": jl.adam}, task, {"learning_rate": [0.1, 1.0]}, steps=3)
    html = results._repr_html_()
    assert "<script>" not in html
    assert "<b>adam" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;adam" in html


def test_saving_loses_nothing(results, tmp_path):
    path = results.save(tmp_path / "run.zarr")
    loaded = jl.load(path)
    xr.testing.assert_identical(loaded.dataset, results.dataset)
    for name, variable in results.dataset.variables.items():
        assert loaded.dataset[name].dtype == variable.dtype
    assert loaded.best() == results.best()
    assert loaded.task is not None
    jax.tree.map(np.testing.assert_array_equal, loaded.final_params, results.final_params)
    jax.tree.map(np.testing.assert_array_equal, loaded.params(config=3, seed=1), results.params(config=3, seed=1))
    assert "train_loss" in xr.open_zarr(path, consolidated=False)


def test_trees_and_types_of_parameters_survive(tmp_path):
    def init(key):
        return {"a": (jnp.ones(2, jnp.bfloat16), [jnp.zeros(()), jnp.ones((2, 3), jnp.float16)]), "b": jnp.ones(1)}

    loss = lambda w, _: sum(jnp.sum(x.astype(float) ** 2) for x in jax.tree.leaves(w))
    task = jl.Task("tree", init, loss, train=None)
    space = {"learning_rate": [0.1], "eps": [1e-8], "nesterov": jl.static([None, True, "x"])}
    results = jl.sweep(lambda learning_rate, eps, nesterov: jl.sgd(learning_rate), task, space, steps=2)
    path = results.save(tmp_path / "run.zarr")
    loaded = jl.load(path)
    assert loaded.task is None
    assert loaded.dataset.nesterov.values.tolist() == [None, True, "x"]
    mine, theirs = results.params(), loaded.params()
    assert isinstance(theirs["a"], list)  # a tuple, when nobody says so
    assert jax.tree.structure(jl.load(path, task=task).params()) == jax.tree.structure(mine)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_nothing_is_overwritten(results, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        results.save(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_damaged_results_are_refused(results, tmp_path):
    path = results.save(tmp_path / "run.zarr")
    (path / "params" / "0" / ".zattrs").write_text("{}")
    with pytest.raises(ValueError, match="is not a results folder"):
        jl.load(path)


def test_strangers_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no"):
        jl.load(tmp_path / "nothing")
    (tmp_path / "file").write_text("hello")
    (tmp_path / "folder").mkdir()
    xr.Dataset({"x": ("y", [1, 2])}).to_zarr(tmp_path / "other.zarr", zarr_format=2, consolidated=False)
    for name in ("file", "folder", "other.zarr"):
        with pytest.raises(ValueError, match="is not a results folder"):
            jl.load(tmp_path / name)


def test_decisions_are_recorded_in_an_order_that_does_not_hang_on_which_race_is_faster():
    made = [(name, bracket, rung) for name in ("sgd", "adam") for bracket in range(2) for rung in range(2)]
    decisions = [dict(zip(("optimizer", "bracket", "rung"), of, strict=True)) for of in made]
    tables: Any = {"sgd": None, "adam": None}
    assert collect._in_order([*decisions[4:], *decisions[1::-1], *decisions[2:4]], tables) == decisions
