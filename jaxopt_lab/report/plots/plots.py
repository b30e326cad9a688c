"""`results.plot`: one method per picture."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jaxopt_lab.report.plots.curves import curves
from jaxopt_lab.report.plots.fit import fit
from jaxopt_lab.report.plots.heatmap import heatmap
from jaxopt_lab.report.plots.sensitivity import sensitivity
from jaxopt_lab.results.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Plots:
    """The pictures of results. Each method returns a Matplotlib figure, which a notebook displays.

    Every method takes `ax`, axes to draw into instead of a new figure's; it then returns the figure of those axes.
    Pyplot is not used, so figures need not be closed and may be drawn in any thread.
    """

    results: Results

    def sensitivity(
        self, metric: str | None = None, hyperparameter: str = "learning_rate", *, ax: "Axes | None" = None
    ) -> "Figure":
        """Draw the final metric against one hyperparameter: see `jaxopt_lab.report.plots.sensitivity`."""
        return sensitivity(self.results, metric, hyperparameter, ax)

    def curves(
        self, metric: str = "train_loss", configs: Iterable[int] | None = None, *, ax: "Axes | None" = None
    ) -> "Figure":
        """Draw a loss, a metric or another curve against the step: see `jaxopt_lab.report.plots.curves`."""
        return curves(self.results, metric, configs, ax)

    def heatmap(
        self, x: str, y: str, metric: str | None = None, optimizer: str | None = None, *, ax: "Axes | None" = None
    ) -> "Figure":
        """Draw the final metric against two hyperparameters: see `jaxopt_lab.report.plots.heatmap`."""
        return heatmap(self.results, x, y, metric, optimizer, ax)

    def fit(self, params: Any = None, split: str = "train", *, ax: "Axes | None" = None) -> "Figure":
        """Draw a regression's predictions with its data: see `jaxopt_lab.report.plots.fit`."""
        return fit(self.results, params, split, ax)
