"""A sweep's best configurations with fresh seeds: `results.confirm()`."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import jaxopt_lab as jl

RATES = [1e-3, 1e-2, 0.1, 1.0]
TASK = jl.tasks.breast_cancer(holdout=True, batch_size=32)
OPTIMIZERS = ["sgd", "momentum", "adam"]


@pytest.fixture(scope="module")
def results():
    return jl.sweep(OPTIMIZERS, TASK, {"learning_rate": RATES}, steps=30, seeds=3)


@pytest.fixture(scope="module")
def confirmed(results):
    return results.confirm(seeds=8)


def test_the_selected_configurations_run_with_fresh_seeds(results, confirmed):
    dataset = confirmed.fresh.dataset
    assert set(dataset["optimizer"].values.tolist()) == set(OPTIMIZERS) == set(confirmed.selected)
    assert dataset["seed"].values.tolist() == list(range(3, 11))
    assert dataset["learning_rate"].values.tolist() == [
        results.best(optimizer=name).hyperparameters["learning_rate"] for name in dataset["optimizer"].values.tolist()
    ]


def test_the_scores_are_those_of_such_a_sweep(results, confirmed):
    """On test data, by other seeds than those that selected."""
    rate = results.best(optimizer="adam").hyperparameters["learning_rate"]
    by_hand = jl.sweep(jl.adam, TASK, {"learning_rate": rate}, steps=30, seeds=list(range(3, 11)))
    found = confirmed.scores()
    assert confirmed.metric == "test_loss"
    np.testing.assert_allclose(
        found[found["optimizer"] == "adam"]["score"], by_hand.dataset["test_loss"].values[0, :, -1], rtol=1e-5
    )


def test_the_winner_is_judged_against_each_other_optimizer(results, confirmed):
    assert confirmed.best == results.best().optimizer
    judged = jl.judge(confirmed.scores(), higher_is_better=False, reference=confirmed.best)
    pd.testing.assert_frame_equal(confirmed.table(), judged.table())
    assert set(confirmed.table()["b"]) == {confirmed.best}


def test_a_folder_gives_the_same(results, confirmed, tmp_path):
    results.save(tmp_path / "sweep.zarr")
    again = jl.confirm(tmp_path / "sweep.zarr", 8, task=TASK, out=tmp_path / "fresh")
    pd.testing.assert_frame_equal(again.table(), confirmed.table())
    assert (tmp_path / "fresh" / "results.zarr").exists()


def test_the_best_alone(results, confirmed):
    """With the same fresh seeds, so with the same scores."""
    two = results.confirm(seeds=8, top=2)
    assert [*two.selected] == [*confirmed.selected][:2]
    own, whole = (x.scores().set_index(["optimizer", "seed"])["score"] for x in (two, confirmed))
    np.testing.assert_allclose(own, whole.loc[own.index], rtol=1e-5)


def test_names_restrict_it(results):
    confirmed = results.confirm(seeds=2, names=["sgd", "adam"], metric="validation_accuracy")
    assert set(confirmed.selected) == {"sgd", "adam"}
    assert confirmed.metric == "test_accuracy"
    assert confirmed.judgement.higher_is_better


def judged(confirmed, **scores):
    """The same confirmation with other scores of the fresh seeds."""
    rows = [
        {"optimizer": name, "task": "t", "seed": seed, "score": score}
        for name, own in scores.items()
        for seed, score in enumerate(own)
    ]
    judgement = jl.judge(pd.DataFrame(rows), higher_is_better=False, reference=confirmed.best)
    return dataclasses.replace(confirmed, judgement=judgement)


def test_words(confirmed):
    """One that it beats, one that beats it, and one that it may beat."""
    best, (one, other) = confirmed.best, [name for name in OPTIMIZERS if name != confirmed.best]
    level, noise = np.linspace(0.1, 0.2, 8), np.array([1, -1, 2, -2, 1, -1, 2, -1.5])
    said = judged(confirmed, **{best: level, one: level + 1 + 1e-3 * noise, other: level + noise / 10}).sentences()
    assert said[0].startswith(f"{best} was the best of the sweep. With 8 fresh seeds, its mean test loss is ")
    assert said[1] == f"It is better than {one} (p < .001)."
    assert said[2].startswith(f"Undecided: {other} ({other} minus {best}: 0.00625, 95 %: -0.1")
    assert said[2].endswith("seeds would decide a difference of this size.")
    said = judged(confirmed, **{best: level, one: level - 1 + 1e-3 * noise, other: level}).sentences()
    assert said[1] == f"It is worse than {one} (p < .001)."
    assert said[2] == f"Undecided: {other}, whose scores do not differ."


def test_what_a_reader_has_to_know(results, confirmed):
    """A best rate at the end of the range, and budgets that differ."""
    edges = [name for name, best in confirmed.selected.items() if best.on_edge]
    assert edges
    assert all(f"{name} (learning_rate)" in str(confirmed) for name in edges)
    assert "tuned anew, another optimizer might win" in str(confirmed)
    unequal = jl.sweep(
        ["sgd", "gradient_descent"],
        TASK,
        {
            "sgd": {"learning_rate": 0.1},
            "gradient_descent": {"learning_rate": 0.1, "task.batch_size": jl.static([None])},
        },
        steps=3,
        seeds=2,
    )
    assert "not in examples: trials take 32 to" in str(unequal.confirm(seeds=2, unequal=True))


def test_what_sees_more_examples_is_left_out():
    rates = {"learning_rate": 0.1}
    full = rates | {"task.batch_size": jl.static([None])}
    found = jl.sweep(
        [*OPTIMIZERS, "gradient_descent"],
        TASK,
        dict.fromkeys(OPTIMIZERS, rates) | {"gradient_descent": full},
        steps=3,
    )
    confirmed = found.confirm(seeds=2)
    assert set(confirmed.selected) == set(OPTIMIZERS)
    assert "was the best of the sweep among those compared." in confirmed.sentences()[0]
    assert confirmed.sentences()[-1] == (
        "gradient_descent is left out: its steps see 399 examples, where those of the others see 32."
    )
    with pytest.raises(ValueError, match=r"there is adam\. gradient_descent is left out"):
        found.confirm(seeds=2, names=["adam", "gradient_descent"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seeds": 1}, "seeds must be"),
        ({"alpha": 1.0}, "alpha must be between 0 and 1"),
        ({"top": 1}, "top must be"),
        ({"names": ["adam"]}, "two optimizers or more with a finite median validation_loss, and there is adam"),
        ({"names": ["adam", "lion"]}, "names"),
        ({"metric": "loss"}, "metric"),
        ({"task": "digits_mlp"}, "not what the sweep was made of"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_cannot_be_confirmed_is_refused(results, options, says):
    with pytest.raises(ValueError, match=says):
        results.confirm(**options)
