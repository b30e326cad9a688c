"""Real data from scikit-learn's own package, and how they are split. Float64 NumPy; JAX casts to its precision."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

SPLIT_SEED = 0  # one fixed split for everybody
TABLES = {"breast_cancer": ("breast_cancer.csv", 1), "digits": ("digits.csv.gz", 0)}
"""Of scikit-learn's, with targets in the last column: the file, and how many lines come before the numbers."""


@functools.lru_cache(maxsize=8)
def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (examples, features) and targets (examples,) of scikit-learn's `load_NAME`.

    Where they lie in a table as they are, it is read without importing scikit-learn, which would take a second.
    """
    file, heading = TABLES.get(name, ("", 0))
    package = importlib.util.find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", file)
        if path.is_file():
            table = np.loadtxt(path, delimiter=",", skiprows=heading)
            return table[:, :-1], table[:, -1].astype(int)
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(return_X_y=True)


def split(inputs: np.ndarray, targets: np.ndarray, holdout: bool) -> dict[str, Any]:
    """All examples as training data, or a fixed random 70 / 15 / 15 % for training, validation and test."""
    if not holdout:
        return {"train": (inputs, targets)}
    order = np.random.default_rng(SPLIT_SEED).permutation(len(inputs))
    held = round(0.15 * len(inputs))
    parts = {"test": order[:held], "validation": order[held : 2 * held], "train": order[2 * held :]}
    return {name: (inputs[i], targets[i]) for name, i in parts.items()}


def standardise(splits: dict[str, Any]) -> dict[str, Any]:
    """Shift and scale every input to mean 0 and variance 1 over the training examples."""
    mean, std = splits["train"][0].mean(0), splits["train"][0].std(0)
    return {name: ((x - mean) / std, y) for name, (x, y) in splits.items()}
