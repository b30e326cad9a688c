"""`verdict.plot`: one method per picture of a comparison."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.compare.study import Study
from jaxopt_lab.compare.verdict import Verdict
from jaxopt_lab.report.plots import tables, words
from jaxopt_lab.report.plots.profiles import performance
from jaxopt_lab.report.plots.tuning import tuning
from jaxopt_lab.results.tuning import tuning_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Target = str | Path | None
"""A file to save a figure to, or None."""


@dataclasses.dataclass(frozen=True)
class VerdictPlots:
    """The pictures of a comparison: as those of results, they take `ax` and `path`, and return Matplotlib axes."""

    verdict: Verdict

    def effects(self, task: str | None = None, *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw the mean difference of each pair with its interval, in a forest plot.

        Args:
            task: The task to draw; optional where all of them have the same metric.
            ax: Axes to draw into; None makes a figure.
            path: A file to save the figure to.

        Raises:
            ValueError: The task is unknown; or none was named, and metrics differ, so that effects share no axis.

        """
        table: Any = self.verdict.table()
        if task is not None:
            self._study(task)
            table = table[table["task"] == task]
        metrics = table["metric"].unique().tolist()
        if len(metrics) > 1:
            raise ValueError(f"The tasks have several metrics, {', '.join(metrics)}: name a task.")
        greater = self.verdict.studies[table["task"].iloc[0]].greater_is_better
        label = f"{words.words(metrics[0])}, a - b"
        return tables.effects(table, label=label, lower_is_better=not greater, ax=ax, path=path)

    def ranks(self, *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw the mean rank of each optimizer over tasks, with its interval: see `Verdict.ranks`."""
        return tables.ranks(self.verdict.ranks(), ax=ax, path=path)

    def chances(self, task: str | None = None, *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw the chance of each optimizer to beat each other one when both are tuned anew: see `Verdict.table`.

        Args:
            task: The task to draw; optional where there is only one.
            ax: Axes to draw into; None makes a figure.
            path: A file to save the figure to.

        Raises:
            ValueError: The task is unknown, or none was named and there are several.

        """
        import pandas as pd

        study = self._study(task)
        names = list(self.verdict.optimizers)
        square = pd.DataFrame(np.nan, index=names, columns=names)
        rows: Any = self.verdict.table()
        for row in rows[rows["task"] == study.task].to_dict("records"):
            square.loc[row["a"], row["b"]] = row["chance"]
            square.loc[row["b"], row["a"]] = 1 - row["chance"]
        return tables.chances(square, title=study.task, ax=ax, path=path)

    def performance(self, *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw performance profiles over tasks: see `Verdict.steps_to_target`."""
        costs = self.verdict.steps_to_target().clip(lower=1)
        return performance(costs, ax=ax, path=path)

    def tuning(self, task: str | None = None, *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw each optimizer's tuning curve with its exact band: arguments and errors are those of `chances`."""
        study = self._study(task)
        curves = tuning_curves(study.tuning.dataset, study.metric)
        return tuning(curves, label=words.words(study.metric), title=study.task, ax=ax, path=path)

    def _study(self, task: str | None) -> Study:
        studies = self.verdict.studies
        if task is None:
            if len(studies) > 1:
                raise ValueError(f"There are several tasks: name one of {', '.join(studies)}.")
            return next(iter(studies.values()))
        check_known("task", task, studies)
        return studies[task]
