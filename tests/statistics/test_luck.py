"""The luck of tuning: counted against enumeration, and its p-values and intervals against simulation."""

import itertools
import math

import numpy as np
import pytest

from jaxopt_lab.statistics import luck
from jaxopt_lab.statistics.luck import chance_to_win, draws_needed


def enumerated(by_a, a, by_b, b, budget):
    """Return the share of pairs of subsets that `a` wins; equals are selected, and win, half of the time."""

    def studies(by, scores):
        for subset in itertools.combinations(range(len(by)), budget):
            best = max(by[i] for i in subset)
            chosen = [scores[i] for i in subset if by[i] == best]
            yield [(score, 1 / len(chosen)) for score in chosen]

    won = [
        sum(p * q * (1.0 if x > y else 0.5 if x == y else 0.0) for x, p in first for y, q in second)
        for first in studies(by_a, a)
        for second in studies(by_b, b)
    ]
    return np.mean(won)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "budget"), [(6, 1), (6, 3), (5, 2)])
def test_the_chance_is_that_over_all_subsets(n, budget, ties):
    rng = np.random.default_rng(n + ties)
    draw = lambda: rng.integers(0, 3, n).astype(float) if ties else rng.normal(size=n)
    by_a, a, by_b, b = draw(), draw(), draw(), draw()
    if ties:
        by_a[0] = -np.inf
    found = chance_to_win(by_a, a, by_b, b, studies=n // budget)
    assert found.budget == budget
    assert found.value == pytest.approx(enumerated(by_a, a, by_b, b, budget), abs=1e-12)
    assert found.low <= found.value <= found.high
    mirrored = chance_to_win(by_b, b, by_a, a, studies=n // budget)
    assert mirrored.value == pytest.approx(1 - found.value, abs=1e-12)


def test_the_p_value_is_that_over_all_divisions():
    a, b = np.array([3.0, 4.0, 5.0, 6.0]), np.array([0.0, 1.0, 2.0, 3.5])
    found = chance_to_win(a, a, b, b, studies=4)
    pooled, ahead = np.r_[a, b], abs(found.value - 0.5)
    values = [
        abs(enumerated(pooled[list(own)], pooled[list(own)], *[np.delete(pooled, list(own))] * 2, 1) - 0.5)
        for own in itertools.combinations(range(8), 4)
    ]
    exact = np.mean(np.array(values) >= ahead - 1e-12)
    assert found.p == pytest.approx(exact, abs=4 * exact / math.sqrt(luck.ENOUGH))  # its own sampling error


def test_one_method_under_two_names_is_rarely_better(monkeypatch):
    monkeypatch.setattr(luck, "MOST", 1000)
    rng, false, n = np.random.default_rng(0), 0, 300
    for _ in range(n):
        scores = rng.standard_cauchy((2, 16)).round(1)  # heavy tails, and ties
        by = scores + rng.normal(size=(2, 16))
        found = chance_to_win(by[0], scores[0], by[1], scores[1])
        false += found.p <= 0.05
    assert false / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)


def test_the_interval_covers(monkeypatch):
    """The chance of a shifted normal at a budget of 2 is known: P(max of 2 + 1 > max of 2) = .803."""
    monkeypatch.setattr(luck, "MOST", 1000)
    rng, n, covered = np.random.default_rng(1), 200, 0
    a, b = rng.normal(1, size=(10**6, 2)).max(1), rng.normal(size=(10**6, 2)).max(1)
    true = np.mean(a > b)
    for _ in range(n):
        a, b = rng.normal(1, size=16), rng.normal(size=16)
        found = chance_to_win(a, a, b, b)
        covered += found.low <= true <= found.high
    assert covered / n >= 0.93


def test_a_clear_difference_is_found_and_more_draws_are_asked_for_where_it_is_not():
    rng = np.random.default_rng(2)
    a, b = rng.normal(3, size=32), rng.normal(size=32)
    found = chance_to_win(a, a, b, b)
    assert found.value > 0.99
    assert found.p < 1e-3
    assert draws_needed(found, 32) <= 32
    close = chance_to_win(a - 2.7, a - 2.7, b, b)
    assert draws_needed(close, 32) > 32
    assert draws_needed(chance_to_win(a, a, a, a), 32) == math.inf


def test_what_is_not_a_study_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        chance_to_win(np.array([1.0, np.nan]), np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="Each configuration needs"):
        chance_to_win(np.ones(3), np.ones(2), np.ones(2), np.ones(2))


def test_a_certain_chance_is_not_above_one(monkeypatch):
    monkeypatch.setattr(luck, "MOST", 1)
    above = 0
    for n in range(8, 60):  # the rounded shares of some add up to more
        a, b = np.arange(n, 2.0 * n), np.arange(float(n))
        chance = chance_to_win(a, a, b, b)
        assert chance.value == pytest.approx(1.0, abs=1e-12)
        assert chance.value <= 1
        above += luck._chosen(n, max(1, n // luck.STUDIES)).sum() > 1
    assert above
