"""`results.plot`: one method per picture."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxopt_lab.report.plots import words
from jaxopt_lab.report.plots.batches import batch_sizes
from jaxopt_lab.report.plots.canvas import finished
from jaxopt_lab.report.plots.curves import Level, curves, diagnostic
from jaxopt_lab.report.plots.fit import fit
from jaxopt_lab.report.plots.heatmap import heatmap
from jaxopt_lab.report.plots.lineage import lineage
from jaxopt_lab.report.plots.profiles import reached
from jaxopt_lab.report.plots.rungs import rungs
from jaxopt_lab.report.plots.sensitivity import sensitivity
from jaxopt_lab.report.plots.tuning import tuning
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric
from jaxopt_lab.results.tuning import tuning_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Target = str | Path | None
"""A file to save a figure to, or None."""


@dataclasses.dataclass(frozen=True)
class Plots:
    """The pictures of results. Each method returns Matplotlib axes, which a notebook displays.

    Every method takes `ax`, axes to draw into instead of a new figure's, and `path`, a file to save the figure to, in
    the format of its suffix. Sizes follow Matplotlib's rcParams: see `jl.style`. Each optimizer has its colour, dash
    and marker, the same in all pictures. Pyplot is not used, so figures need not be closed and may be drawn in any
    thread.
    """

    results: Results

    def sensitivity(
        self,
        metric: str | None = None,
        hyperparameter: str = "learning_rate",
        *,
        ax: "Axes | None" = None,
        path: Target = None,
    ) -> "Axes":
        """Draw the final metric against one hyperparameter: see `jaxopt_lab.report.plots.sensitivity`."""
        return finished(sensitivity(self.results, metric, hyperparameter, ax), path)

    def curves(
        self,
        metric: str = "train_loss",
        configs: Iterable[int] | None = None,
        *,
        ax: "Axes | None" = None,
        path: Target = None,
    ) -> "Axes":
        """Draw a loss, a metric or another curve against the step: see `jaxopt_lab.report.plots.curves`."""
        return finished(curves(self.results, metric, configs, ax), path)

    def diagnostic(
        self,
        name: str,
        line: Level | None = None,
        label: str = "limit",
        configs: Iterable[int] | None = None,
        *,
        ax: "Axes | None" = None,
        path: Target = None,
    ) -> "Axes":
        """Draw a recorded diagnostic against the step, with a limit: see `jaxopt_lab.report.plots.curves`."""
        return finished(diagnostic(self.results, name, line, label, configs, ax), path)

    def heatmap(
        self,
        x: str,
        y: str,
        metric: str | None = None,
        optimizer: str | None = None,
        *,
        ax: "Axes | None" = None,
        path: Target = None,
    ) -> "Axes":
        """Draw the final metric against two hyperparameters: see `jaxopt_lab.report.plots.heatmap`."""
        return finished(heatmap(self.results, x, y, metric, optimizer, ax), path)

    def fit(self, params: Any = None, split: str = "train", *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw a regression's predictions with its data: see `jaxopt_lab.report.plots.fit`."""
        return finished(fit(self.results, params, split, ax), path)

    def tuning(
        self,
        metric: str | None = None,
        *,
        confidence: float = 0.95,
        ax: "Axes | None" = None,
        path: Target = None,
    ) -> "Axes":
        """Draw the score of the best of k random configurations against k: see `jaxopt_lab.report.plots.tuning`."""
        dataset = self.results.dataset
        metric = default_metric(dataset) if metric is None else metric
        found = tuning_curves(dataset, metric, confidence=confidence)
        label = words.at_the_end(dataset, metric)
        return tuning(found, label=label, title=words.titled(dataset), ax=ax, path=path)

    def reached(
        self, target: float, metric: str | None = None, *, ax: "Axes | None" = None, path: Target = None
    ) -> "Axes":
        """Draw the share of seeds that have reached a target by each step: see `jaxopt_lab.report.plots.profiles`."""
        return finished(reached(self.results, target, metric, ax), path)

    def batch_sizes(
        self, target: float, metric: str | None = None, *, ax: "Axes | None" = None, path: Target = None
    ) -> "Axes":
        """Draw the steps to a target against the batch size: see `jaxopt_lab.report.plots.batches`."""
        return finished(batch_sizes(self.results, target, metric, ax), path)

    def rungs(self, metric: str | None = None, *, ax: "Axes | None" = None, path: Target = None) -> "Axes":
        """Draw how many configurations a stop rule left at each rung: see `jaxopt_lab.report.plots.rungs`."""
        return finished(rungs(self.results, metric, ax), path)

    def lineage(
        self,
        hyperparameter: str | None = None,
        config: int | None = None,
        seed: int | None = None,
        *,
        ax: "Axes | None" = None,
        path: Target = None,
    ) -> "Axes":
        """Draw the schedule that a population found: see `jaxopt_lab.report.plots.lineage`."""
        return finished(lineage(self.results, hyperparameter, config, seed, ax), path)
