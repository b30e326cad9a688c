"""Steps to a target, speed-up, and performance profiles over tasks."""

import numpy as np

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.statistics.aggregates import Estimate
from jaxopt_lab.statistics.pairs import interval_of_median


def steps_to_target(steps: np.ndarray, losses: np.ndarray, target: float) -> np.ndarray:
    """Return the first of `steps` at which each curve is at most the target; infinity where it never is.

    Args:
        steps: Of shape (points,), increasing.
        losses: Of shape (..., points); NaN and infinity are misses.
        target: The loss to reach.

    """
    hit = np.asarray(losses) <= target
    first = np.asarray(steps, float)[np.argmax(hit, axis=-1)]
    return np.where(hit.any(axis=-1), first, np.inf)


def speed_up(steps: np.ndarray, reference: np.ndarray, losses: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Return how many times fewer steps a method needs than the reference, as equivalent steps.

    For each seed, the curve of the faster one is inverted: 2 means that the method reaches the reference's final loss
    in half of its steps, .5 that the reference reaches the method's in half. Curves count with their least loss so far,
    and lines join their points. The median over seeds is given, with its interval by order statistics, which holds for
    any distribution from six seeds on.

    Args:
        steps: Of shape (points,), increasing, from 0 on.
        reference: The reference's losses, of shape (seeds, points); less is better.
        losses: The method's, for the same seeds.
        confidence: Of the interval.

    Returns:
        The median and its interval; infinite where the reference stays above all of the method's losses, or never comes
        down at all.

    Raises:
        ValueError: The shapes differ, or a loss at the start is NaN.

    """
    steps, curves = np.asarray(steps, float), [np.asarray(x, float) for x in (reference, losses)]
    if any(curve.ndim != 2 or curve.shape[1:] != steps.shape for curve in curves) or len({len(x) for x in curves}) > 1:
        raise ArgumentValueError("Losses must be of shape (seeds, points), with a point for each of steps.")
    if any(np.isnan(curve[:, 0]).any() for curve in curves):
        raise ArgumentValueError("A loss at the start is NaN, so there is nothing to compare with.")
    slow, fast = (np.minimum.accumulate(np.where(np.isnan(x), np.inf, x), axis=1) for x in curves)
    found = []
    for one, other in zip(slow, fast, strict=True):
        ahead = other[-1] <= one[-1]
        taken = _first_at(steps, other, one[-1]) if ahead else _first_at(steps, one, other[-1])
        with np.errstate(divide="ignore"):
            found.append(float(np.divide(steps[-1], taken) if ahead else np.divide(taken, steps[-1])))
    values = np.asarray(found)
    return Estimate(float(np.median(values)), *interval_of_median(values, confidence))


def _first_at(steps: np.ndarray, falling: np.ndarray, target: float) -> float:
    """Return where a curve that never rises first comes down to the target, which it reaches."""
    at = int(np.argmax(falling <= target))
    if at == 0 or not np.isfinite(falling[at - 1]):
        return float(steps[at])
    share = (falling[at - 1] - target) / (falling[at - 1] - falling[at])
    return float(steps[at - 1] + share * (steps[at] - steps[at - 1]))


def performance_profile(costs: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Return the share of tasks that each method solves at a cost of at most each ratio of the cheapest one.

    Dolan & More 2002, https://arxiv.org/abs/cs/0102001. A task that no method solves counts for none.

    Args:
        costs: Time or steps to target, of shape (methods, tasks), > 0; infinity where the target was missed.
        ratios: The ratios to the cheapest, >= 1.

    Returns:
        Of shape (methods, ratios).

    Raises:
        ValueError: A cost is NaN or not positive.

    """
    relative = _relative(costs)
    return np.mean(relative[:, :, None] <= np.asarray(ratios, float)[None, None], axis=1)


def profile_score(costs: np.ndarray, most: float = 4.0) -> np.ndarray:
    """Return the mean of each method's performance profile over the ratios from 1 to `most`, exactly.

    AlgoPerf's benchmark score (Dahl et al. 2023, https://arxiv.org/abs/2306.07179), with most = 4.

    Raises:
        ValueError: A cost is NaN or not positive.

    """
    return np.mean(np.clip(most - _relative(costs), 0, most - 1), axis=1) / (most - 1)


def _relative(costs: np.ndarray) -> np.ndarray:
    costs = np.asarray(costs, float)
    if costs.ndim != 2 or np.isnan(costs).any() or (costs <= 0).any():
        raise ArgumentValueError("Costs must be positive numbers of shape (methods, tasks); infinity is a miss.")
    least = costs.min(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(costs), np.inf, costs / least[None])
