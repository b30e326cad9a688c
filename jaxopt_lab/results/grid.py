"""Grids: a dataset with hyperparameters as dimensions instead of `config`."""

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.labels import coordinate, distinct, narrowed, texts
from jaxopt_lab.results.best import rows_of
from jaxopt_lab.results.score import hyperparameters

if TYPE_CHECKING:
    import xarray as xr


def grid(dataset: "xr.Dataset", optimizer: str | None = None) -> "xr.Dataset":
    """Return one optimizer's part of a dataset as a grid: see `Results.grid`."""
    spaces = json.loads(dataset.attrs["space"])
    if optimizer is None and len(spaces) > 1:
        raise ValueError(f"There are several optimizers: name one of {', '.join(spaces)}, as grid(optimizer=...).")
    optimizer = next(iter(spaces)) if optimizer is None else optimizer
    check_known("optimizer", optimizer, spaces)
    if spaces[optimizer]["kind"] != "product":
        raise ValueError(f"The space of {optimizer} is {spaces[optimizer]['kind']}, not a product, so it has no grid.")
    import xarray as xr

    own = dataset.isel(config=rows_of(dataset, optimizer))
    names, columns = list(spaces[optimizer]["space"]), hyperparameters(own)
    axes = {name: distinct(narrowed(columns[name])) for name in names}
    shape = [len(values) for values, _ in axes.values()]
    if math.prod(shape) != own.sizes["config"]:
        raise ValueError(
            f"The dataset has {own.sizes['config']} of the {math.prod(shape)} configurations of the product."
        )
    rows = np.zeros(shape, int)
    rows[tuple(at for _, at in axes.values())] = np.arange(own.sizes["config"]) if names else 0
    own = own.drop_vars([*columns, "optimizer", "config"]).isel(config=xr.DataArray(rows, dims=names))
    own = own.assign_coords({name: coordinate(name, _index(values)) for name, (values, _) in axes.items()})
    return own.transpose(*names, ...)


def _index(values: np.ndarray) -> np.ndarray:
    """Return a grid's axis; as texts where distinct values are equal, as 1 and True are, so that lookups are unique."""
    listed = values.tolist()
    return np.asarray(texts(values)) if len(set(listed)) < len(listed) else values
