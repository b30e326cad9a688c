"""Real data from scikit-learn's own package, and how they are split. Float64 NumPy; JAX casts to its precision."""

import functools
from typing import Any

import numpy as np

SPLIT_SEED = 0  # one fixed split for everybody


@functools.lru_cache(maxsize=8)
def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (examples, features) and targets (examples,) of scikit-learn's `load_NAME`."""
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
