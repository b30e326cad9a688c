"""Selection of what a picture shows: final values over seeds, and the best configuration over other hyperparameters."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.labels import distinct, narrowed
from jaxopt_lab.results.score import greater_is_better, median_score, score

if TYPE_CHECKING:
    import xarray as xr


class Last(NamedTuple):
    """The last values of trials (configs, seeds), and which configurations a stop rule ended (configs)."""

    values: np.ndarray
    early: np.ndarray


def best_rows(dataset: "xr.Dataset", metric: str, names: list[str], among: np.ndarray) -> np.ndarray:
    """Return, for each combination of values of `names`, the position of the configuration with the best median.

    Where a stop rule ended all of them, this is the one that came furthest, then the one with the best last value.

    Args:
        dataset: The sweep's dataset.
        metric: The metric to select by.
        names: Names of hyperparameters.
        among: Positions along `config` of the configurations to choose from.

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
    """Return each trial's score or, where a stop rule ended it and its score is merely the worst, its last value."""
    final, status = score(dataset, metric).values, dataset["status"].values
    stopped = (status == "stopped") & ~np.isfinite(final)
    curve = dataset[metric].transpose("config", "seed", ...).values
    at = curve.shape[-1] - 1 - np.argmax(np.isfinite(curve)[..., ::-1], axis=-1)
    there = np.take_along_axis(curve, at[..., None], axis=-1)[..., 0]
    early = stopped.any(axis=1) & ~np.isfinite(np.median(final, axis=1))
    return Last(np.where(stopped & np.isfinite(there), there, final), early)


def why_beyond(dataset: "xr.Dataset", shown: np.ndarray, values: np.ndarray) -> list[str]:
    """Name the reasons why values of the trials `shown` (a mask of configs, seeds) lie beyond a scale."""
    status, known = dataset["status"].values[shown], np.isfinite(values[shown])
    kinds = {"diverged": status == "diverged"}
    kinds |= {"interrupted": (status == "interrupted") & ~known, "stopped early": (status == "stopped") & ~known}
    kinds["off the scale"] = ~np.logical_or.reduce([*kinds.values()])
    return [name for name, which in kinds.items() if which.any()]
