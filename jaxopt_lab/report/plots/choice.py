"""What a picture shows of many configurations: medians and quartiles over seeds, the best of other hyperparameters."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.labels import distinct, narrowed
from jaxopt_lab.results.score import greater_is_better, median_score, score

if TYPE_CHECKING:
    import xarray as xr


class Last(NamedTuple):
    """How far trials came: `values` (configs, seeds), and which configurations a stop rule ended (configs)."""

    values: np.ndarray
    early: np.ndarray


def best_rows(dataset: "xr.Dataset", metric: str, names: list[str], among: np.ndarray) -> np.ndarray:
    """For each combination of values of `names` that occurs, the position of the configuration with the best median.

    Among those that a stop rule ended, it is the one that came furthest, and then the best where it was stopped.

    Args:
        dataset: Of a sweep.
        metric: What to choose by.
        names: Of hyperparameters.
        among: Positions along `config`: which configurations to choose from.

    Returns:
        Positions along `config`, sorted by the values of the first name, then the second.

    """
    sign = -1 if greater_is_better(dataset, metric) else 1
    scores = median_score(dataset, metric), np.median(last(dataset, metric).values, axis=1)
    median, there = (sign * values[among] for values in scores)
    came = np.median(dataset["steps_taken"].values, axis=1)[among]
    columns = [distinct(narrowed(dataset[name].values[among]))[1] for name in names]
    order = np.lexsort((there, -came, median, *reversed(columns)))
    keys = np.stack(columns)[:, order]
    first = np.ones(len(order), bool)
    first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return among[order[first]]


def last(dataset: "xr.Dataset", metric: str) -> Last:
    """Each trial's score, or where a stop rule ended it, the metric there, since its score would say nothing of it."""
    final, status = score(dataset, metric).values, dataset["status"].values
    stopped = (status == "stopped") & ~np.isfinite(final)
    curve = dataset[metric].transpose("config", "seed", ...).values
    at = curve.shape[-1] - 1 - np.argmax(np.isfinite(curve)[..., ::-1], axis=-1)
    there = np.take_along_axis(curve, at[..., None], axis=-1)[..., 0]
    early = stopped.any(axis=1) & ~np.isfinite(np.median(final, axis=1))
    return Last(np.where(stopped & np.isfinite(there), there, final), early)


def why_beyond(dataset: "xr.Dataset", shown: np.ndarray, values: np.ndarray) -> list[str]:
    """Names for what lies beyond a scale, as occur among the trials where `shown` (configs, seeds), by their values."""
    status, known = dataset["status"].values[shown], np.isfinite(values[shown])
    kinds = {"diverged": status == "diverged"}
    kinds |= {"interrupted": (status == "interrupted") & ~known, "stopped early": (status == "stopped") & ~known}
    kinds["off the scale"] = ~np.logical_or.reduce([*kinds.values()])
    return [name for name, which in kinds.items() if which.any()]
