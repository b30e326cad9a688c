"""The lineage of a trial: from whose states it continued, and with which hyperparameters, under `jl.pbt` or a rule."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, score
from jaxopt_lab.store.axes import unit_of
from jaxopt_lab.tasks.names import AFTER_RUNG, CONTINUED_FROM

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Leg(NamedTuple):
    """A part of a lineage.

    Attributes:
        start, end: Where it begins and ends, in steps, or in examples where the budget is one of these.
        config: The configuration whose trial it is.
        values: The hyperparameters that the rule may change, by name, as they were.

    """

    start: int
    end: int
    config: int
    values: dict[str, float]


def legs(dataset: "xr.Dataset", config: int, seed: int) -> list[Leg]:
    """Return the legs of a trial's lineage, from the start; one leg where no rule changed anything."""
    unit = unit_of(dataset)
    total = int(dataset[unit].values[-1])
    if CONTINUED_FROM not in dataset:
        return [Leg(0, total, config, {})]
    rungs = [int(rung) for rung in dataset[f"rung_{unit}"].values]
    names = [str(name).removesuffix(AFTER_RUNG) for name in dataset.data_vars if str(name).endswith(AFTER_RUNG)]
    source = dataset[CONTINUED_FROM].sel(seed=seed)
    found, now = [], config
    for number, (start, end) in reversed(list(enumerate(itertools.pairwise([*rungs, total])))):
        before = int(source.sel(config=now).values[number])
        if before < 0:  # the trial had ended
            continue
        after = {
            name: float(dataset[f"{name}{AFTER_RUNG}"].sel(config=now, seed=seed).values[number]) for name in names
        }
        found.append(Leg(start, end, now, {name: x for name, x in after.items() if np.isfinite(x)}))
        now = before
    first = found[-1].values if found else names
    found.append(
        Leg(0, found[-1].start if found else total, now, {name: float(dataset[name].sel(config=now)) for name in first})
    )
    return found[::-1]


def lineage(results: Results, config: int | None = None, seed: int | None = None) -> "pd.DataFrame":
    """Return the schedule of hyperparameters that led to a trial, and whose trials it went through.

    Args:
        results: Of a sweep with `stop=jl.pbt(...)`, or with another rule by which trials continue from others.
        config: The configuration; by default that of the best trial, by the task's main metric.
        seed: The seed; likewise.

    Returns:
        A row for each leg between two rungs: `start`, `end` (in steps, or examples), `config`, and the hyperparameters.

    Raises:
        ValueError: No rule changed trials of this sweep, or there is no such trial.

    """
    import pandas as pd

    found = legs(results.dataset, *of_trial(results, config, seed))
    return pd.DataFrame([{"start": x.start, "end": x.end, "config": x.config, **x.values} for x in found])


def of_trial(results: Results, config: int | None = None, seed: int | None = None) -> tuple[int, int]:
    """Return the trial whose lineage is asked for: the best of those that fit.

    Raises:
        ValueError: There is no such trial, or trials of this sweep have no lineage.

    """
    dataset = results.dataset
    if CONTINUED_FROM not in dataset:
        raise ArgumentValueError("Trials of this sweep have no lineage: it had no rule such as stop=jl.pbt(...).")
    for name, number in (("config", config), ("seed", seed)):
        if number is not None and number not in (there := dataset[name].values.tolist()):
            raise ArgumentValueError(f"There is no {name} {number!r}: there are {there!s:.200}.")
    metric = default_metric(dataset)
    losses = score(dataset, metric) * (-1 if greater_is_better(dataset, metric) else 1)
    known = {"config": config, "seed": seed}
    losses = losses.sel({name: [number] for name, number in known.items() if number is not None})
    row, column = np.unravel_index(int(np.argmin(losses.values)), losses.shape)
    return int(losses["config"].values[row]), int(losses["seed"].values[column])


def takeovers(found: Sequence[Leg]) -> list[int]:
    """Return where a lineage goes from one configuration's trial to another's."""
    return [after.start for before, after in itertools.pairwise(found) if before.config != after.config]
