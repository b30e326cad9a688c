"""Sensitivity of an optimizer to its learning rate."""

import numpy as np

GOOD = 0.95  # share of the best improvement that counts as good


def good_decades(tried: np.ndarray, median: np.ndarray, starts: np.ndarray) -> float:
    """Return the width, in powers of ten, of the good range around the best learning rate.

    Each learning rate scores as the best configuration that has it. A rate is good where it reaches at least 95 % of
    the best rate's improvement on the start; the range is the contiguous good rates around the best.

    Args:
        tried: The learning rate of each configuration, > 0.
        median: The score of each configuration; lower is better, +inf where it has none.
        starts: The scores of the seeds before the first step.

    Returns:
        The width; 0 where nothing improved on the start.

    """
    rates, at = np.unique(tried, return_inverse=True)
    by_rate = np.full(len(rates), np.inf)
    np.minimum.at(by_rate, at, median)
    best = int(np.argmin(by_rate))
    if not np.isfinite(by_rate[best]) or rates[0] <= 0:
        return 0.0
    start = float(np.median(starts[np.isfinite(starts)]))
    if by_rate[best] >= start:
        return 0.0
    good = by_rate <= by_rate[best] + (1 - GOOD) * (start - by_rate[best])
    low, high = best, best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    return float(np.log10(rates[high] / rates[low]))
