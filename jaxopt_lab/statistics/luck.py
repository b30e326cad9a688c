"""The luck of tuning: if both methods were tuned anew, would the same one win?"""

import dataclasses
import math

import numpy as np

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.statistics.aggregates import interval_of_share

STUDIES = (
    8  # studies that the draws are divided into: with fewer than six, not even all of them won would decide at .05
)
ENOUGH = 50  # divisions at least as extreme, after which a p-value is known well enough
MOST, AT_ONCE = 100_000, 500  # divisions


@dataclasses.dataclass(frozen=True)
class Chance:
    """The chance that `a` beats `b` when each one is tuned anew, by a random search of its own.

    Attributes:
        value: The estimate; equal scores count half.
        low, high: Its confidence interval.
        p: The two-sided p-value of no difference: that of the configurations' scores if any of them might as well have
            been drawn for the other method.
        budget: The configurations of a study.
        spread: The standard deviation that `value` would have if there were no difference.

    """

    value: float
    low: float
    high: float
    p: float
    budget: int
    spread: float


def chance_to_win(
    selected_by_a: np.ndarray,
    scores_a: np.ndarray,
    selected_by_b: np.ndarray,
    scores_b: np.ndarray,
    confidence: float = 0.95,
    studies: int = STUDIES,
) -> Chance:
    """Estimate from one tuning study of each method who would win if both were tuned again.

    A study draws `budget` configurations at random and selects the best by validation; it scores what this one scores
    on test data (Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098). To say how studies vary takes several,
    so each one gets an eighth of the n draws: the estimate is the mean over all pairs of subsets of that size, which
    are counted, not sampled. The p-value divides all configurations anew between the methods (the permutation test),
    as often as needed (Besag & Clifford 1991, https://doi.org/10.1093/biomet/78.2.301). It is exact if both methods
    are one: then no division is special. The interval is that of Clopper & Pearson 1934 for a number of independent
    pairs of studies whose mean varies as these divisions do: 13 to 15, as all subsets say more than eight disjoint
    ones.

    Args:
        selected_by_a: What the configurations of `a` are selected by, of shape (n,), greater being better. They are
            independent random draws from one distribution; -inf for those that failed.
        scores_a: Their scores on other data, likewise.
        selected_by_b: As `selected_by_a`, for `b`; the numbers of configurations may differ.
        scores_b: As `scores_a`, for `b`.
        confidence: Of the interval.
        studies: How many studies the draws are divided into.

    Raises:
        ValueError: A number is NaN, or a method has no configuration or unequally many numbers.

    """
    a, b = _checked(selected_by_a, scores_a), _checked(selected_by_b, scores_b)
    fewest = min(a.shape[1], b.shape[1])
    budget = max(1, fewest // studies)
    pooled = np.concatenate([a, b], axis=1)
    order = np.argsort(pooled[0], kind="stable")
    pooled, of_a = pooled[:, order], order < a.shape[1]
    count = _Counting(pooled, a.shape[1], budget)
    value = float(np.clip(count(of_a[None])[0], 0.0, 1.0))  # shares are rounded
    p, spread = _divided_anew(count, of_a, abs(value - 0.5))
    pairs = min(0.25 / spread**2, fewest) if spread else fewest
    return Chance(value, *interval_of_share(value * pairs, pairs, confidence), p, budget, spread)


def draws_needed(chance: Chance, draws: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Estimate how many configurations of each method would decide, if the chance to win is what it seems to be.

    Returns:
        About that many, by the normal approximation; infinity where neither method is ahead.

    """
    from scipy import stats

    ahead = abs(chance.value - 0.5)
    if ahead < 1e-9:
        return math.inf
    wanted = float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))
    return math.ceil(draws * (wanted * chance.spread / ahead) ** 2)


class _Counting:
    """Counts won pairs of studies, for any division of the pooled configurations between two methods."""

    def __init__(self, pooled: np.ndarray, of_a: int, budget: int):
        selected_by, scores = pooled
        self.equals = _Equals(selected_by)
        self.order = np.argsort(scores, kind="stable")
        self.scores = _Equals(scores[self.order])
        self.chosen = [_chosen(n, budget) for n in (of_a, len(selected_by) - of_a)]

    def __call__(self, of_a: np.ndarray) -> np.ndarray:
        """Return the share of won pairs for each division, of shape (divisions, configurations)."""
        first, second = (self._shares(own, chosen) for own, chosen in zip((of_a, ~of_a), self.chosen, strict=True))
        first, second = (self.scores.summed(shares[:, self.order]) for shares in (first, second))
        below = np.cumsum(second, axis=1) - second  # the share of b's studies with a lower score
        return np.einsum("di,di->d", first, below + 0.5 * second)

    def _shares(self, own: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return in which share of a method's studies each configuration is the selected one."""
        shares = np.where(own, chosen[np.cumsum(own, axis=1)], 0.0)
        if not self.equals.any:
            return shares
        each = self.equals.summed(shares) / np.maximum(self.equals.summed(own.astype(float)), 1)
        return np.where(own, np.repeat(each, self.equals.sizes, axis=1), 0.0)  # each is selected equally often


class _Equals:
    """Runs of equal numbers in a sorted array."""

    def __init__(self, ordered: np.ndarray):
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self.sizes = np.diff(np.r_[self.starts, len(ordered)])
        self.any = len(self.starts) < len(ordered)

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Return the sums over each run, along the last axis."""
        return np.add.reduceat(values, self.starts, axis=1) if self.any else values


def _chosen(n: int, budget: int) -> np.ndarray:
    """Return in which share of the subsets the configuration of each rank, from 1 for the worst, is the best."""
    shares = np.zeros(n + 1)
    share = budget / n  # that of the best
    for rank in range(n, 0, -1):
        shares[rank] = share
        share *= (rank - budget) / (rank - 1) if rank > budget else 0.0
    return shares


def _divided_anew(count: _Counting, of_a: np.ndarray, ahead: float) -> tuple[float, float]:
    """Return the p-value and the standard deviation, over random divisions of the configurations."""
    rng, seen, extreme, squares = np.random.default_rng(0), 0, 0, 0.0
    while seen < MOST:
        divisions = rng.permuted(np.repeat(of_a[None], AT_ONCE, axis=0), axis=1)
        away = np.abs(count(divisions) - 0.5)
        squares += float((away**2).sum())
        found = np.flatnonzero(away >= ahead - 1e-12)
        if extreme + len(found) >= ENOUGH:
            at = seen + int(found[ENOUGH - extreme - 1]) + 1
            return ENOUGH / at, math.sqrt(squares / (seen + AT_ONCE))
        seen, extreme = seen + AT_ONCE, extreme + len(found)
    return (extreme + 1) / (seen + 1), math.sqrt(squares / seen)


def _checked(selected_by: np.ndarray, scores: np.ndarray) -> np.ndarray:
    both = np.asarray(selected_by, float), np.asarray(scores, float)
    if both[0].ndim != 1 or both[0].shape != both[1].shape or not both[0].size:
        raise ArgumentValueError(
            f"Each configuration needs what it is selected by and a score, got {both[0].shape} and {both[1].shape}."
        )
    if np.isnan(both).any():
        raise ArgumentValueError("A score is NaN. A configuration that failed scores -inf.")
    return np.stack(both)
