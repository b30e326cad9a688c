"""The table of trials as files hold it."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.labels import coordinate, distinct, present, texts
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import hyperparameters

if TYPE_CHECKING:
    import pandas as pd


def written_table(results: Results) -> "pd.DataFrame":
    """Return `results.table()` for files, where a column has one type: hyperparameters of several types as texts."""
    columns = {}
    for name, values in hyperparameters(results.dataset).items():
        if values.dtype == object:
            has, written = present(values), np.full(len(values), None, object)
            found, at = distinct(values[has])
            written[has] = np.asarray(texts(found), object)[at]
            columns[name] = coordinate("config", written)
    return dataclasses.replace(results, dataset=results.dataset.assign_coords(columns)).table()
