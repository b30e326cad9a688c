"""Verdicts on scores: how often they are false, and what they count."""

import math

import numpy as np
import pytest

from jaxopt_lab.compare.decide import Tuned, decide
from jaxopt_lab.statistics import luck

SEEDS, TUNING_SEEDS = 20, 3


def tuned(rng, n=16, shift=0.0, spread=1.0):
    """Tune a method whose configurations differ by `spread`, and seeds by 1, in units of the score."""
    quality = shift + spread * rng.normal(size=n)
    noise = lambda *shape: rng.normal(size=shape)
    selected_by = quality + noise(n, TUNING_SEEDS).mean(1)
    return Tuned(selected_by, quality + noise(n, TUNING_SEEDS).mean(1), quality[selected_by.argmax()] + noise(SEEDS))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(luck, "MOST", 1000)


def test_one_method_under_three_names(quick):
    """By seeds alone, one of three names is called better in most comparisons: the studies selected unequally well."""
    rng, n = np.random.default_rng(0), 100
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    false = {"verdict": 0, "verdict_of_these_configurations": 0}
    for _ in range(n):
        rows = decide({"task": {name: tuned(rng) for name in "abc"}}, pairs, {"task": True})
        for column in false:
            false[column] += (rows[column] != "undecided").any()
    assert false["verdict"] / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)
    assert false["verdict_of_these_configurations"] / n > 0.2


@pytest.mark.parametrize("greater", [True, False])
def test_a_better_method_is_found_in_either_direction(quick, greater):
    rng = np.random.default_rng(1)
    first, second = tuned(rng, 64, 4.0), tuned(rng, 64)
    if not greater:
        first, second = (Tuned(*(-x for x in own)) for own in (first, second))
    by_task = {"one": {"a": first, "b": second}, "two": {"a": second, "b": first}}
    rows = decide(by_task, [("a", "b")], {"one": greater, "two": greater})
    assert rows["verdict"].tolist() == ["a", "b"]
    assert (rows["effect"] > 0).tolist() == [greater, not greater]
    assert rows["p"].tolist() == pytest.approx([rows["p"].max()] * 2, rel=0.9)
    assert (rows["low"] <= rows["effect"]).all()
    assert (rows["effect"] <= rows["high"]).all()


def test_where_the_two_questions_are_answered_apart_nothing_is_decided(quick):
    rng = np.random.default_rng(2)
    better, worse = tuned(rng, 64, 4.0), tuned(rng, 64)
    lucky = worse._replace(fresh=better.fresh + 10)  # the better one of these configurations, of the worse method
    (row,) = decide({"task": {"a": lucky, "b": better}}, [("a", "b")], {"task": True}).to_dict("records")
    assert row["verdict_of_these_configurations"] == "a"
    assert row["chance"] < 0.5
    assert row["p"] == 1
    assert row["verdict"] == "undecided"


def test_failed_runs_count_as_worst(quick):
    rng = np.random.default_rng(3)
    good, bad = tuned(rng, 32), Tuned(np.full(32, -np.inf), np.full(32, -np.inf), np.full(SEEDS, -np.inf))
    (row,) = decide({"task": {"good": good, "bad": bad}}, [("good", "bad")], {"task": True}).to_dict("records")
    assert (row["verdict"], row["better"]) == ("a", "good")
    assert row["effect"] == np.inf
    both = decide({"task": {"a": bad, "b": bad}}, [("a", "b")], {"task": True})
    assert both["verdict"].tolist() == ["undecided"]
