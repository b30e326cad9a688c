"""Two methods' scores over seeds: how much better is one, and how sure is that?"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from jaxopt_lab.errors import ArgumentValueError

POWER = 0.8  # the chance that `seeds_needed` gives a real difference of this size
MOST_SEEDS = 100_000
QUANTILES = (np.arange(500) + 0.5) / 500


@dataclasses.dataclass(frozen=True)
class Pair:
    """A comparison of scores `a` and `b`, greater being better.

    Attributes:
        effect: The mean of a - b (the median of a - b where some scores are infinite).
        low, high: Its confidence interval. That of a mean covers less than it says where differences are skewed: .7 to
            .9 in place of .95 for lognormal ones, up to 20 seeds.
        median, median_low, median_high: The median of a - b, and its interval by order statistics, which holds for any
            distribution; infinite for fewer than six seeds. Where seeds are not shared, the median of all differences
            between a score of a and one of b, with the rank-sum test's interval, for scores that differ by a shift.
        p: The two-sided p-value of no difference.
        spread: The standard deviation of a - b, that of two fresh seeds; NaN where some scores are infinite.
        n: Differences, or scores of the smaller sample where seeds are not shared.
        test: "paired t", "Welch t", "signed rank" or "rank sum".

    """

    effect: float
    low: float
    high: float
    p: float
    spread: float
    n: int
    test: str
    median: float
    median_low: float
    median_high: float


def paired(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> Pair:
    """Compare scores of the same seeds by a paired t-test.

    The signed-rank test takes its place where some scores are infinite, or all differences are equal.

    Args:
        a: Scores of one, at least two; infinite ones are allowed, NaN is not.
        b: Scores of the other, in the same order of seeds.
        confidence: Of the interval.

    Raises:
        ValueError: There are fewer than two seeds, unequal numbers, or a NaN.

    """
    a, b = _scores(a, b)
    if len(a) != len(b):
        raise ArgumentValueError(f"Paired scores must be of the same seeds, got {len(a)} and {len(b)}.")
    from scipy import stats

    if np.isinf([a, b]).any():
        return _signed_rank(a, b, confidence)
    d, n = a - b, len(a)
    mean, spread = float(d.mean()), float(d.std(ddof=1))
    if spread <= 1e-12 * max(np.abs(a).max(), np.abs(b).max(), 1e-300):  # equal but for rounding
        if abs(mean) <= spread:
            return Pair(mean, mean, mean, 1.0, spread, n, "paired t", *_median(d, confidence))
        # A t-test would be certain after two seeds, as of scores that are rounded; ranks are not.
        return dataclasses.replace(_signed_rank(a, b, confidence), spread=spread)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * spread / math.sqrt(n)
    p = float(2 * stats.t.sf(abs(mean) / (spread / math.sqrt(n)), n - 1))
    return Pair(mean, mean - half, mean + half, p, spread, n, "paired t", *_median(d, confidence))


def unpaired(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> Pair:
    """Compare scores of different seeds by Welch's t-test.

    The rank-sum test takes its place where some scores are infinite, or neither sample has any spread.

    Arguments and errors are those of `paired`, except that the numbers of scores may differ.
    """
    a, b = _scores(a, b)
    from scipy import stats

    if np.isinf([*a, *b]).any():
        return _rank_sum(a, b, confidence)
    mean = float(a.mean() - b.mean())
    spread = math.sqrt(a.var(ddof=1) + b.var(ddof=1))
    if spread <= 1e-12 * max(np.abs(a).max(), np.abs(b).max(), 1e-300):
        if mean == 0:
            return _by_means(a, b, (mean, mean, mean, 1.0, spread), confidence)
        # Likewise; of all divisions of the scores, two are as extreme.
        p = 2 / math.comb(len(a) + len(b), len(a))
        return dataclasses.replace(_rank_sum(a, b, confidence), p=p, spread=spread)
    found: Any = stats.ttest_ind(a, b, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return _by_means(a, b, (mean, float(low), float(high), float(found.pvalue), spread), confidence)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number: Holm 1979, https://www.jstor.org/stable/4615733.

    Rejecting where the corrected value is at most alpha, the chance of any false rejection is at most alpha.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def seeds_needed(effect: float, spread: float, alpha: float = 0.05, power: float = POWER) -> float:
    """Return how many seeds a two-sided paired t-test needs to find this difference, from the noncentral t.

    Args:
        effect: The mean difference, taken for the real one.
        spread: The standard deviation of differences.
        alpha: The level of the test.
        power: The chance to find it.

    Returns:
        The number; infinity where there is no difference, or over 100,000 would be needed; NaN where the spread is.

    """
    if not math.isfinite(effect) or math.isnan(spread):
        return math.nan
    if spread == 0 and effect != 0:  # by ranks, n equal differences have a p of 2 / 2^n
        return math.ceil(math.log2(2 / alpha))
    from scipy import special

    def found(n: int) -> bool:
        # SciPy's noncentral t is wrong or NaN for some shifts: here it is a mean over the sample's deviation instead.
        shift = abs(effect) / spread * math.sqrt(n)
        deviation = special.stdtrit(n - 1, 1 - alpha / 2) * _deviations(n - 1)
        return float(1 - np.mean(special.ndtr(deviation - shift) - special.ndtr(-deviation - shift))) >= power

    if effect == 0 or not found(MOST_SEEDS):
        return math.inf
    low, high = 1, 2
    while not found(high):
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


@functools.lru_cache(256)
def _deviations(df: int) -> np.ndarray:
    """Return quantiles of the standard deviation of a sample, over that of its law."""
    from scipy import special

    if df > 100:  # Wilson & Hilferty 1931: to five digits
        return (1 - 2 / (9 * df) + special.ndtri(QUANTILES) * math.sqrt(2 / (9 * df))) ** 1.5
    return np.sqrt(special.gammaincinv(df / 2, QUANTILES) * 2 / df)


def signed_rank(d: np.ndarray) -> float:
    """Return the exact two-sided p-value of the signed-rank test of differences (Wilcoxon 1945), with ties.

    Differences of 0 are left out; infinite ones are larger than all others. Given the ranks, each sign is as likely as
    the other, so the distribution of the sum of positive ranks is a convolution.
    """
    from scipy import stats

    d = np.asarray(d, float)
    d = d[d != 0]
    doubled = np.round(2 * stats.rankdata(np.abs(d))).astype(int)  # ties have halves
    counts = np.ones(1)
    for rank in doubled.tolist():
        longer = np.zeros(len(counts) + rank)
        longer[: len(counts)] += counts / 2
        longer[rank:] += counts / 2
        counts = longer
    at = int(doubled[d > 0].sum())
    return float(min(1.0, 2 * min(counts[: at + 1].sum(), counts[at:].sum())))


def _scores(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, float), np.asarray(b, float)
    if np.isnan(a).any() or np.isnan(b).any():
        raise ArgumentValueError("A score is NaN. A run that failed scores -inf, or +inf where less is better.")
    if a.ndim != 1 or b.ndim != 1 or min(len(a), len(b)) < 2:
        raise ArgumentValueError(f"A comparison needs at least two seeds each, got {a.size} and {b.size}.")
    return a, b


def _minus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a - b, where two infinite scores of one sign are equal."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


def _signed_rank(a: np.ndarray, b: np.ndarray, confidence: float) -> Pair:
    d = _minus(a, b)
    median = _median(d, confidence)
    return Pair(*median, signed_rank(d), math.nan, len(d), "signed rank", *median)


def _median(d: np.ndarray, confidence: float) -> tuple[float, float, float]:
    return float(np.median(d)), *interval_of_median(d, confidence)


def interval_of_median(d: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the interval of a median by order statistics, from the sign test; infinite where there are too few."""
    d, n = np.sort(d), len(d)
    k = _from_the_ends(n, confidence)
    return (float(d[k - 1]), float(d[n - k])) if k >= 1 else (-math.inf, math.inf)


@functools.cache
def _from_the_ends(n: int, confidence: float) -> int:
    """Return the rank, from either end, at which the interval of a median of n ends; 0 where there is none."""
    from scipy import stats

    k = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5))
    return k if stats.binom.cdf(k - 1, n, 0.5) <= (1 - confidence) / 2 else k - 1


def _rank_sum(a: np.ndarray, b: np.ndarray, confidence: float) -> Pair:
    from scipy import stats

    p = float(stats.mannwhitneyu(a, b, method="exact" if len({*a, *b}) == len(a) + len(b) else "asymptotic").pvalue)
    shift = _shift(a, b, confidence)
    return Pair(*shift, p, math.nan, min(len(a), len(b)), "rank sum", *shift)


def _by_means(a: np.ndarray, b: np.ndarray, means: tuple[float, float, float, float, float], confidence: float) -> Pair:
    return Pair(*means, min(len(a), len(b)), "Welch t", *_shift(a, b, confidence))


def _shift(a: np.ndarray, b: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Return the median of all differences and its interval (Hodges & Lehmann 1963).

    The interval has the differences that are, by rank, as far from the ends as the rank sum's quantile.
    """
    from scipy import stats

    differences = np.sort(_minus(a[:, None], b[None]).ravel())
    m, n = len(a), len(b)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    k = math.floor(m * n / 2 - z * math.sqrt(m * n * (m + n + 1) / 12))
    low, high = (float(differences[k - 1]), float(differences[m * n - k])) if k >= 1 else (-math.inf, math.inf)
    return float(np.median(differences)), low, high
