"""Scores over seeds and tasks in one number each, with intervals."""

import math
from typing import NamedTuple

import numpy as np

from jaxopt_lab.errors import ArgumentValueError


class Estimate(NamedTuple):
    """A number with its confidence interval."""

    value: float
    low: float
    high: float


LEAST = 8  # seeds for an interval of the interquartile mean: resamples of fewer have no spread too often
RESAMPLES = 1000


def interquartile_mean(scores: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Return the mean of the middle half of scores over seeds, and its interval.

    The lowest and the highest quarter (rounded down) are left out (Agarwal et al. 2021,
    https://arxiv.org/abs/2108.13264). The interval resamples seeds, and compares each resample's mean with its own
    standard error (the symmetric bootstrap-t of trimmed means, Wilcox 2012, section 4.4). So it also covers where
    scores have heavy tails or are skewed: in .94 or more of lognormal samples, where a t-interval of the mean covers in
    .7 and percentiles of resamples in fewer than they say.

    Args:
        scores: Of shape (seeds,), at least four; not NaN.
        confidence: Of the interval.

    Returns:
        The mean and its interval, which is infinite for fewer than eight seeds, or where a quarter is infinite.

    Raises:
        ValueError: There are fewer than four scores, or a NaN.

    """
    x = _checked(scores, 4)
    value, error = (float(y) for y in _trimmed(x))
    if len(x) < LEAST or not math.isfinite(value):
        return Estimate(value, -math.inf, math.inf)
    means, errors = _trimmed(np.random.default_rng(0).choice(x, (RESAMPLES, len(x))))
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.abs(means - value) / errors
    away = np.where(means == value, 0.0, np.where(np.isnan(away), np.inf, away))
    half = float(np.quantile(away, confidence, method="higher")) * error if error else 0.0
    return Estimate(value, value - half, value + half)


def _trimmed(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the middle half along the last axis, and its standard error by the winsorised variance."""
    x, n = np.sort(x, axis=-1), x.shape[-1]
    middle = x[..., n // 4 : n - n // 4]
    h = middle.shape[-1]
    with np.errstate(invalid="ignore"):
        winsorised = np.clip(x, middle[..., :1], middle[..., -1:])
        squares = ((winsorised - winsorised.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        return middle.mean(axis=-1), np.sqrt(squares / (h * (h - 1)))


def share_better(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Return the share of seeds on which `a` beats `b`, an estimate of P(A beats B), and its interval.

    The interval is exact (Clopper & Pearson 1934); equal scores count half, for which it is wider than it need be.

    Args:
        a: Scores of one, greater being better, at least one; infinite ones are allowed, NaN is not.
        b: Scores of the other for the same seeds.
        confidence: Of the interval.

    Raises:
        ValueError: The numbers of scores differ, or one is NaN.

    """
    a, b = _checked(a, 1), _checked(b, 1)
    if len(a) != len(b):
        raise ArgumentValueError(f"Scores must be of the same seeds, got {len(a)} and {len(b)}.")
    n, won = len(a), float(np.sum(a > b) + 0.5 * np.sum(a == b))
    low, _ = interval_of_share(math.floor(won), n, confidence)
    _, high = interval_of_share(math.ceil(won), n, confidence)
    return Estimate(won / n, low, high)


def interval_of_share(count: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, from its count of n: Clopper & Pearson 1934.

    Both may be fractions, where an estimate varies as the share of so many independent trials would.
    """
    from scipy import stats

    tail, rest = (1 - confidence) / 2, n - count
    low = float(stats.beta.ppf(tail, count, rest + 1)) if count > 1e-9 else 0.0
    high = float(stats.beta.isf(tail, count + 1, rest)) if rest > 1e-9 else 1.0
    return low, high


def mean_ranks(scores: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return each method's mean rank over tasks, 1 being the best, with intervals over tasks, and the ranks themselves.

    The intervals are t-intervals with tasks as the unit: of another set of tasks of this kind, the mean rank would lie
    there. They end at 1 and at the number of methods. With one task they say nothing.

    Args:
        scores: Of shape (methods, tasks), greater being better; not NaN. Equal scores share their mean rank.
        confidence: Of the intervals.

    Returns:
        The mean ranks, the low and the high ends, each of shape (methods,), and the ranks, of shape (methods, tasks).

    Raises:
        ValueError: A score is NaN.

    """
    from scipy import stats

    scores = np.asarray(scores, float)
    if scores.ndim != 2 or np.isnan(scores).any():
        raise ArgumentValueError("Scores must be numbers of shape (methods, tasks).")
    ranks = stats.rankdata(-scores, axis=0)
    methods, tasks = ranks.shape
    mean = ranks.mean(axis=1)
    if tasks == 1:
        return mean, np.full(methods, 1.0), np.full(methods, float(methods)), ranks
    half = stats.t.ppf((1 + confidence) / 2, tasks - 1) * ranks.std(axis=1, ddof=1) / math.sqrt(tasks)
    return mean, np.maximum(mean - half, 1), np.minimum(mean + half, methods), ranks


def _checked(scores: np.ndarray, least: int) -> np.ndarray:
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or len(scores) < least:
        raise ArgumentValueError(f"There must be at least {least} scores in a flat array, got shape {scores.shape}.")
    if np.isnan(scores).any():
        raise ArgumentValueError("A score is NaN. A run that failed scores -inf, or +inf where less is better.")
    return scores
