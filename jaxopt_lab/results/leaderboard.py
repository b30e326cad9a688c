"""Leaderboards: one row per optimizer, with its best configuration, its scores, and how easy the best was to find."""

from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.labels import narrowed
from jaxopt_lab.results.score import compared, default_metric, greater_is_better, metrics, score
from jaxopt_lab.statistics.sensitivity import good_decades
from jaxopt_lab.store.axes import unequal_examples, unequal_gradients

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def leaderboard(dataset: "xr.Dataset", metric: str | None = None) -> "pd.DataFrame":
    """Rank optimizers by their best configuration: the median of `metric` over seeds, best first.

    Columns: `optimizer`; `config`; `learning_rate`, where it was varied; for every loss and metric the median over
    seeds with quartiles, as `NAME`, `NAME_q25`, `NAME_q75`; `diverged`, the share of all its trials; `good_decades`,
    the width in powers of ten of the contiguous range of learning rates around the best that reach at least 95 % of
    the best one's improvement on the start (rates that a stop rule ended early do not count). For a sweep that is
    running or was interrupted, `step` is the step at which `metric` is compared. Where trials see unequally many
    training examples at equal steps, `examples` is how many the best configuration's trials saw; likewise `gradients`,
    where optimizers evaluate unequally many gradients a step (NaN for a number that depends on the losses).

    Args:
        dataset: The sweep's dataset.
        metric: The metric to select by; by default the task's main metric.

    Raises:
        ValueError: The metric is unknown, or has no direction.

    """
    import pandas as pd

    metric = default_metric(dataset) if metric is None else metric
    sign = -1 if greater_is_better(dataset, metric) else 1  # the name is checked before anything else
    scores = {name: score(dataset, name).values for name in dict.fromkeys([metric, *metrics(dataset)])}
    median, at = np.median(scores[metric], axis=1), compared(dataset, metric)
    rows = []
    for name in dict.fromkeys(dataset["optimizer"].values.tolist()):
        positions = np.flatnonzero(dataset["optimizer"].values == name)
        own, best = dataset.isel(config=positions), positions[np.argmin(sign * median[positions])]
        row = {"optimizer": name, "config": int(dataset["config"].values[best])}
        row |= {} if at.complete else {"step": at.step}
        if unequal_examples(dataset) is not None:
            row["examples"] = int(np.median(dataset["examples_seen"].transpose("config", "seed").values[best]))
        if unequal_gradients(dataset) is not None:
            taken = dataset["gradients_taken"].transpose("config", "seed").values[best]
            row["gradients"] = np.nan if (taken < 0).any() else int(np.median(taken))
        if "learning_rate" in own.coords:
            found = np.isfinite(median[best])  # where no learning rate worked, none is best
            row["learning_rate"] = dataset["learning_rate"].values[best] if found else np.nan
        for shown, all_values in scores.items():
            values = all_values[best]
            low, high = np.percentile(values, [25, 75], method="nearest")  # never interpolates with infinity
            row |= {shown: float(np.median(values)), f"{shown}_q25": low, f"{shown}_q75": high}
        row["diverged"] = float((own["status"] == "diverged").mean())
        if "learning_rate" in own.coords and (rates := narrowed(own["learning_rate"].values)).dtype.kind == "f":
            row["good_decades"] = good_decades(rates, sign * median[positions], sign * own[metric].values[..., 0])
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values(metric, ascending=sign > 0, kind="stable", ignore_index=True)
