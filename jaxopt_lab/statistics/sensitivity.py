"""Sensitivity of an optimizer to its learning rate."""

import math

import numpy as np

from jaxopt_lab.checking import check_number
from jaxopt_lab.errors import ArgumentValueError

GOOD = 0.95  # share of the best improvement that counts as good


def good_decades(tried: np.ndarray, median: np.ndarray, starts: np.ndarray) -> float:
    """Return the width, in powers of ten, of the good range around the best learning rate.

    Each learning rate scores as the best configuration that has it. A rate is good where it reaches at least 95 % of
    the best rate's improvement on the start; the range is the contiguous good rates around the best. It is the
    `basin_width` of a twentieth of the best improvement.

    Args:
        tried: The learning rate of each configuration, > 0.
        median: The score of each configuration; lower is better, +inf where it has none.
        starts: The scores of the seeds before the first step.

    Returns:
        The width; 0 where nothing improved on the start.

    """
    rates, losses = _by_rate(tried, median)
    best = losses.min()
    if not np.isfinite(best) or rates[0] <= 0:
        return 0.0
    start = _start(starts)
    return _width(rates, losses, (1 - GOOD) * (start - best)) if best < start else 0.0


def basin_width(rates: np.ndarray, losses: np.ndarray, within: float) -> float:
    """Return the width in decades of the learning rates around the best whose loss is within a distance of the best.

    Each learning rate has the least loss of the configurations that have it. The basin is the contiguous run, among
    the rates tried, of losses of at most the best loss + `within` that contains the best rate (the least of equals).
    Its width is log10 of its greatest over its least rate: nothing is interpolated between rates, so it is a lower
    bound that a finer grid may raise by up to a step of the coarser one at either end, and 0 where the best rate alone
    is within. `good_decades` is the width for one distance, 5 % of the best improvement on the start, which needs no
    scale of the loss; this is for a distance that is meant in the loss's own units.

    Args:
        rates: The learning rate of each configuration, > 0 and finite.
        losses: The loss of each; lower is better, +inf where it diverged.
        within: The distance from the best loss, >= 0, in units of the loss.

    Returns:
        The width; NaN where no loss is finite.

    Raises:
        TypeError, ValueError: `within` is not a number of at least 0; or a rate or loss is invalid.

    """
    rates, losses = _by_rate(*_checked(rates, losses))
    return _width(rates, losses, check_number("within", within, least=0)) if np.isfinite(losses.min()) else math.nan


def learning_rate_sensitivity(rates: np.ndarray, losses: np.ndarray, starts: np.ndarray) -> float:
    """Return how much worse than the best a learning rate of the range is on average, in units of the loss.

    Wortsman et al. 2023, section 2.2, https://arxiv.org/abs/2309.14322: the mean over the range, uniformly in the
    logarithm of the rate, of min(loss, loss at the start) - best loss. An optimizer that reaches its best loss at all
    rates has 0; one that diverges at a rate loses there what training could have gained. It depends on the range (the
    paper's is 3e-4 to 0.3), so compare optimizers on equal ranges, or on as many decades around each one's best.

    Each learning rate has the least loss of the configurations that have it. It stands for the rates that are closer
    to it, in logarithm, than to any other that was tried; the cells of the first and the last extend outwards as far as
    inwards. On an evenly spaced grid all weights are equal, which is the paper's plain mean.

    Args:
        rates: The learning rate of each configuration, > 0 and finite.
        losses: The loss of each; lower is better, +inf where it diverged.
        starts: The losses before the first step: one number, or one for each seed, whose median counts.

    Returns:
        The mean excess; NaN where no rate improved on the start, since then there is no best rate to deviate from.

    Raises:
        ValueError: A rate or loss is invalid, no start is finite, or fewer than two rates were tried.

    """
    rates, losses = _by_rate(*_checked(rates, losses))
    if len(rates) < 2:
        raise ArgumentValueError("A sensitivity needs two or more learning rates, got one.")
    if np.isnan(start := _start(np.atleast_1d(np.asarray(starts, float)))):
        raise ArgumentValueError("No loss at the start is finite, so nothing bounds the loss of a rate that diverged.")
    if losses.min() >= start:
        return math.nan
    between = np.diff(np.log(rates))
    cells = (np.append(between[0], between) + np.append(between, between[-1])) / 2
    return float(np.average(np.minimum(losses, start) - losses.min(), weights=cells))


def _checked(rates: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return learning rates and losses as arrays of floats."""
    rates, losses = np.asarray(rates, float), np.asarray(losses, float)
    if rates.ndim != 1 or rates.shape != losses.shape or not rates.size:
        raise ArgumentValueError(f"rates and losses must be lists of one length, got {rates.shape} and {losses.shape}.")
    if not (np.isfinite(rates) & (rates > 0)).all():
        raise ArgumentValueError("Learning rates must be finite and above 0: leave out the others.")
    if (np.isnan(losses) | (losses == -np.inf)).any():
        raise ArgumentValueError("A loss is NaN or -inf. A configuration that diverged has a loss of +inf.")
    return rates, losses


def _by_rate(tried: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct learning rates, increasing, and the least loss of each."""
    rates, at = np.unique(tried, return_inverse=True)
    by_rate = np.full(len(rates), np.inf)
    np.minimum.at(by_rate, at, losses)
    return rates, by_rate


def _start(starts: np.ndarray) -> float:
    """Return the median of the finite starts; NaN where there are none."""
    finite = starts[np.isfinite(starts)]
    return float(np.median(finite)) if finite.size else math.nan


def _width(rates: np.ndarray, losses: np.ndarray, within: float) -> float:
    """Return the width in decades of the contiguous rates around the best that are within a distance of its loss."""
    best = int(np.argmin(losses))
    outside = np.flatnonzero(losses > losses[best] + within)
    low, high = outside[outside < best].max(initial=-1) + 1, outside[outside > best].min(initial=len(rates)) - 1
    return float(np.log10(rates[high] / rates[low]))
