"""Words of pictures: names, numbers and labels as text that Matplotlib shows as it is."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab import formats
from jaxopt_lab.labels import distinct, texts
from jaxopt_lab.results.score import compared
from jaxopt_lab.store.axes import at_point, budget, unequal_examples, unit_of

if TYPE_CHECKING:
    import xarray as xr

AXES = {  # labels of what curves are by, with their units
    "step": "step (updates applied)",
    "examples": "training examples seen",
    "gradients": "gradients evaluated",
    "seconds": "time on one core or accelerator (s)",
}


def plain(text: Any) -> str:
    """Escape text for Matplotlib, in which a dollar would start a formula and a leading _ would hide a legend entry."""
    text = str(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def number(value: Any) -> str:
    """Format a number in four significant digits; other values as plain text."""
    return plain(short(value, 4))


def short(value: Any, digits: int = 3) -> str:
    """Format a number in `digits` significant digits; other values as plain text."""
    return plain(formats.short(value, digits))


def names(values: np.ndarray) -> list[str]:
    """Format distinct values of a hyperparameter: those of one type as numbers, mixed ones as distinct texts."""
    return list(map(plain, texts(values))) if values.dtype == object else list(map(number, values.tolist()))


def by_row(values: np.ndarray) -> list[str]:
    """Format each value of a column."""
    found, at = distinct(values)
    return [names(found)[i] for i in at]


def words(name: str) -> str:
    """Return the name of a hyperparameter or metric in words."""
    text = name.replace("_", " ").strip() or name
    return plain(f"training{text[5:]}" if text.startswith("train ") else text)


def optimizers(dataset: "xr.Dataset") -> list[str]:
    """Return the names of all optimizers, in the order of the sweep."""
    return list(dict.fromkeys(dataset["optimizer"].values.tolist()))


def seeds(dataset: "xr.Dataset") -> str:
    """Return the number of seeds in words."""
    n = dataset.sizes["seed"]
    return "1 seed" if n == 1 else f"{n} seeds"


def at_the_end(dataset: "xr.Dataset", metric: str) -> str:
    """Name a metric at the step of comparison: the end of a complete sweep, else the step that all have reached."""
    at = compared(dataset, metric)
    return f"final {words(metric)}" if at.complete else f"{words(metric)} at {at_point(dataset, at.step)}"


def titled(dataset: "xr.Dataset", *more: str) -> str:
    """Make a title: the task's name, `more`, the budget, and the examples of a step where they differ."""
    unequal = unequal_examples(dataset)
    parts = [plain(dataset.attrs["task"]), *map(plain, more), budget(dataset)]
    parts += [] if unequal is None else [unequal]
    return ", ".join(parts)


def axis(dataset: "xr.Dataset") -> str:
    """Name what the dataset's curves are by, with its unit."""
    return AXES[unit_of(dataset)]
