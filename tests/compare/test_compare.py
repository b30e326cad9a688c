"""Comparisons: the protocol, against sweeps made by hand; what is refused; what is written."""

import dataclasses
import importlib
import json
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab.cli.app import app
from jaxopt_lab.compare.ranges import edges, widened
from jaxopt_lab.sweep.ranges import Range

BUDGET, SEEDS, STEPS = 16, 8, 40


def line():
    """Fit a line with labels, by loss and accuracy: small, with all three splits."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 4))
    y = (x @ np.array([1.0, -1.0, 0.5, 0.0]) + 0.5 * rng.normal(size=96) > 0).astype(float)
    split = lambda a, b: (x[a:b], y[a:b])
    loss = lambda w, batch: optax.sigmoid_binary_cross_entropy(batch[0] @ w, batch[1]).mean()
    accuracy = lambda w, batch: jnp.mean((batch[0] @ w > 0) == (batch[1] > 0.5))
    return jl.Task(
        "line",
        lambda key: 0.1 * jax.random.normal(key, (4,)),
        loss,
        split(0, 48),
        split(48, 72),
        split(72, 96),
        {"accuracy": accuracy},
        batch_size=8,
    )


def hobbled(learning_rate):
    """Take steps that are a thousand times too small."""
    return optax.sgd(1e-3 * learning_rate)


PRIORS = {"hobbled": {"learning_rate": jl.log(1e-2, 1.0)}, "sgd": {"learning_rate": jl.log(1e-2, 1.0)}}
OPTIMIZERS = {"sgd": jl.sgd, "hobbled": hobbled}


@pytest.fixture(scope="module")
def verdict():
    with pytest.warns(UserWarning, match="lie at the high end of the range of learning_rate"):
        return jl.compare(
            OPTIMIZERS, {"one": line(), "two": line()}, BUDGET, SEEDS, steps=STEPS, priors=PRIORS, widen=False
        )


def test_the_better_one_is_found(verdict):
    rows = verdict.table()
    assert rows["verdict"].tolist() == ["a", "a"]
    assert rows["better"].tolist() == ["sgd", "sgd"]
    assert (rows["p_corrected"] <= 0.05).all()
    assert (rows["effect"] < 0).all()
    assert (rows["chance"] > 0.9).all()
    assert rows["metric"].tolist() == ["test_loss"] * 2
    assert "one: sgd is better than hobbled" in str(verdict)
    assert verdict.counts()[["better", "undecided", "worse"]].to_numpy().tolist() == [[2, 0, 0]]
    assert verdict.over_tasks()["verdict"].tolist() == ["undecided"]  # two tasks say nothing of others


def test_selection_and_report_are_those_of_sweeps_by_hand(verdict):
    study = verdict.studies["one"]
    tuning = study.tuning.dataset
    assert tuning.sizes["config"] == 2 * BUDGET
    assert tuning["seed"].values.tolist() == [0, 1, 2]
    assert study.fresh.dataset["seed"].values.tolist() == list(range(3, 3 + SEEDS))
    own = tuning["optimizer"].values == "sgd"
    best = tuning["config"].values[own][np.argmin(tuning["validation_loss"].values[own, :, -1].mean(axis=1))]
    assert study.selected["sgd"] == best
    rate = float(tuning["learning_rate"].sel(config=best))
    again = jl.sweep(jl.sgd, line(), {"learning_rate": rate}, steps=STEPS, seeds=range(3, 3 + SEEDS))
    np.testing.assert_allclose(study.scores("sgd"), again.dataset["test_loss"].values[0, :, -1], rtol=1e-5)
    row = verdict.table().iloc[0]
    assert row["effect"] == pytest.approx((study.scores("sgd") - study.scores("hobbled")).mean())


def test_draws_are_independent_and_the_same_whatever_else_is_compared(verdict):
    rates = lambda study, name: study.tuning.dataset["learning_rate"].values[
        study.tuning.dataset["optimizer"].values == name
    ]
    one, two = verdict.studies["one"], verdict.studies["two"]
    drawn = np.concatenate([rates(study, name) for study in (one, two) for name in OPTIMIZERS])
    assert len(set(drawn)) == 4 * BUDGET
    options = {"steps": 2, "tuning_seeds": 1, "priors": {"sgd": PRIORS["sgd"]}, "widen": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of edges
        alone = jl.compare(["sgd", "momentum"], {"one": line()}, BUDGET, 2, **options)
    np.testing.assert_array_equal(rates(alone.studies["one"], "sgd"), rates(one, "sgd"))


def test_tables(verdict):
    priors = verdict.priors()
    assert priors["drawn_from"].unique().tolist() == ["learning_rate 0.0100 to 1.00 (log)"]
    assert priors["source"].unique().tolist() == ["given as priors="]
    assert (priors["selected"] > 0).all()
    assert "high" in priors.loc[priors["optimizer"] == "hobbled", "edge"].tolist()
    ranks = verdict.ranks()
    assert ranks["optimizer"].tolist() == ["sgd", "hobbled"]
    assert ranks["rank"].tolist() == [1, 2]
    steps = verdict.steps_to_target()
    assert (steps.loc["sgd"] <= STEPS).all()
    assert np.isinf(steps.loc["hobbled"]).all()
    assert verdict.profile([1.0, 2.0]).to_numpy().tolist() == [[1, 0], [1, 0]]
    assert verdict.profile_scores() == {"sgd": 1, "hobbled": 0}
    faster = verdict.speed_up("hobbled")
    assert faster["optimizer"].tolist() == ["sgd", "sgd"]
    assert (faster["low"] > 1).all()
    judged = jl.judge(verdict.scores(), higher_is_better=False).table()
    assert judged["effect"].tolist() == pytest.approx(verdict.table()["effect"].tolist())
    for words in ("16 independent random configurations", "8 fresh seeds", "Holm", "selected by validation_loss"):
        assert words in verdict.methods()
    assert "<li>one: sgd is better" in verdict._repr_html_()


def test_one_optimizer_under_two_names_is_undecided():
    options = {"steps": STEPS, "metric": "accuracy", "widen": False, "priors": dict.fromkeys("ab", PRIORS["sgd"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of edges
        found = jl.compare({"a": jl.sgd, "b": jl.sgd}, line(), 8, 4, **options)
    (row,) = found.table().to_dict("records")
    assert row["verdict"] == "undecided"
    assert row["metric"] == "test_accuracy"
    assert found.studies["line"].greater_is_better
    assert "undecided" in str(found)


def test_a_range_is_widened_for_all(tmp_path):
    narrow = {"sgd": {"learning_rate": jl.log(1e-4, 1e-2)}, "hobbled": {"learning_rate": jl.log(1e-2, 10.0)}}
    ask = lambda: jl.compare(
        OPTIMIZERS, line(), 12, 3, steps=STEPS, tuning_seeds=1, priors=narrow, out=tmp_path / "run"
    )
    with pytest.warns(UserWarning, match="It was widened, and every optimizer drew once more"):
        found = ask()
    space = found.studies["line"].spaces["sgd"]["learning_rate"]
    assert (space.low, space.high) == (1e-4, pytest.approx(1e-1))
    assert found.priors().set_index("optimizer").loc["sgd", "wider"] == "high"
    names = sorted(path.name for path in (tmp_path / "run" / "line").iterdir())
    assert names == ["fresh", "tuning-1", "tuning-2"]
    first, second = (jl.load(tmp_path / "run" / "line" / f"tuning-{turn}").dataset for turn in (1, 2))
    assert not set(first["learning_rate"].values) & set(second["learning_rate"].values)
    assert pd.read_csv(tmp_path / "run" / "verdict.csv")["effect"].tolist() == found.table()["effect"].tolist()
    with pytest.warns(UserWarning, match="widened"):
        again = ask()  # which loads what is complete
    pd.testing.assert_frame_equal(again.table(), found.table())
    with pytest.raises(jl.RunError, match="different run"):
        jl.compare(OPTIMIZERS, line(), 12, 3, steps=STEPS + 1, tuning_seeds=1, priors=narrow, out=tmp_path / "run")


def test_an_interrupted_comparison_gives_no_verdict(monkeypatch):
    swept = []

    def interrupted(*args, **options):
        swept.append(jl.sweep(*args, **options))
        return dataclasses.replace(swept[-1], dataset=swept[-1].dataset.assign_attrs(interrupted=1))

    monkeypatch.setattr(importlib.import_module("jaxopt_lab.compare.compare"), "sweep", interrupted)
    with pytest.raises(KeyboardInterrupt, match="goes on with it"):
        jl.compare(OPTIMIZERS, line(), 4, 2, steps=2, tuning_seeds=1, priors=PRIORS)
    assert len(swept) == 1


def test_edges_of_ranges():
    rates = np.geomspace(1e-4, 1e-1, 32)
    table = jl.zipped({"learning_rate": rates, "b1": np.linspace(0.5, 0.9, 32)[::-1]})
    space = {"learning_rate": jl.log(1e-4, 1e-1), "b1": jl.one_minus(0.5, 0.9)}
    at = lambda best: edges(space, table, -np.abs(np.log10(rates / best)))
    assert at(1e-1) == [("learning_rate", "high"), ("b1", "low")]
    assert at(1e-4) == [("learning_rate", "low"), ("b1", "high")]
    assert at(3e-3) == []
    assert edges(space, table, np.full(32, -np.inf)) == []


@pytest.mark.parametrize(
    ("values", "end", "low", "high"),
    [
        (jl.log(1e-4, 1e-2), "low", 1e-5, 1e-2),
        (jl.one_minus(0.9, 0.99), "high", 0.9, 1 - 0.01 / math.sqrt(10)),
        (jl.one_minus(0.1, 0.99), "low", 0.0, 0.99),
        (jl.linear(0.5, 1.0), "low", 0.25, 1.0),
        (jl.linear(-1.0, 3.0), "high", -1.0, 5.0),
    ],
)
def test_wider_ranges(values, end, low, high):
    found = widened(values, end)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("values", "end"),
    [(jl.linear(0.0, 1.0), "low"), (jl.linear(0.0, 1.0), "high"), (Range(0.0, 0.9, None, "one_minus"), "low")],
)
def test_ranges_that_end_for_a_reason(values, end):
    assert widened(values, end) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizers": jl.adam}, "two optimizers or more"),
        ({"optimizers": {"sgd": jl.sgd, "own": hobbled}}, "'own' has no prior"),
        ({"priors": {"adam": {"learning_rate": jl.log(1e-3, 1)}}}, "'adam', which is not compared"),
        ({"priors": {"sgd": 0.1}}, "must be a dict"),
        ({"tasks": []}, "No task"),
        ({"tasks": [line(), line()]}, "share a name"),
        ({"steps": None}, "not built in"),
        ({"steps": {"other": 5}}, "not compared on"),
        ({"metric": {"other": "loss"}}, "not compared on"),
        ({"metric": "speed"}, "Unknown metric"),
        ({"budget": 1}, "budget must be at least 2"),
        ({"seeds": 1}, "seeds must be at least 2"),
        ({"alpha": 1.0}, "alpha"),
        ({"reference": "adam"}, "reference"),
        ({"widen": "no"}, "widen"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_is_refused(change, words):
    given = {"optimizers": OPTIMIZERS, "tasks": line(), "budget": 2, "seeds": 2, "steps": 2, "priors": PRIORS} | change
    if change.get("optimizers") is not None:
        given["priors"] = None
    with pytest.raises((ValueError, TypeError), match=words):
        jl.compare(given.pop("optimizers"), given.pop("tasks"), **given)


def test_the_command_line(tmp_path):
    command = ["compare", "sgd", "optax:sgd", "--task", "linear_regression", "--budget", "4", "--seeds", "3"]
    found = CliRunner().invoke(app, [*command, "--tuning-seeds", "1", "--steps", "5", "--json"])
    assert found.exit_code == 0, found.output
    verdict = json.loads(found.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (row,), (words,) = verdict["table"], verdict["words"]
    assert (row["a"], row["b"], row["seeds"]) == ("sgd", "optax:sgd", 3)
    assert words.startswith("linear_regression: ")
    assert verdict["methods"].startswith("Methods: 2 optimizers on 1 task")
    wrong = CliRunner().invoke(app, ["compare", "sgd", "--task", "linear_regression"])
    assert wrong.exit_code == 2
    assert "two optimizers or more" in wrong.stderr
