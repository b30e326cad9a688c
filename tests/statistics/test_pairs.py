"""Comparisons of two methods: against SciPy, enumeration and simulation."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy import stats

from jaxopt_lab.statistics.pairs import holm, paired, seeds_needed, signed_rank, unpaired

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def drawn_anew(monkeypatch):
    """Let each test draw the same numbers, whichever tests ran before it."""
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(0))


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_a_paired_comparison_is_scipys(n):
    a, b = RNG.normal(size=(2, n))
    found, expected = paired(a, b), stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose([found.p, found.low, found.high], [expected.pvalue, low, high], rtol=1e-10)
    assert found.effect == pytest.approx(np.mean(a - b))
    assert (found.n, found.test) == (n, "paired t")


def test_a_comparison_of_other_seeds_is_welchs():
    a, b = RNG.normal(size=7), 1 + 3 * RNG.normal(size=11)
    found, expected = unpaired(a, b), stats.ttest_ind(a, b, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose([found.p, found.low, found.high], [expected.pvalue, low, high], rtol=1e-10)
    assert (found.n, found.test) == (7, "Welch t")


def test_which_comes_first_changes_the_sign_alone():
    a, b = RNG.normal(size=(2, 8))
    for of_a in (a, np.append(a[:7], np.inf)):
        for compare in (paired, unpaired):
            one, other = compare(of_a, b), compare(b, of_a)
            assert one.p == pytest.approx(other.p)
            assert (one.effect, one.low, one.high) == pytest.approx((-other.effect, -other.high, -other.low))


def test_equal_scores_are_no_difference():
    a = np.array([1.0, 2.0, 3.0])
    for compare in (paired, unpaired):
        assert compare(a, a).p == 1
        assert compare(a, a).effect == 0
        assert compare(np.full(3, np.inf), np.full(3, np.inf)).p == 1
    assert unpaired(np.full(4, 2.0), np.ones(3)).p == pytest.approx(2 / 35)  # any division of seven scores


@pytest.mark.parametrize("n", [2, 5, 8])
def test_equal_differences_are_not_certain(n):
    """Scores that are rounded may differ by as much for every seed; a t-test would be certain after two."""
    found = paired(np.arange(n) + 0.25, np.arange(n))
    assert (found.p, found.test) == (2 / 2**n, "signed rank")
    assert found.effect == 0.25
    assert (found.low > 0) == (n > 5)  # as sure as the sign test is
    assert unpaired(np.ones(3), np.ones(3)).p == 1


@pytest.mark.parametrize("n", [1, 4, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_the_signed_rank_test_is_exact(n, ties):
    """Against all 2^n signs of the same sizes."""
    sizes = np.round(np.abs(RNG.normal(size=n)), 1 if ties else 8) + 0.1
    d = sizes * RNG.choice([-1, 1], n)
    ranks = stats.rankdata(sizes)
    sums = np.array([ranks[np.array(signs)].sum() for signs in itertools.product([False, True], repeat=n)])
    at = ranks[d > 0].sum()
    expected = min(1, 2 * min(np.mean(sums <= at + 1e-9), np.mean(sums >= at - 1e-9)))
    assert signed_rank(d) == pytest.approx(expected)
    assert signed_rank(np.concatenate([d, [0.0, 0.0]])) == pytest.approx(expected)


def test_without_ties_it_is_scipys():
    d = RNG.normal(0.3, 1, 20)
    assert signed_rank(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_runs_that_failed_count_by_rank():
    a, b = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), np.array([0.5, 1.4, -np.inf, 3.1, 4.6, 5.5, -np.inf])
    found = paired(a, b)
    assert found.test == "signed rank"
    assert found.p == pytest.approx(2 / 2**7)
    assert found.effect == pytest.approx(0.6)
    assert math.isnan(found.spread)
    assert found.low > 0
    assert found.high == np.inf
    other = unpaired(a, b)
    assert other.test == "rank sum"
    assert other.p == pytest.approx(stats.mannwhitneyu(a, np.nan_to_num(b, neginf=-100.0), method="asymptotic").pvalue)


def test_infinity_against_infinity_is_equal():
    found = paired(np.array([np.inf, 1.0, 2.0]), np.array([np.inf, 1.0, 2.0]))
    assert (found.effect, found.p) == (0, 1)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [([1.0, np.nan], [1.0, 2.0], "NaN"), ([1.0], [2.0], "at least two"), ([1.0, 2.0], [1.0, 2.0, 3.0], "got 2 and 3")],
    ids=["nan", "one seed", "unequal"],
)
def test_scores_that_cannot_be_compared(a, b, says):
    with pytest.raises(ValueError, match=says):
        paired(np.array(a), np.array(b))


def test_holm_corrects_as_published():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(holm([0.5, 0.9]), [1, 1])
    assert holm([0.2]) == [0.2]


@pytest.mark.parametrize("effect", [0.4, 1.0, 2.5])
def test_the_seeds_that_are_said_to_be_needed_are(effect):
    """They find the difference in four of five simulated comparisons; half as many do not."""
    n = int(seeds_needed(effect, 1.0))
    found = lambda n: np.mean(stats.ttest_1samp(RNG.normal(effect, 1, (4000, n)), 0, axis=1).pvalue <= 0.05)
    assert 0.78 < found(n) < 0.95  # a small n jumps over .8
    assert found(max(2, n // 2)) < 0.75


def test_seeds_needed_at_the_ends():
    assert seeds_needed(0.0, 1.0) == np.inf
    assert seeds_needed(1e-6, 1.0) == np.inf
    assert seeds_needed(1.0, 0.0) == 6  # 2 / 2^6 is the first below .05
    assert math.isnan(seeds_needed(np.inf, math.nan))
    assert seeds_needed(1.0, 1.0, alpha=0.001) > seeds_needed(1.0, 1.0)


@pytest.mark.parametrize("n", [5, 20])
def test_intervals_cover_the_truth(n):
    """The t-interval for normal scores, and the interval of the median for heavy tails and failures: at least 93 %."""
    trials = 2000
    normal = [paired(*RNG.normal(size=(2, n))) for _ in range(trials)]
    assert np.mean([pair.low <= 0 <= pair.high for pair in normal]) > 0.935
    wild = RNG.standard_t(1, size=(trials, 2, n))
    wild[np.abs(wild) > 8] = np.inf
    ranks = [paired(a, b) for a, b in wild if np.isinf(a).any() or np.isinf(b).any()]
    assert len(ranks) > trials / 4
    assert np.mean([pair.low <= 0 <= pair.high for pair in ranks]) > 0.935


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_no_difference_is_rarely_called_one(compare):
    """Also by ranks: at most 5 %, with the binomial error of 3,000."""
    scores = RNG.normal(size=(3000, 2, 10))
    scores[1500:, :, 0] = np.where(RNG.random((1500, 2)) < 0.5, np.inf, scores[1500:, :, 0])
    for part in (scores[:1500], scores[1500:]):
        assert np.mean([compare(a, b).p <= 0.05 for a, b in part]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.05 / 450])
def test_seeds_needed_fall_as_the_effect_grows(alpha):
    """SciPy's noncentral t has errors for some effects: the numbers must be monotone, and near the normal law's."""
    effects = np.geomspace(0.02, 50, 40)
    found = np.array([seeds_needed(effect, 1.0, alpha) for effect in effects])
    assert (np.diff(found) <= 0).all()
    large = found > 50
    normal = (stats.norm.isf(alpha / 2) + stats.norm.ppf(0.8)) ** 2 / effects**2
    np.testing.assert_allclose(found[large], normal[large] + stats.norm.isf(alpha / 2) ** 2 / 2, rtol=0.03)
    assert found[-1] <= 7
