"""The best configuration, and a description of how it was selected, or of why there is none."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known, printable
from jaxopt_lab.formats import number, short
from jaxopt_lab.labels import present
from jaxopt_lab.results.score import (
    BEST,
    LAST,
    UNFINISHED,
    best_of,
    best_steps,
    compared,
    default_metric,
    hyperparameters,
    on_edge,
    score,
)
from jaxopt_lab.store.axes import at_point, budget

if TYPE_CHECKING:
    import xarray as xr

SAID = {"completed": "completed without a finite value", "stopped": "stopped early by the rule"}  # by status
LISTED = 10  # values that are shown of as many seeds
DIGITS = 6  # of hyperparameters
REMEDIES = {  # by the most frequent cause
    "diverged": "Try smaller learning rates, or clip gradients; first_bad_step says when each trial diverged.",
    "unfinished": "Let it run longer: the same call resumes the run where it was given a run folder, out=.",
    "failed": "See the notes of the sweep, dataset.attrs['notes'], for what failed.",
    "other": "Select by another metric, for example best('train_loss').",
}


@dataclasses.dataclass(frozen=True)
class Best:
    """The best configuration, by the median of a metric over seeds.

    Attributes:
        config: Its number.
        optimizer: Its optimizer's name.
        hyperparameters: Its values of the hyperparameters that were varied.
        metric: The metric that it was selected by.
        value: The median of the metric's values over seeds.
        values: The metric's value for each seed, in the order of the dataset's `seed`.
        step: The step at which configurations were compared: the last one; for a sweep that is running or was
            interrupted, the last one that all compared trials reached. With a budget of examples, their number.
        steps: The step of each value: `step`, or where the best step of each trial was selected, that one (-1 where a
            trial has no value). Such values are better than those on other data: report a metric on test data there.
        on_edge: The hyperparameters at an end of the range that was tried: the true best may lie beyond it.

    """

    config: int
    optimizer: str
    hyperparameters: Mapping[str, Any]
    metric: str
    value: float
    values: tuple[float, ...]
    step: int
    steps: tuple[int, ...]
    on_edge: tuple[str, ...]

    def __str__(self) -> str:
        (_, optimizer), *given, measured, values, reached = self._rows()
        lines = [f"{optimizer}: {', '.join('='.join(row) for row in given)}" if given else optimizer]
        over = f", the median over {len(self.values)} seeds: {values[1]}" if len(self.values) > 1 else ""
        lines.append(f"{'='.join(measured)}{over} ({'='.join(reached)})")
        if self.on_edge:
            lines.append(f"At an end of the range that was tried: {', '.join(self.on_edge)}.")
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        from html import escape

        rows = self._rows()
        edge = " (at an end of the range that was tried)"
        cells = [
            (name, text + (edge if 0 < i <= len(self.hyperparameters) and name in self.on_edge else ""))
            for i, (name, text) in enumerate(rows)
        ]
        made = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in cells)
        return f"<table>{made}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        """Return names and texts: the optimizer, the hyperparameters, the metric, its values, and the step or steps."""
        shown, steps = self.values[:LISTED], self.steps[:LISTED]
        more = ", ..." if len(self.values) > LISTED else ""
        reached = ", ".join(f"{step:,}" if step >= 0 else "-" for step in steps) + more
        return [
            ("optimizer", f"{self.optimizer} (configuration {self.config})"),
            *((name, short(value, DIGITS)) for name, value in self.hyperparameters.items()),
            (self.metric, number(self.value)),
            ("values", ", ".join(map(number, shown)) + more),
            ("step", f"{self.step:,}") if set(self.steps) == {self.step} else ("steps", reached),
        ]


def best(dataset: "xr.Dataset", metric: str | None = None, optimizer: str | None = None, at: str = LAST) -> Best:
    """Find the best configuration. Its value is infinite where none has a finite median: `why_none` says why.

    Args:
        dataset: The sweep's dataset.
        metric: The metric to select by; None for the main metric.
        optimizer: Restricts the choice to this optimizer's configurations.
        at: "last" or "best": see `score`.

    Raises:
        ValueError: The metric or the optimizer is unknown, or the metric has no direction.

    """
    metric = default_metric(dataset) if metric is None else metric
    check_known("at", at, (LAST, BEST))
    return best_at(dataset, metric, best_of(dataset, metric, rows_of(dataset, optimizer), at), at)


def best_at(dataset: "xr.Dataset", metric: str, row: int, at: str = LAST) -> Best:
    """Describe the configuration at a position along `config` as the best one is."""
    values, step = score(dataset, metric, at).values[row], compared(dataset, metric).step
    steps = [step] * len(values) if at == LAST else best_steps(dataset, metric)[row].tolist()
    has = {name: column[row] for name, column in hyperparameters(dataset).items() if present(column[row : row + 1])[0]}
    return Best(
        config=int(dataset["config"].values[row]),
        optimizer=str(dataset["optimizer"].values[row]),
        hyperparameters={n: v.item() if isinstance(v, np.generic) else v for n, v in has.items()},
        metric=metric,
        value=float(np.median(values)),
        values=tuple(values.tolist()),
        step=step,
        steps=tuple(steps),
        on_edge=tuple(on_edge(dataset, row)),
    )


def rows_of(dataset: "xr.Dataset", optimizer: str | None) -> np.ndarray:
    """Return the positions of an optimizer's configurations, or of all. Raises ValueError where the name is unknown."""
    names = dataset["optimizer"].values
    if optimizer is None:
        return np.arange(len(names))
    check_known("optimizer", optimizer, dict.fromkeys(names.tolist()))
    return np.flatnonzero(names == optimizer)


def where_compared(dataset: "xr.Dataset", metric: str) -> str | None:
    """Describe the step of an incomplete comparison and what it leaves out; None where all trials have ended."""
    at = compared(dataset, metric)
    if at.complete:
        return None
    count, left_out = int(at.configs.sum()), int((~at.configs).sum())
    if count == 0:
        return "No configuration can be compared yet: none has made progress with all of its seeds."
    text = f"Compared at {at_point(dataset, at.step)} of {budget(dataset)}, the last that all of "
    text += f"{count} configuration{'s' if count > 1 else ''} reached"
    more = f"; {left_out} whose seeds have not all begun {'are' if left_out > 1 else 'is'} left out" if left_out else ""
    return f"{text}{more}."


def why_none(dataset: "xr.Dataset", metric: str, rows: np.ndarray) -> str:
    """Explain why none of the configurations `rows` is best: how they ended, how far they came, what to do."""
    status = dataset["status"].transpose("config", "seed").values[rows]
    kinds, counts = np.unique(status, return_counts=True)
    ended = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    listed = ", ".join(f"{n} {SAID.get(kind, kind)}" for kind, n in sorted(ended.items(), key=lambda x: -x[1]))
    furthest = int(dataset["steps_taken"].transpose("config", "seed").values[rows].max())
    unfinished = sum(ended.get(kind, 0) for kind in UNFINISHED)
    share = {"diverged": ended.get("diverged", 0), "unfinished": unfinished, "failed": ended.get("failed", 0)}
    cause = max(share, key=lambda kind: share[kind])
    return (
        f"No configuration has a finite median of {metric} over its seeds, so none is best: of {status.size} trials "
        f"{listed}; the furthest made {furthest:,} of {int(dataset.attrs['steps']):,} steps. "
        f"{REMEDIES[cause if share[cause] else 'other']}"
    )
