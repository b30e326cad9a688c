"""Labels: values keep their type in tables, pictures and files, and different values never share a label."""

import functools
import io

import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import jaxopt_lab as jl
from jaxopt_lab.labels import distinct, labels, same
from jaxopt_lab.results.written import written_table


def schedule_of(factor):
    def schedule(t):
        return factor * t

    return schedule


class Thing:
    pass


ONE, TWO = schedule_of(1), schedule_of(2)
COLUMNS = {  # values, what the table calls them, its type, what the file of the table has
    "integers": (np.array([64, 4, 16]), [64, 4, 16], "int64", [64, 4, 16]),
    "booleans": ([True, False], [True, False], "bool", [True, False]),
    "floats": ([0.5, 0.25], [0.5, 0.25], "float64", [0.5, 0.25]),
    "texts": (["relu", ""], ["relu", ""], "<U4", ["relu", ""]),
    "None and a number": ([None, 4], [None, 4], "object", ["None", "4"]),
    "None and a text": ([None, "relu"], [None, "relu"], "object", ["None", "relu"]),
    "None and its name": ([None, "None", "x"], [None, "None", "x"], "object", ["None", "'None'", "x"]),
    "equal ones": ([1, True, 1.0], [1, True, 1.0], "object", ["1", "True", "1.0"]),
    "large": ([10**30, 1], [10**30, 1], "object", [str(10**30), "1"]),
    "zeros": ([0.0, -0.0], [0.0, -0.0], "float64", [0.0, -0.0]),
    "not finite": ([float("inf"), 1.0], ["inf", 1.0], "object", ["inf", "1.0"]),
    "tuples": ([(4, 16), (4.0,), ("a", None)], ["(4, 16)", "(4.0,)", "('a', None)"], "<U11", None),
    "one function": ([ONE], ["schedule"], "<U8", None),
    "two functions": ([ONE, TWO], ["schedule 1", "schedule 2"], "<U10", None),
    "a function and its name": ([ONE, "schedule"], ["schedule 1", "schedule"], "<U10", None),
    "functions in tuples": ([(ONE, 1), (TWO, 1)], ["(schedule, 1) 1", "(schedule, 1) 2"], "<U15", None),
    "partials": ([functools.partial(schedule_of, 1), None], ["schedule_of", None], "object", ["schedule_of", "None"]),
    "objects": ([Thing(), Thing()], ["Thing 1", "Thing 2"], "<U7", None),
}


def optimizer(learning_rate, a=None):
    return jl.sgd(learning_rate)


def exactly(values):
    return [(type(value), repr(value)) for value in values]


@pytest.mark.parametrize(("values", "called", "dtype", "in_files"), COLUMNS.values(), ids=COLUMNS)
def test_columns(values, called, dtype, in_files, tmp_path):
    task = jl.tasks.quadratic()
    alone = jl.sweep({"one": optimizer}, task, {"learning_rate": [0.1, 0.2], "a": jl.static(values)}, steps=2)
    column = alone.dataset["a"]
    assert column.dtype == dtype
    assert exactly(column.values.tolist()) == exactly(called * 2)

    loaded = jl.load(alone.save(tmp_path / "alone"))
    assert loaded.dataset["a"].dtype == dtype
    assert exactly(loaded.dataset["a"].values.tolist()) == exactly(called * 2)
    assert exactly(loaded.table()["a"].tolist()) == exactly(called * 2)
    assert loaded.best() == alone.best()
    for config, value in enumerate(called):
        best = alone.best()
        if best.config == config:
            assert exactly([best.hyperparameters["a"]]) == exactly([value])

    grid = loaded.grid()
    assert grid.sizes["a"] == len(called)
    assert len(set(grid["a"].values.tolist())) == len(called)
    for config in range(2 * len(called)):
        place = distinct(loaded.dataset["a"].values[: len(called)])[1][config % len(called)]
        cell = grid.isel(learning_rate=config // len(called), a=int(place))
        np.testing.assert_array_equal(cell["train_loss"], loaded.dataset["train_loss"].isel(config=config))

    file = io.BytesIO()
    written_table(loaded).to_parquet(file, index=False)
    assert pd.read_parquet(file)["a"].tolist() == (called if in_files is None else in_files) * 2
    loaded.plot.sensitivity(hyperparameter="a")
    loaded.plot.heatmap("a", "learning_rate")
    names = loaded.plot.curves(configs=range(len(called))).get_legend_handles_labels()[1]
    assert len({*names}) == len(called)


@pytest.mark.parametrize("values", [[4, 16], [True, False], ["", "x"], [None, 4], [None, ""], [0.5, 0.25]], ids=str)
def test_what_an_optimizer_does_not_have_is_neither_none_nor_a_text(values, tmp_path):
    spaces = {"one": {"learning_rate": 0.1, "a": jl.static(values)}, "two": {"learning_rate": 0.1}}
    results = jl.sweep({"one": optimizer, "two": optimizer}, jl.tasks.quadratic(), spaces, steps=2)
    for found in (results, jl.load(results.save(tmp_path / "results"))):
        *own, absent = found.dataset["a"].values.tolist()
        assert exactly(own) == exactly(values)
        assert isinstance(absent, float)
        assert np.isnan(absent)
        assert "a" not in found.best(optimizer="two").hyperparameters
        assert "a" in found.best(optimizer="one").hyperparameters
        assert exactly(sorted(found.grid("one")["a"].values.tolist(), key=repr)) == exactly(sorted(values, key=repr))
        found.plot.sensitivity(hyperparameter="a")
        assert pd.isna(written_table(found)["a"].tolist()[-1])


def test_integers_are_sorted_as_numbers():
    space = {"learning_rate": [0.1, 0.2], "a": jl.static(np.array([64, 4, 16]))}
    results = jl.sweep(optimizer, jl.tasks.quadratic(), space, steps=2)
    assert results.grid()["a"].values.tolist() == [4, 16, 64]
    ticks = results.plot.heatmap("a", "learning_rate").get_xticklabels()
    assert [t.get_text() for t in ticks] == ["4", "16", "64"]


def test_values_that_are_one_have_one_label_and_others_have_others():
    values = [np.arange(2), np.arange(2), np.arange(3), {"a": 1}, {"a": True}, [1], [1.0], ONE, "ndarray"]
    called = labels(values)
    assert called[0] == called[1]
    assert len(set(called)) == len(values) - 1
    assert called[3:7] == ["{'a': 1}", "{'a': True}", "[1]", "[1.0]"]
    assert same(jnp.arange(2), jnp.arange(2))
    assert not same(np.arange(2), np.arange(2.0))


def test_schedules_are_structural_values_of_a_learning_rate():
    schedules = [optax.linear_schedule(0.1, 0.1, 10), optax.linear_schedule(0.1, 0.0, 10)]
    found = jl.sweep(jl.adam, "quadratic", {"learning_rate": jl.static([*schedules, 0.1])}, steps=10).dataset
    assert found.learning_rate.values.tolist() == ["schedule 1", "schedule 2", 0.1]
    constant, falling, number = found.train_loss.values[:, 0, -1]
    np.testing.assert_allclose(constant, number, rtol=1e-5)  # of two programs, in float32
    assert abs(falling - number) > 1e-3 * number
