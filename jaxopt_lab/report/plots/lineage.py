"""Lineages: the schedule of a hyperparameter that a population found."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.results.lineage import legs, of_trial
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.axes import unit_of
from jaxopt_lab.tasks.names import AFTER_RUNG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OTHERS = 200  # trials that are drawn at most, beside the one that is asked for
LOG_FROM = 10.0  # ratio of most to least from which on the axis is logarithmic


def lineage(
    results: Results, hyperparameter: str | None, config: int | None, seed: int | None, ax: "Axes | None"
) -> "Axes":
    """Draw a hyperparameter along the lineage that led to a trial, before all trials of the same seed.

    Args:
        results: Of a sweep with `stop=jl.pbt(...)`.
        hyperparameter: One that the rule changes; by default the first.
        config: The trial's configuration; by default that of the best trial.
        seed: Its seed; likewise.
        ax: Axes to draw into; None makes a figure.

    Raises:
        ValueError: Trials of this sweep have no lineage, or there is no such hyperparameter or trial.

    """
    from matplotlib.lines import Line2D

    dataset = results.dataset
    config, seed = of_trial(results, config, seed)
    known = [str(name).removesuffix(AFTER_RUNG) for name in dataset.data_vars if str(name).endswith(AFTER_RUNG)]
    name = known[0] if hyperparameter is None and known else str(hyperparameter)
    check_known("hyperparameter", name, known)
    ax = canvas.axes(ax)
    unit = unit_of(dataset)
    edges = np.array([0, *dataset[f"rung_{unit}"].values, dataset[unit].values[-1]])
    optimizer = str(dataset["optimizer"].sel(config=config).values)
    rows = np.flatnonzero(dataset["optimizer"].values == optimizer)
    after = dataset[f"{name}{AFTER_RUNG}"].transpose("config", "seed", ...).sel(seed=seed).values
    whole = np.concatenate([dataset[name].values.astype(float)[:, None], after], axis=1)[rows]
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), OTHERS)).astype(int))]
    faint: dict[str, Any] = {"color": canvas.GREY, "alpha": 0.35, "linewidth": 0.6, "gid": "member"}
    for row in np.searchsorted(rows, shown):
        ax.stairs(whole[row], edges, baseline=None, **faint)
    found = legs(dataset, config, seed)
    (look,) = looks([optimizer])
    bold: dict[str, Any] = {"color": look["color"], "linewidth": 2 * look["linewidth"], "gid": "lineage"}
    starts, heights = [leg.start for leg in found], [leg.values[name] for leg in found]
    (line,) = ax.step([*starts, found[-1].end], [*heights, heights[-1]], where="post", **bold)
    values = whole[np.isfinite(whole)]
    if values.min() > 0 and values.max() / values.min() > LOG_FROM:
        ax.set_yscale("log")
        canvas.log_ticks(ax.yaxis, *ax.get_ylim())
    canvas.grid(ax)
    canvas.title(ax, words.plain(dataset.attrs["task"]))
    canvas.xlabel(ax, words.axis(dataset))
    canvas.ylabel(ax, words.words(name))
    others = Line2D([], [], color=canvas.GREY, linewidth=0.8, label=f"trials of {words.plain(optimizer)}, seed {seed}")
    legend.place(ax, [(line, f"lineage of configuration {config}")], [others])
    return ax
