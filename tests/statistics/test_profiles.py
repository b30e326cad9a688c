"""Steps to target and performance profiles."""

import numpy as np
import pytest

from jaxopt_lab.statistics.profiles import performance_profile, profile_score, steps_to_target


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
