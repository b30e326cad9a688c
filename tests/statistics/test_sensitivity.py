"""Sensitivity to the learning rate: by hand."""

import numpy as np
import pytest

from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.statistics.sensitivity import basin_width, good_decades, learning_rate_sensitivity

INF = np.inf


def test_on_an_even_grid_it_is_the_plain_mean_of_the_paper():
    # 3 at the start: excesses 1.5, .5, 0 and, where it diverged, 2.5.
    found = learning_rate_sensitivity([1e-3, 1e-2, 1e-1, 1], [2, 1, 0.5, INF], 3.0)
    assert found == pytest.approx(4.5 / 4)


def test_rates_weigh_as_much_of_the_logarithmic_range_as_they_stand_for():
    # One and two decades apart: cells of 1, 1.5 and 2 decades, with excesses 0, 1 and 2. The order does not matter.
    found = learning_rate_sensitivity([1, 1e-3, 1e-2], [INF, 1, 2], [3.0, 3.0, INF])
    assert found == pytest.approx((1.5 + 4) / 4.5)


def test_trying_one_region_densely_does_not_change_the_mean():
    loss = lambda rates: np.log10(rates / 0.03) ** 2
    even = np.geomspace(1e-3, 1, 301)
    dense = np.sort(np.append(even, np.geomspace(0.5, 1, 3000)[1:-1]))
    known = np.mean([np.log10(rate / 0.03) ** 2 for rate in np.geomspace(1e-3, 1, 100_001)])
    for rates in (even, dense):
        assert learning_rate_sensitivity(rates, loss(rates), 100.0) == pytest.approx(known, rel=0.01)
    assert np.mean(loss(dense)) > 1.3 * known  # the plain mean is of another range


def test_a_learning_rate_scores_as_the_best_configuration_that_has_it():
    found = learning_rate_sensitivity([0.1, 0.1, 1, 1], [5, 1, INF, 2], 4.0)
    assert found == pytest.approx(0.5)
    assert basin_width([0.1, 0.1, 1, 1], [5, 1, INF, 2], 1.0) == pytest.approx(1.0)


def test_training_that_never_helps_is_not_called_insensitive():
    assert np.isnan(learning_rate_sensitivity([0.1, 1], [4.0, INF], 4.0))
    assert np.isnan(basin_width([0.1, 1], [INF, INF], 1.0))


def test_the_basin_is_contiguous_around_the_best():
    rates, losses = [1e-4, 1e-3, 1e-2, 1e-1, 1], [1.0, 3.0, 1.1, 1.0, INF]
    assert basin_width(rates, losses, 0) == 0  # the first of equals, alone
    assert basin_width(rates[1:], losses[1:], 0.2) == pytest.approx(1)  # not the rate beyond the hump
    assert basin_width(rates, losses, 2) == pytest.approx(3)  # a distance that the hump is exactly at
    assert basin_width(rates, losses, 1e300) == pytest.approx(3)  # one that diverged is within no distance


def test_good_decades_is_the_basin_of_a_twentieth_of_the_improvement():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rates, losses = rng.choice(np.geomspace(1e-4, 1, 12), 20), rng.exponential(size=20) ** 3
        start = losses.min() + rng.exponential() + 0.1
        expected = basin_width(rates, losses, 0.05 * (start - losses.min()))
        assert good_decades(rates, losses, np.array([start])) == pytest.approx(expected)
    assert good_decades(rates, losses, np.array([losses.min()])) == 0  # nothing improved
    assert good_decades(rates, losses, np.array([np.nan])) == 0


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: learning_rate_sensitivity([0.0, 1], [1, 2], 3), ArgumentValueError, "above 0"),
        (lambda: learning_rate_sensitivity([0.1, 1], [1, np.nan], 3), ArgumentValueError, "loss of \\+inf"),
        (lambda: learning_rate_sensitivity([0.1, 1], [1, 2, 3], 3), ArgumentValueError, "one length"),
        (lambda: learning_rate_sensitivity([0.1, 0.1], [1, 2], 3), ArgumentValueError, "two or more"),
        (lambda: learning_rate_sensitivity([0.1, 1], [1, 2], [INF]), ArgumentValueError, "at the start"),
        (lambda: basin_width([0.1, 1], [1, 2], -1), ArgumentValueError, "within must be >= 0"),
        (lambda: basin_width([0.1, 1], [1, 2], "1"), ArgumentTypeError, "within must be a number"),
        (lambda: basin_width([], [], 1), ArgumentValueError, "one length"),
    ],
)
def test_arguments_are_checked(call, error, said):
    with pytest.raises(error, match=said):
        call()
