"""Curves for the page: the median over seeds of every configuration, thinned so that the page stays small."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.report.page.data import axis, lanes_of, listed, reasons, words
from jaxopt_lab.report.plots import words as written
from jaxopt_lab.report.plots.scale import Scale, scale
from jaxopt_lab.results.best import best
from jaxopt_lab.results.score import default_metric, direction, metrics
from jaxopt_lab.statistics.spread import spread
from jaxopt_lab.tasks.direction import MAX

if TYPE_CHECKING:
    import xarray as xr

MOST_CURVES = 3  # losses and metrics whose curves are in the page
MOST_POINTS = 120  # of a curve
LEAST_POINTS = 8
ALL_POINTS = 160_000  # of all curves together, as long as one metric has LEAST_POINTS


def curves(dataset: "xr.Dataset") -> list[dict[str, Any]]:
    """Return curves by metric: the main metric's first, then those of losses."""
    names = metrics(dataset)
    first = [default_metric(dataset), *(n for n in ("train_loss", "validation_loss", "test_loss") if n in names)]
    count = dataset.sizes["config"]
    fit = max(1, min(MOST_CURVES, ALL_POINTS // (LEAST_POINTS * count)))
    chosen = list(dict.fromkeys([*first, *names]))[:fit]
    most = max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // (len(chosen) * count)))
    return [_curves(dataset, name, most) for name in chosen]


def _curves(dataset: "xr.Dataset", metric: str, most: int) -> dict[str, Any]:
    curve = dataset[metric]
    along = str(curve.dims[-1])
    count = curve.sizes[along]
    points = np.unique(np.round(np.linspace(0, count - 1, min(count, most))).astype(int))
    values = _with_worst(dataset, metric, points)
    low, median, high = spread(values)
    names = written.optimizers(dataset)
    at = np.asarray([names.index(name) for name in dataset["optimizer"].values.tolist()])
    bests = [best(dataset, optimizer=name).config for name in names]
    rows = [int(np.flatnonzero(dataset["config"].values == config)[0]) for config in bests]
    y = scale(dataset, metric, np.concatenate([median.ravel(), low[rows].ravel(), high[rows].ravel()]))
    lanes = lanes_of(y, len(names))[at][:, None]
    clipped = _clipped(y, median, lanes)
    return {
        "name": metric,
        "words": words(metric),
        "of": int(count),
        "x": written.axis(dataset),
        "beyond": reasons(dataset, values, y),
        **axis(y),
        "points": listed(curve[along].values[points], 9),
        "values": [listed(row, 4) for row in clipped],
        "bests": rows,
        "bands": [[listed(_clipped(y, side, lanes)[row], 4) for side in (low, high)] for row in rows],
    }


def _clipped(y: Scale, values: np.ndarray, lanes: np.ndarray) -> np.ndarray:
    """Move values beyond the range into the strip: `Scale.clip` with a lane for each row."""
    with np.errstate(invalid="ignore"):
        return np.stack([y.clip(row, float(lane)) for row, lane in zip(values, lanes[:, 0], strict=True)])


def _with_worst(dataset: "xr.Dataset", metric: str, points: np.ndarray) -> np.ndarray:
    """Return values (configs, seeds, points): the worst from divergence on, NaN where a trial did not come."""
    curve = dataset[metric].transpose("config", "seed", ...)
    values = curve.isel({curve.dims[-1]: points}).values
    worst = {None: np.nan, MAX: -np.inf}.get(direction(dataset, metric), np.inf)
    diverged = (dataset["status"].transpose("config", "seed").values == "diverged")[..., None]
    return np.where(diverged & np.isnan(values), worst, values)
