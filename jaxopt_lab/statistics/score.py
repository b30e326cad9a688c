"""One number a trial, and the best configuration by its median over seeds."""

from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.validation import check_known

if TYPE_CHECKING:
    import xarray as xr


def metrics(dataset: "xr.Dataset") -> list[str]:
    """The names of all losses and metrics in a sweep's dataset."""
    return [str(name) for name, x in dataset.data_vars.items() if x.dims[-1] in ("step", "eval_step")]


def default_metric(dataset: "xr.Dataset") -> str:
    """What configurations are chosen by: validation loss where there is one, else training loss."""
    return "validation_loss" if "validation_loss" in dataset else "train_loss"


def greater_is_better(metric: str) -> bool:
    """Whether the metric's name ends in accuracy, auc, r2 or score."""
    return metric.lower().endswith(("accuracy", "auc", "r2", "score"))


def score(dataset: "xr.Dataset", metric: str) -> "xr.DataArray":
    """The metric at each trial's end: dims (config, seed). One that diverged, was stopped or has no value scores worst.

    Raises:
        ValueError: The metric is not in the dataset.

    """
    check_known("metric", metric, metrics(dataset))
    final = dataset[metric].isel({dataset[metric].dims[-1]: -1})
    worst = -np.inf if greater_is_better(metric) else np.inf
    return final.where(np.isfinite(final), worst)


def median_score(dataset: "xr.Dataset", metric: str) -> np.ndarray:
    """The median over seeds of each configuration's score."""
    return np.median(score(dataset, metric).values, axis=1)


def best_config(dataset: "xr.Dataset", metric: str) -> int:
    """The position along `config` of the best median score; the first of equals."""
    median = median_score(dataset, metric)
    return int(np.argmax(median) if greater_is_better(metric) else np.argmin(median))


def on_edge(dataset: "xr.Dataset", config: int) -> list[str]:
    """The numeric hyperparameters of position `config` that are the least or greatest its optimizer tried."""
    rows = dataset.isel(config=dataset["optimizer"].values == dataset["optimizer"].values[config])
    edges = []
    for name, values in hyperparameters(dataset).items():
        tried = np.unique(rows[name].values)
        if values.dtype.kind == "f" and len(tried) > 2 and values[config] in (tried[0], tried[-1]):
            edges.append(name)
    return edges


def hyperparameters(dataset: "xr.Dataset") -> dict[str, np.ndarray]:
    """The hyperparameters that were varied, by name: one value a configuration."""
    coords = dataset.coords
    return {str(n): c.values for n, c in coords.items() if c.dims == ("config",) and n not in ("config", "optimizer")}
