"""A curve of several seeds, and what of it is beyond its noise."""

from typing import NamedTuple

import numpy as np

FEWEST_POINTS = 10  # of a curve: with fewer, no window of it has a mean and no noise can be estimated
SURE = 2.0  # standard errors that a change must exceed, about 95 % for a normal mean


class Curve(NamedTuple):
    """A curve of the best configuration, up to the step of comparison.

    Attributes:
        name: The loss or metric.
        steps: The points, shape (points,), the first 0.
        values: Shape (seeds, points).
        sign: 1 where less is better, else -1.

    """

    name: str
    steps: np.ndarray
    values: np.ndarray
    sign: int

    def inside(self, low: float, high: float) -> np.ndarray:
        """Return which points lie in the part (low, high] of the run; the last before it where none does."""
        within = (self.steps > low * self.steps[-1]) & (self.steps <= high * self.steps[-1])
        if not within.any():
            within[np.flatnonzero(self.steps <= high * self.steps[-1])[-1]] = True
        return within

    def level(self, low: float, high: float) -> np.ndarray:
        """Return each seed's mean over the part (low, high] of the run."""
        return self.values[:, self.inside(low, high)].mean(axis=1)

    @property
    def start(self) -> np.ndarray:
        """Each seed's first value."""
        return self.values[:, 0]

    @property
    def end(self) -> np.ndarray:
        """Each seed's mean over the last tenth."""
        return self.level(0.9, 1.0)

    @property
    def gain(self) -> np.ndarray:
        """Each seed's improvement from the start to the end; positive is better."""
        return self.sign * (self.start - self.end)

    @property
    def noise(self) -> float:
        """The standard deviation of single points about a smooth curve, in the second half, as the median over seeds.

        It is that of second differences, which a straight line does not have; those of independent points of standard
        deviation s have 6 ** 0.5 s.
        """
        bent = self._bent
        return middle(np.sqrt(np.mean(bent**2, axis=1) / 6)) if bent.shape[1] else 0.0

    @property
    def usual_noise(self) -> float:
        """`noise` without rare jumps: by the median of the absolute differences."""
        bent = self._bent
        return middle(1.4826 * np.median(np.abs(bent), axis=1) / 6**0.5) if bent.shape[1] else 0.0

    @property
    def _bent(self) -> np.ndarray:
        return np.diff(self.values[:, len(self.steps) // 2 :], 2, axis=1)

    def clear(self, change: np.ndarray, points: int = 1) -> bool:
        """Return whether a change of means of `points` points, one for each seed, is beyond the noise and the seeds."""
        beyond_seeds = True
        if len(change) > 1:
            beyond_seeds = change.mean() > SURE * change.std(ddof=1) / len(change) ** 0.5
        return bool(beyond_seeds and np.median(change) > SURE * self.noise * (2 / points) ** 0.5)


def middle(values: np.ndarray) -> float:
    """Return the median as a plain number."""
    return float(np.median(values))


def filled(values: np.ndarray) -> np.ndarray:
    """Replace values that are not finite, as of steps that were skipped, by the last before them, else the first after.

    Args:
        values: Shape (seeds, points).

    """
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), -1), axis=1)
    first = np.argmax(known, axis=1)[:, None]
    return np.take_along_axis(values, np.where(last < 0, first, last), axis=1)
