"""The spread of a metric over seeds."""

from typing import NamedTuple

import numpy as np


class Spread(NamedTuple):
    """Median and quartiles of a metric over seeds. Quartiles are not interpolated, since values may be infinite."""

    low: np.ndarray
    median: np.ndarray
    high: np.ndarray


def spread(values: np.ndarray) -> Spread:
    """Compute the median and quartiles of (configs, seeds, ...) over seeds; NaN where a seed has no value."""
    low, high = np.percentile(values, [25, 75], axis=1, method="nearest")
    return Spread(low, np.median(values, axis=1), high)
