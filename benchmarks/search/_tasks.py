"""What the benchmarks of search have in common: the tasks and the space."""

import functools
from collections.abc import Callable, Mapping

import numpy as np

import jaxopt_lab as jl

SPACE = jl.prior(jl.adam)
TASKS: Mapping[str, tuple[Callable[[], jl.Task], int]] = {  # and the steps of a trial
    "breast_cancer": (functools.partial(jl.tasks.breast_cancer, holdout=True, batch_size=32), 300),
    "digits_mlp": (functools.partial(jl.tasks.digits_mlp, width=16), 300),
    "digits_autoencoder": (functools.partial(jl.tasks.digits_autoencoder), 300),
    "linear_regression": (functools.partial(jl.tasks.linear_regression), 300),
    "matrix_factorization": (functools.partial(jl.tasks.matrix_factorization), 500),
    "noisy_quadratic": (functools.partial(jl.tasks.noisy_quadratic), 500),
}


def scores_of(results: jl.Results) -> np.ndarray:
    """Return what each configuration is selected by, in the order in which they were suggested."""
    dataset = results.dataset
    ends = dataset[dataset.attrs["main_metric"]].values[:, 0, -1]
    ended = np.isin(dataset["status"].values[:, 0], ("diverged", "failed", "stopped"))
    return np.where(ended | ~np.isfinite(ends), np.inf, ends)
