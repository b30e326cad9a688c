"""Tuning curves of a sweep of random configurations: what the best of k of them scores, for each optimizer."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.errors import ArgumentValueError, Code
from jaxopt_lab.results.score import LAST, UNFINISHED, default_metric, greater_is_better, median_score
from jaxopt_lab.statistics.tuning import TuningCurve, tuning_curve

if TYPE_CHECKING:
    import xarray as xr

RANDOM = "random"  # the kind of a table of independent draws
DRAW = Code("jl.random({...}, n=64, key=0)", "sample = { random = 64, key = 0 }")
NOT_DRAWN = {  # why the configurations of other tables are not independent draws
    "product": "are all combinations of listed values",
    "zipped": "were listed one by one",
    "sobol": "are points of a Sobol sequence, each placed where the others leave a gap",
    "merged": "come from several merged sweeps",
    "search": "were suggested by a search, round by round, with the results of earlier rounds in view",
}


def tuning_curves(
    dataset: "xr.Dataset",
    metric: str | None = None,
    optimizer: str | None = None,
    *,
    budgets: int | Iterable[int] | None = None,
    confidence: float = 0.95,
    at: str = LAST,
) -> dict[str, TuningCurve]:
    """Return each optimizer's tuning curve: how well the best of k random configurations of its space scores.

    A configuration's score is the median of `metric` over seeds, as for the leaderboard; one that diverged scores
    worst. The curve is of the optimizer together with its space: another range of learning rates has another curve. It
    holds for the sweep's seeds, which all configurations share. Each optimizer's band holds by itself.

    Args:
        dataset: The sweep's dataset.
        metric: The metric to score by; by default the task's main metric.
        optimizer: Restricts the answer to this optimizer.
        budgets: The numbers of configurations k, at most as many as there are: see `statistics.tuning.tuning_curve`.
        confidence: The chance that a band holds at all budgets.
        at: "last", or "best" for each trial's best evaluated step: see `results.score`.

    Returns:
        The curves by the optimizer's name, in the order of the sweep.

    Raises:
        TypeError, ValueError: The metric or optimizer is unknown; configurations are not independent random draws;
            there are fewer than two of an optimizer; a stop rule ended trials by comparing them; or the sweep has not
            ended.

    """
    metric = default_metric(dataset) if metric is None else metric
    greater = greater_is_better(dataset, metric)
    check_known("at", at, ("last", "best"))
    owners = dataset["optimizer"].values
    names = list(dict.fromkeys(owners.tolist()))
    if optimizer is not None:
        check_known("optimizer", optimizer, names)
        names = [optimizer]
    _check_independent(dataset, names)
    scores = median_score(dataset, metric, at)
    return {
        name: tuning_curve(scores[owners == name], budgets, confidence=confidence, greater_is_better=greater)
        for name in names
    }


def _check_independent(dataset: "xr.Dataset", names: list[str]) -> None:
    """Raise where the scores of an optimizer's configurations are not independent draws of the final score."""
    if (rule := dataset.attrs.get("stop")) is not None:
        raise ArgumentValueError(
            f"The stop rule {rule} ended trials by comparing them with each other, so their scores are not independent "
            "draws of the score after a whole trial, which a tuning curve is made of.",
            advice="Sweep without stop=.",
        )
    if np.isin(dataset["status"].values, UNFINISHED).any():
        raise ArgumentValueError(
            "A tuning curve needs all configurations that were drawn, and this sweep has not ended: those without a "
            "score may be better or worse than the others.",
            advice="Let it run to its end: the same call resumes a run with a run folder, out=.",
        )
    kinds = {name: space["kind"] for name, space in json.loads(dataset.attrs["space"]).items()}
    for name in names:
        if kinds[name] != RANDOM:
            raise ArgumentValueError(
                f"A tuning curve says what the best of k configurations drawn at random scores. Those of {name!r} "
                f"{NOT_DRAWN.get(kinds[name], f'are of kind {kinds[name]}')}, so they are not independent draws.",
                advice=("Draw the space by ", DRAW, "."),
            )
        if (count := int(np.count_nonzero(dataset["optimizer"].values == name))) < 2:
            raise ArgumentValueError(
                f"A tuning curve needs two or more configurations, and {name!r} has {count}.",
                advice=("Draw more by ", DRAW, "."),
            )
