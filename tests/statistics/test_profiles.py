"""Steps to target and performance profiles."""

import numpy as np
import pytest

from jaxopt_lab.statistics.profiles import performance_profile, profile_score, speed_up, steps_to_target


def test_steps_to_target():
    steps, losses = np.array([0, 10, 20]), np.array([[3.0, 2.0, 1.0], [3.0, np.nan, np.inf], [0.5, 9.0, 9.0]])
    np.testing.assert_array_equal(steps_to_target(steps, losses, 2.0), [10, np.inf, 0])


COSTS = np.array([[1.0, 2.0, np.inf, np.inf], [2.0, 1.0, 3.0, np.inf], [np.inf, 8.0, 3.0, np.inf]])


def test_profiles_by_hand():
    found = performance_profile(COSTS, [1, 2, 8])
    np.testing.assert_allclose(found, [[0.25, 0.5, 0.5], [0.5, 0.75, 0.75], [0.25, 0.25, 0.5]])


def test_the_score_is_the_integral():
    ratios = 1 + 3 * (np.arange(200_000) + 0.5) / 200_000
    expected = performance_profile(COSTS, ratios).mean(axis=1)
    np.testing.assert_allclose(profile_score(COSTS), expected, atol=1e-5)


@pytest.mark.parametrize("bad", [[[1.0, np.nan]], [[0.0, 1.0]], [1.0]], ids=["nan", "zero", "one axis"])
def test_costs_are_checked(bad):
    with pytest.raises(ValueError, match="positive numbers"):
        profile_score(np.array(bad))


def test_speed_up_is_in_equivalent_steps():
    steps = np.array([0, 10, 20, 40])
    reference = np.array([[4.0, 3.0, 2.0, 1.0]] * 6)
    twice = np.array([[4.0, 2.0, 1.0, 0.5]] * 6)
    assert speed_up(steps, reference, twice) == pytest.approx((2, 2, 2))
    assert speed_up(steps, twice, reference) == pytest.approx((0.5, 0.5, 0.5))
    between = np.array([[4.0, 2.5, 1.5, 1.0]] * 6)
    assert speed_up(steps, reference, between)[0] == 1
    assert speed_up(steps, reference, np.array([[4.0, 3.0, 0.0, np.nan]] * 6))[0] == pytest.approx(40 / (10 + 20 / 3))
    never = np.full((6, 4), np.inf)
    assert speed_up(steps, never, reference)[0] == np.inf
    assert speed_up(steps, reference[:5], twice[:5])[1:] == (-np.inf, np.inf)  # too few seeds for an interval
    for wrong in (reference[:, :2], reference[:3]):
        with pytest.raises(ValueError, match="shape"):
            speed_up(steps, reference, wrong)
