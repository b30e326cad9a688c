"""What a picture shows of many configurations: medians and quartiles over seeds, the best of other hyperparameters."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.statistics import greater_is_better, score
from jaxopt_lab.statistics.score import median_score

if TYPE_CHECKING:
    import xarray as xr


class Spread(NamedTuple):
    """Of a metric over seeds. Quartiles are values of trials: between a number and infinity there is none."""

    low: np.ndarray
    median: np.ndarray
    high: np.ndarray


def spread(values: np.ndarray) -> Spread:
    """Median and quartiles of (configs, seeds, ...) over seeds; NaN where a seed has no value."""
    low, high = np.percentile(values, [25, 75], axis=1, method="nearest")
    return Spread(low, np.median(values, axis=1), high)


def best_rows(dataset: "xr.Dataset", metric: str, names: list[str]) -> np.ndarray:
    """For each combination of values of `names` that occurs, the position of the configuration with the best median.

    Returns:
        Positions along `config`, sorted by the values of the first name, then the second.

    """
    median = median_score(dataset, metric)
    median = -median if greater_is_better(metric) else median
    columns = [np.unique(dataset[name].values, return_inverse=True)[1] for name in names]
    order = np.lexsort((median, *reversed(columns)))
    keys = np.stack(columns)[:, order]
    first = np.ones(len(order), bool)
    first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return order[first]


def why_beyond(dataset: "xr.Dataset", shown: np.ndarray, metric: str) -> list[str]:
    """Names for what lies beyond a scale, as occur among the trials where `shown` (configs, seeds)."""
    status = dataset["status"].values[shown]
    final = score(dataset, metric).values[shown]
    diverged, interrupted = status == "diverged", status == "interrupted"
    unknown = interrupted & ~np.isfinite(final)
    kinds = {"diverged": diverged, "interrupted": unknown, "off the scale": ~diverged & ~unknown}
    return [name for name, which in kinds.items() if which.any()]
