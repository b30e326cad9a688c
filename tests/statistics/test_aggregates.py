"""Aggregates: against SciPy, and their intervals against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxopt_lab.statistics.aggregates import interquartile_mean, mean_ranks, share_better


def covered(true, intervals):
    return np.mean([low <= true <= high for _, low, high in intervals])


@pytest.mark.parametrize("n", [4, 7, 20])
def test_the_interquartile_mean_is_scipys(n):
    x = np.random.default_rng(n).normal(size=n)
    assert interquartile_mean(x).value == pytest.approx(stats.trim_mean(x, 0.25))
    x[np.argmax(x)] = np.inf
    found = interquartile_mean(x)
    assert math.isfinite(found.value)
    assert math.isfinite(found.high) == (n == 20)  # of fewer than eight seeds there is no interval


@pytest.mark.parametrize(("law", "n"), [(stats.norm(), 20), (stats.t(2), 10), (stats.lognorm(1.5), 8)])
def test_the_interquartile_means_interval_covers(law, n):
    true = law.ppf(0.25 + 0.5 * (np.arange(10**5) + 0.5) / 10**5).mean()
    draws = law.rvs((500, n), random_state=0)
    assert covered(true, map(interquartile_mean, draws)) >= 0.93


def test_the_share_of_seeds_is_counted_exactly():
    found = share_better(np.array([1.0, 2.0, 3.0, np.inf]), np.array([0.0, 0.0, 5.0, 1.0]))
    exact = stats.binomtest(3, 4).proportion_ci(0.95, "exact")
    assert found == pytest.approx((0.75, exact.low, exact.high))
    equal = share_better(np.ones(6), np.ones(6))
    assert equal.value == 0.5
    assert equal.low < 0.12
    assert share_better(np.ones(3), np.zeros(3)).high == 1
    rng = np.random.default_rng(0)
    draws = rng.uniform(size=(1000, 2, 8)).round(1)  # with ties: P(a > b) + P(a = b) / 2 = .5
    assert covered(0.5, (share_better(*draw) for draw in draws)) >= 0.95


def test_ranks_have_intervals_over_tasks():
    scores = np.array([[3.0, 3.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    mean, low, high, ranks = mean_ranks(scores)
    np.testing.assert_allclose(ranks, [[1, 1, 2.5], [2, 2, 2.5], [3, 3, 1]])
    np.testing.assert_allclose(mean, ranks.mean(axis=1))
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert low.min() >= 1
    assert high.max() <= 3
    _, low, high, _ = mean_ranks(scores[:, :1])
    assert (low == 1).all()
    assert (high == 3).all()
    rng = np.random.default_rng(1)  # of three equal methods the mean rank is 2
    found = [mean_ranks(rng.normal(size=(3, 10)))[:3] for _ in range(1000)]
    assert covered(2, ((m[0], low[0], high[0]) for m, low, high in found)) >= 0.93


@pytest.mark.parametrize("call", [lambda x: interquartile_mean(x), lambda x: share_better(x, np.ones(4))])
def test_nan_is_refused(call):
    with pytest.raises(ValueError, match="NaN"):
        call(np.array([1.0, np.nan, 2.0, 3.0]))


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="at least 4"):
        interquartile_mean(np.ones(3))
    with pytest.raises(ValueError, match="same seeds"):
        share_better(np.ones(3), np.ones(4))
