"""What the charts show, as plain values: configurations by their medians over seeds, and thinned curves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab import formats
from jaxopt_lab.labels import distinct, narrowed, present, texts
from jaxopt_lab.report.plots import words as written
from jaxopt_lab.report.plots.choice import Last, last
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.report.plots.scale import STRIP, Scale, scale
from jaxopt_lab.results.score import default_metric, greater_is_better, hyperparameters, median_score
from jaxopt_lab.statistics.spread import spread

if TYPE_CHECKING:
    import xarray as xr

SHAPES = {  # Matplotlib's markers as Vega's symbols
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
    "p": "M0,-1L.951,-.309L.588,.809L-.588,.809L-.951,-.309Z",
}
WHY = {  # what the strip says of trials without a value, by status
    "diverged": "diverged",
    "failed": "failed",
    "stopped": "stopped early",
    "interrupted": "interrupted",
    "running": "not compared yet",
}
SOLID = [1, 0]
WIDTH = 2.0  # of a line, in pixels; Matplotlib's dashes are in units of it
MOST_TICKS = 8
RATE = "learning_rate"


def sweep(dataset: "xr.Dataset", metric: str | None = None, means: np.ndarray | None = None) -> dict[str, Any]:
    """Return what all charts share: optimizers, hyperparameters, the metric, and configurations as columns.

    Args:
        dataset: The sweep's dataset.
        metric: The metric to show; by default the one that the sweep selects by.
        means: What to show of each configuration: its mean over seeds. By default the median, with quartiles.

    """
    metric = default_metric(dataset) if metric is None else metric
    trials = last(dataset, metric)
    low, centre, high = spread(trials.values) if means is None else (means, means, means)
    y = scale(dataset, metric, np.concatenate([low, centre, high]))
    names = written.optimizers(dataset)
    at = np.asarray([names.index(name) for name in dataset["optimizer"].values.tolist()])
    shown = {"median": centre}
    if dataset.sizes["seed"] > 1 and means is None:  # else all three are equal
        shown |= {"low": low, "high": high}
    seeds, kind = dataset.sizes["seed"], "median" if means is None else "mean"
    over = f", {kind} of {seeds} seeds" if seeds > 1 else ", 1 seed"
    ended, ends = _ends(dataset)
    return {
        "task": str(dataset.attrs["task"]),
        "seeds": seeds,
        "centre": kind,
        "metric": {
            "name": metric,
            "words": words(metric),
            "title": f"{written.at_the_end(dataset, metric)}{over}".replace("\\$", "$"),
            "greater": greater_is_better(dataset, metric),
            "beyond": reasons(dataset, trials.values, y),
            **axis(y),
            "lanes": lanes_of(y, len(names)).tolist(),
        },
        "optimizers": appearances(names),
        "parameters": [_parameter(dataset, name, column) for name, column in parameters(dataset).items()],
        "configs": {
            "number": dataset["config"].values.tolist(),
            "optimizer": at.tolist(),
            "values": [_column(column) for column in parameters(dataset).values()],
            **{name: listed(values) for name, values in shown.items()},
            "early": np.flatnonzero(trials.early).tolist(),
            "partly": np.flatnonzero(y.beyond(trials.values).any(axis=1) & ~y.beyond(centre)).tolist(),
            "ended": ended,
            "rank": _ranks(dataset, metric, trials, median_score(dataset, metric) if means is None else means),
        },
        "ends": ends,
    }


def reasons(dataset: "xr.Dataset", values: np.ndarray, y: Scale) -> list[str]:
    """Say why values (configs, seeds, ...) are beyond the range of `y`, in the strip; empty where none is."""
    beyond = y.beyond(values)
    if not beyond.any():
        return []
    status = dataset["status"].transpose("config", "seed").values
    lost = (beyond & ~np.isfinite(values)).reshape(*status.shape, -1).any(axis=-1)
    kinds = dict.fromkeys(WHY.get(kind, "no finite value") for kind in np.unique(status[lost]).tolist())
    return [*kinds, *(["off the scale"] if (beyond & np.isfinite(values)).any() else [])]


def parameters(dataset: "xr.Dataset") -> dict[str, np.ndarray]:
    """Return the hyperparameters by name, the learning rate first: see `hyperparameters`."""
    columns = hyperparameters(dataset)
    return {name: columns[name] for name in sorted(columns, key=lambda name: name != RATE)}


def axis(y: Scale) -> dict[str, Any]:
    """Return the axis of a metric: the range of values, and its end beyond the strip of diverged trials."""
    return {"log": y.log, "best": y.best, "worst": y.worst, "start": y.at(-1.04), "end": y.at(STRIP)}


def lanes_of(y: Scale, count: int) -> np.ndarray:
    """Return the height in the strip at which each of `count` optimizers has its diverged trials."""
    return np.asarray([y.lane(i, count) for i in range(count)])


def appearances(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return each optimizer's name, colour, dash and marker: those of all pictures."""
    return [
        {
            "name": name,
            "color": line["color"],
            "dash": SOLID if line["linestyle"] == "-" else [WIDTH * length for length in line["linestyle"][1]],
            "shape": SHAPES[line["marker"]],
        }
        for name, line in zip(names, looks(names), strict=True)
    ]


def words(name: str) -> str:
    """Return the name of a hyperparameter or metric in words."""
    text = name.replace("_", " ").strip() or name
    return f"training{text[5:]}" if text.startswith("train ") else text


def settings(chosen: Mapping[str, Any]) -> str:
    """Write hyperparameters as a phrase, the learning rate first: "learning rate 0.01, b1 0.9"."""
    names = sorted(chosen, key=lambda name: name != RATE)
    return ", ".join(f"{words(name)} {formats.short(chosen[name], 4)}" for name in names)


def listed(values: Iterable[Any], digits: int = 5) -> list[Any]:
    """Return numbers in `digits` significant digits as JSON writes them, with None for what is not finite."""
    plain = np.asarray(values, float).tolist()
    return [_integer(float(f"{x:.{digits}g}")) if math.isfinite(x) else None for x in plain]


def _integer(value: float) -> float | int:
    """Return a whole number without its point, which saves two characters."""
    return int(value) if value.is_integer() and abs(value) < 1e9 else value


def _parameter(dataset: "xr.Dataset", name: str, column: np.ndarray) -> dict[str, Any]:
    """Describe a hyperparameter: its scale, ends and ticks, and which optimizers' values a line may join."""
    has = present(column)
    values = narrowed(column[has])
    owners = dataset["optimizer"].values
    found = {
        "name": name,
        "words": words(name),
        "joined": [_is_joined(dataset, name, owners == owner) for owner in written.optimizers(dataset)],
        "everywhere": bool(has.all()),
        "count": len(distinct(values)[0]),
    }
    if not _is_numeric(values):
        labels = [formats.short(text, 4) for text in texts(distinct(values)[0])]
        return found | {"kind": "text", "values": labels}
    low, high = float(values.min()), float(values.max())
    log = low > 0 and high > 10 * low
    return found | {"kind": "log" if log else "linear", "low": low, "high": high, "ticks": _ticks(low, high, log)}


def _column(column: np.ndarray) -> list[Any]:
    """Return a hyperparameter's values, None where it is missing; for texts, their position among the distinct ones."""
    has = present(column)
    values = narrowed(column[has])
    found: list[Any] = [None] * len(column)
    given = _shorter(values).tolist() if _is_numeric(values) else distinct(values)[1].tolist()
    for row, value in zip(np.flatnonzero(has).tolist(), given, strict=True):
        found[row] = value
    return found


def _shorter(values: np.ndarray) -> np.ndarray:
    """Return numbers in seven significant digits, unless that would make different ones equal."""
    if values.dtype.kind != "f":
        return values
    rounded = np.asarray([float(f"{x:.7g}") for x in values.tolist()])
    return rounded if len(np.unique(rounded)) == len(np.unique(values)) else values


def _is_numeric(values: np.ndarray) -> bool:
    return values.dtype.kind in "fiu" and bool(np.isfinite(values).all())


def _is_joined(dataset: "xr.Dataset", name: str, own: np.ndarray) -> bool:
    """Return whether a line may join an optimizer's values: not where each was drawn together with others."""
    columns = {n: column[own] for n, column in hyperparameters(dataset).items()}
    if not present(columns[name]).any():
        return False
    counts = {n: len(distinct(column)[0]) for n, column in columns.items()}
    alone = all(count == 1 for n, count in counts.items() if n != name)
    return alone or bool(counts[name] < own.sum())


def _ticks(low: float, high: float, log: bool) -> list[list[Any]]:
    """Return ticks as pairs of value and label: powers of ten on a logarithmic axis, else round numbers."""
    if low == high:
        return [[low, formats.short(low)]]
    if log:
        powers = np.arange(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        powers = powers[:: -(-len(powers) // MOST_TICKS)]
        at = (10.0**powers).tolist()
    else:
        raw = (high - low) / 4
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
        at = (np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step).tolist()
    return [[value, formats.short(value)] for value in at]


def _ends(dataset: "xr.Dataset") -> tuple[list[int], list[str]]:
    """Return how each configuration's trials ended, as positions in a list of texts."""
    status = dataset["status"].transpose("config", "seed").values
    known: dict[str, int] = {}
    at = []
    for row in status:
        kinds, counts = np.unique(row, return_counts=True)
        text = ", ".join(f"{n} {kind}" for kind, n in sorted(zip(kinds.tolist(), counts.tolist(), strict=True)))
        at.append(known.setdefault(text, len(known)))
    return at, list(known)


def _ranks(dataset: "xr.Dataset", metric: str, trials: Last, scores: np.ndarray) -> list[int]:
    """Return each configuration's rank, 0 for the best; the lost come last, those that came further first."""
    sign = -1 if greater_is_better(dataset, metric) else 1
    came = np.median(dataset["steps_taken"].transpose("config", "seed").values, axis=1)
    order = np.lexsort((sign * np.median(trials.values, axis=1), -came, sign * scores))
    ranks = np.empty(len(order), int)
    ranks[order] = np.arange(len(order))
    return ranks.tolist()
