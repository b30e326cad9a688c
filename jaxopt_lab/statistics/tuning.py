"""Tuning curves: the score of the best of k random configurations, as a function of k, and how sure it is.

All functions take one score for each configuration, the configurations being independent random draws. Lower is better
unless `greater_is_better`. A configuration that diverged scores +inf (-inf where greater is better).
"""

import dataclasses
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxopt_lab.checking import check_count, check_flag
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.statistics.bands import check_confidence, critical_mass, levels, shipped_sizes

ALL = 256  # budgets up to this number of draws are all listed by default


@dataclasses.dataclass(frozen=True, eq=False)
class TuningCurve:
    """The score of the best of k random configurations, at budgets k.

    Attributes:
        budgets: The numbers of configurations k, of shape (budgets,).
        expected: The mean score of the best of k: see `expected_best`.
        median: The median score of the best of k: see `median_best`.
        low, high: The band of the median curve: with the given confidence the true one is within it at all budgets at
            once, whatever the distribution of scores. Infinite where too few draws say nothing of that side: see
            `finite_up_to`.
        confidence: The chance that the band holds.
        n: The number of configurations that were drawn.

    """

    budgets: np.ndarray
    expected: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    confidence: float
    n: int

    @property
    def finite_up_to(self) -> int:
        """The greatest budget at which the draws bound the median on both sides: see `finite_up_to`."""
        return finite_up_to(self.n, self.confidence)


def expected_best(scores: Any, budgets: int | Iterable[int], *, greater_is_better: bool = False) -> np.ndarray:
    """Estimate the expected score of the best of k random configurations, without bias.

    The mean of the best over all subsets of k of the n draws, a U-statistic, exactly: the i-th best draw is a subset's
    best with probability C(n - i, k - 1) / C(n, k). Tang et al. 2020, "Showing Your Work Doesn't Always Work",
    https://arxiv.org/abs/2004.13705: the usual plug-in estimate, which draws subsets with replacement, is too
    pessimistic. Infinite where a draw that diverged can be the best of k.

    Args:
        scores: One for each configuration, of shape (n,).
        budgets: The numbers of configurations k, 1 <= k <= n: beyond n there is no unbiased estimate.
        greater_is_better: Whether greater scores are better.

    Returns:
        One value for each budget, of shape (budgets,).

    Raises:
        TypeError, ValueError: A score is NaN or infinitely good, or an argument is invalid.

    """
    x, sign = _sorted(scores, greater_is_better)
    return sign * _expected(x, _budgets(budgets, len(x)))


def median_best(scores: Any, budgets: int | Iterable[int], *, greater_is_better: bool = False) -> np.ndarray:
    """Estimate the median score of the best of k random configurations.

    The best of k is at most y with probability 1 - (1 - F(y))^k, so its median is the 1 - (1/2)^(1/k) quantile of the
    distribution F of scores; F is estimated by that of the draws. Lourie et al. 2023, "Show Your Work with
    Confidence", https://arxiv.org/abs/2311.09480: unlike the mean, it exists where configurations diverge, and has a
    confidence band that needs no bounds of the score. Where the quantile is between two draws, it is the better one.

    Args:
        scores: One for each configuration, of shape (n,).
        budgets: The numbers of configurations k, 1 <= k <= n.
        greater_is_better: Whether greater scores are better.

    Returns:
        One value for each budget, of shape (budgets,).

    Raises:
        TypeError, ValueError: A score is NaN or infinitely good, or an argument is invalid.

    """
    x, sign = _sorted(scores, greater_is_better)
    return sign * _median(x, _budgets(budgets, len(x)))


def tuning_curve(
    scores: Any,
    budgets: int | Iterable[int] | None = None,
    *,
    confidence: float = 0.95,
    greater_is_better: bool = False,
) -> TuningCurve:
    """Estimate the tuning curve, and a band that contains the median curve at all budgets at once.

    The band comes from one of the distribution of scores, which is exact for any continuous distribution and needs
    neither bounds of the scores nor a large sample: see `jaxopt_lab.statistics.bands`. A tuning curve uses only the
    better half of it, so it is within its band more often than the confidence says: in 99 % of simulated samples at
    .95. The band also holds where scores are equal by chance, but is then wider than it would have to be, and a warning
    says so. (There is none for configurations that diverged: they are the end that matters least.) Where the critical
    mass of n draws is neither shipped nor cached, it is simulated, in some 5 seconds for each 100 draws.

    Args:
        scores: One for each configuration, of shape (n,), n >= 2: independent random draws. Configurations of a grid,
            of a Sobol sequence or of an adaptive search are not, nor are scores of trials that a rule stopped by
            comparing them.
        budgets: The numbers of configurations k, 1 <= k <= n; by default all up to n, of more than 256 draws some 200
            at equal ratios.
        confidence: The chance that the band holds, between 0 and 1.
        greater_is_better: Whether greater scores are better.

    Raises:
        TypeError, ValueError: A score is NaN or infinitely good, there are fewer than two, or an argument is invalid.

    """
    x, sign = _sorted(scores, greater_is_better)
    n, confidence = len(x), check_confidence(confidence)
    if n < 2:
        raise ArgumentValueError("A confidence band needs the scores of two or more configurations, got one.")
    at = _budgets(_default_budgets(n) if budgets is None else budgets, n)
    if (tied := _tied(x)) is not None:
        warnings.warn(tied, UserWarning, stacklevel=2)
    below, above = levels(n, confidence)
    extended, share = np.concatenate([[-np.inf], x, [np.inf]]), _share(at)
    # F is at most `above`, so that its quantile is at least the first draw where `above` reaches the share.
    least, most = extended[np.searchsorted(above, share)], extended[np.searchsorted(below, share)]
    low, high = (least, most) if sign > 0 else (-most, -least)
    return TuningCurve(at, sign * _expected(x, at), sign * _median(x, at), low, high, confidence, n)


def finite_up_to(n: int, confidence: float = 0.95) -> int:
    """Return the greatest budget k at which n draws bound the median best of k on both sides; 0 where none is.

    Beyond it, the best of k may well be better than anything seen: the side of good scores is unbounded. It is about
    n / 10 at a confidence of .95: the k below n ln 2 / -ln(1 - c) with the critical mass c of the band. (A bound may
    still be infinite because scores are: where more than half of all diverge, so does the median best of 1.)

    Args:
        n: The number of independent draws, at least 2.
        confidence: That of the band, between 0 and 1.

    Raises:
        TypeError, ValueError: An argument is invalid.

    """
    return math.ceil(n * math.log(2) / -math.log1p(-critical_mass(n, confidence))) - 1


def configurations_needed(budget: int, confidence: float = 0.95) -> int:
    """Return how many random configurations bound the median best of `budget` on both sides.

    It is the inverse of `finite_up_to`. At a confidence of .95 this takes no time for budgets up to 200, by
    interpolation between the critical masses that are shipped where more than 128 configurations are needed, which is
    within 1 %; otherwise up to five masses are simulated, each in some 5 seconds for each 100 draws.

    Args:
        budget: The number of configurations k whose best is asked for, at least 1.
        confidence: That of the band, between 0 and 1.

    Raises:
        TypeError, ValueError: An argument is invalid.

    """
    budget, confidence = check_count("budget", budget), check_confidence(confidence)
    draws = lambda exponent: math.floor(budget * exponent / math.log(2)) + 1
    n = max(2, draws(-math.log1p(-confidence)))  # too few: the critical mass is above the confidence, and grows with n
    while (more := draws(_exponent(n, confidence))) > n:
        n = more
    return n


def _exponent(n: int, confidence: float) -> float:
    """Return -ln(1 - c) of the critical mass c, interpolated in ln n where sizes on both sides are shipped."""
    exponent = lambda size: -math.log1p(-critical_mass(size, confidence))
    sizes = shipped_sizes(confidence)
    if not sizes or not sizes[0] <= n <= sizes[-1]:
        return exponent(n)
    return float(np.interp(math.log(n), np.log(sizes), [exponent(size) for size in sizes]))


def _sorted(scores: Any, greater_is_better: bool) -> tuple[np.ndarray, int]:
    """Return the scores as losses, best first, and the sign that turns them back."""
    sign = -1 if check_flag("greater_is_better", greater_is_better) else 1
    try:
        x = np.asarray(scores, float)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"scores must be numbers, got {type(scores).__name__}.") from None
    if x.ndim != 1 or not x.size:
        raise ArgumentValueError(f"scores must be a list of one number a configuration, got shape {x.shape}.")
    worst = f"{'-' if sign < 0 else '+'}inf"
    if (count := int(np.isnan(x).sum())) > 0:
        raise ArgumentValueError(f"{count} of {len(x)} scores are NaN. A configuration that diverged scores {worst}.")
    x = np.sort(sign * x)
    if x[0] == -np.inf:
        raise ArgumentValueError(
            f"A score is {-sign * np.inf}, which is better than any other. A configuration that diverged scores "
            f"{worst}: is greater_is_better={greater_is_better} meant?"
        )
    return x, sign


def _budgets(budgets: int | Iterable[int], n: int) -> np.ndarray:
    """Return the budgets as an array of integers from 1 to n."""
    listed = budgets if isinstance(budgets, Iterable) and getattr(budgets, "ndim", 1) else [budgets]
    checked = [check_count("A budget", k) for k in listed]
    if not checked:
        raise ArgumentValueError("budgets is empty: give at least one, for example [1, 10].")
    if (most := max(checked)) > n:
        raise ArgumentValueError(
            f"A budget is {most:,}, but there are {n:,} configurations: budgets go up to that number. Draw more."
        )
    return np.asarray(checked)


def _default_budgets(n: int) -> np.ndarray:
    return np.arange(1, n + 1) if n <= ALL else np.unique(np.geomspace(1, n, ALL).round().astype(int))


def _expected(x: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Return the expected best of k without replacement, of sorted losses."""
    n, finite = len(x), int(np.isfinite(x).sum())
    found = np.full(len(budgets), np.inf)
    for i, k in enumerate(budgets.tolist()):
        bests = n - k + 1  # the draws that have k - 1 others behind them
        if finite >= bests:
            # The ratio of C(m - 1, k - 1) to C(m, k - 1) is 1 - (k - 1) / m, so no binomial is computed.
            behind = np.arange(n - 1, k - 1, -1)
            found[i] = np.cumprod(np.append(k / n, 1 - (k - 1) / behind)) @ x[:bests]
    return found


def _median(x: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Return the median best of k, of sorted losses: the first whose share of losses, i / n, is enough."""
    return x[np.ceil(len(x) * _share(budgets)).astype(int) - 1]


def _share(budgets: np.ndarray) -> np.ndarray:
    """Return the share of losses below the median best of k: 1 - (1/2)^(1/k)."""
    return -np.expm1(-math.log(2) / budgets)


def _tied(x: np.ndarray) -> str | None:
    """Return a warning where finite scores are equal."""
    counts = np.unique(x[np.isfinite(x)], return_counts=True)[1]
    if (tied := int(counts[counts > 1].sum())) == 0:
        return None
    return (
        f"{tied} of {len(x)} scores are equal to another one (up to {counts.max()} to each other). The confidence band "
        "holds for such scores too, but is wider than it would have to be."
    )
