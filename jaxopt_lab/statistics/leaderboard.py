"""One row an optimizer: its best configuration, how it scored, and how much luck it took to find."""

from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.statistics.score import best_config, default_metric, greater_is_better, median_score, metrics, score

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

GOOD = 0.95  # share of the best improvement that counts as good


def leaderboard(dataset: "xr.Dataset", metric: str | None = None) -> "pd.DataFrame":
    """Each optimizer's best configuration by the median of `metric` over seeds, best first.

    Columns: `optimizer`; `config`; the varied `learning_rate` where there is one; for every loss and metric the median
    over seeds with quartiles as `NAME`, `NAME_q25`, `NAME_q75`; `diverged`, the share of all its trials;
    `good_decades`, how many powers of ten of learning rates, side by side around the best, reach at least 95 % of the
    improvement on the start that the best reaches (a rate that a stop rule ended early is not among them).

    Args:
        dataset: Of a sweep.
        metric: Which to choose by; validation loss where there is one, else training loss.

    """
    import pandas as pd

    metric = default_metric(dataset) if metric is None else metric
    median_score(dataset, metric)  # the name is checked before anything else
    rows = []
    for name in dict.fromkeys(dataset["optimizer"].values.tolist()):
        own = dataset.isel(config=np.flatnonzero(dataset["optimizer"].values == name))
        best = best_config(own, metric)
        row = {"optimizer": name, "config": int(own["config"].values[best])}
        if "learning_rate" in own.coords:
            found = np.isfinite(median_score(own, metric)[best])  # where no learning rate led anywhere, none is best
            row["learning_rate"] = own["learning_rate"].values[best] if found else np.nan
        for shown in dict.fromkeys([metric, *metrics(dataset)]):
            values = score(own, shown).values[best]
            low, high = np.percentile(values, [25, 75], method="nearest")  # never between a number and infinity
            row |= {shown: float(np.median(values)), f"{shown}_q25": low, f"{shown}_q75": high}
        row["diverged"] = float((own["status"] == "diverged").mean())
        if "learning_rate" in own.coords and np.issubdtype(own["learning_rate"].dtype, np.floating):
            row["good_decades"] = _good_decades(own, metric)
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values(metric, ascending=not greater_is_better(metric), kind="stable", ignore_index=True)


def _good_decades(own: "xr.Dataset", metric: str) -> float:
    """Width of the good range around the best learning rate, over the best of the other hyperparameters."""
    sign = -1 if greater_is_better(metric) else 1
    median = sign * median_score(own, metric)
    rates, at = np.unique(own["learning_rate"].values, return_inverse=True)
    by_rate = np.full(len(rates), np.inf)
    np.minimum.at(by_rate, at, median)
    best = int(np.argmin(by_rate))
    starts = own[metric].values[..., 0]
    if not np.isfinite(by_rate[best]) or rates[0] <= 0:
        return 0.0
    start = sign * float(np.median(starts[np.isfinite(starts)]))
    if by_rate[best] >= start:
        return 0.0
    good = by_rate <= by_rate[best] + (1 - GOOD) * (start - by_rate[best])
    low, high = best, best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    return float(np.log10(rates[high] / rates[low]))
