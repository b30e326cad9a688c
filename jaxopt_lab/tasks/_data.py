"""Real data sets from scikit-learn, and their splits. Arrays are float64 NumPy; JAX casts them to its precision."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

SPLIT_SEED = 0  # fixed, so that results are comparable
TABLES = {"breast_cancer": ("breast_cancer.csv", 1), "digits": ("digits.csv.gz", 0)}
"""scikit-learn's CSV files with targets in the last column: the file, and the number of header lines."""


@functools.lru_cache(maxsize=8)
def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Load inputs (examples, features) and targets (examples,) of scikit-learn's `load_NAME`.

    Where scikit-learn's CSV file holds them unchanged, it is read directly: importing scikit-learn takes a second.
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
    """Use all examples for training, or split them at random (fixed seed) into 70 / 15 / 15 % train/validation/test."""
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
