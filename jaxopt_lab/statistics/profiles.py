"""Steps to a target, and performance profiles over tasks."""

import numpy as np

from jaxopt_lab.errors import ArgumentValueError


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
