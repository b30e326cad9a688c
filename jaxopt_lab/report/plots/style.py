"""The look of all pictures: one colour an optimizer, the same in each; figures that no global state knows of."""

import functools
import io
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jaxopt_lab.labels import distinct, texts
from jaxopt_lab.results.results import Best
from jaxopt_lab.results.score import compared

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe & Ito 2008, "Color Universal Design", without the yellow that white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")  # one more than colours: 56 pairs before one comes again
LINES = ("-", "--", "-.", (0, (1, 1.2)))
WARNING = "#B22222"
SMALL = 8  # points, of legends and notes


@functools.cache
def _figure_class() -> type:
    """A figure that shows itself in a notebook; Matplotlib's own does so only once pyplot is set up there."""
    from matplotlib.figure import Figure as Plain

    class Figure(Plain):
        def _repr_png_(self) -> bytes:
            png = io.BytesIO()
            self.savefig(png, format="png", dpi=self.dpi)
            return png.getvalue()

    return Figure


def axes(ax: "Axes | None") -> "Axes":
    """`ax`, or the axes of a new figure. Raises TypeError where `ax` is something else."""
    from matplotlib.axes import Axes

    if ax is None:
        ax = _figure_class()(figsize=(6.4, 4.2), dpi=150, layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be Matplotlib axes to draw into, or None for a new figure, got {ax!r}.")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def figure_of(ax: "Axes") -> "Figure":
    """The whole figure that `ax` is in."""
    return cast("Figure", ax.get_figure(root=True))


def optimizers(dataset: "xr.Dataset") -> list[str]:
    """The names of all optimizers, in the order of the sweep."""
    return list(dict.fromkeys(dataset["optimizer"].values.tolist()))


def line_style(dataset: "xr.Dataset", optimizer: str, nth: int = 0) -> dict[str, Any]:
    """Colour, marker and line of an optimizer; `nth` tells several lines of one optimizer apart."""
    i = optimizers(dataset).index(optimizer)
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[(i + nth) % len(MARKERS)],
        "linestyle": LINES[(i + nth) % len(LINES)],
        "linewidth": 1.5,
        "markersize": 3.5,
    }


def plain(text: Any) -> str:
    """Text that Matplotlib shows as it is: dollars start no formula, and a leading _ hides nothing from a legend."""
    text = str(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def number(value: Any) -> str:
    """A number in at most four figures; anything else as it is."""
    is_number = isinstance(value, float | int | np.number) and not isinstance(value, bool)
    return f"{value:.4g}" if is_number else plain(value)


def names(values: np.ndarray) -> list[str]:
    """Different values of a hyperparameter in words: of one type as numbers, of several each told from the others."""
    return list(map(plain, texts(values))) if values.dtype == object else list(map(number, values.tolist()))


def by_row(values: np.ndarray) -> list[str]:
    """The name of each value of a column."""
    found, at = distinct(values)
    return [names(found)[i] for i in at]


def words(name: str) -> str:
    """The name of a hyperparameter or metric as one says it."""
    text = name.replace("_", " ").strip() or name
    return plain(f"training{text[5:]}" if text.startswith("train ") else text)


def over_seeds(dataset: "xr.Dataset", metric: str, spread: bool = True) -> str:
    """What is drawn of a metric, for the label of its axis."""
    n = dataset.sizes["seed"]
    if n == 1:
        return f"{words(metric)} of 1 seed"
    return f"{words(metric)}, median {'and quartiles ' if spread else ''}of {n} seeds"


def at_the_end(dataset: "xr.Dataset", metric: str, spread: bool = True) -> str:
    """The same where trials are compared: at the end of a complete sweep, else at the step that all have reached."""
    at, text = compared(dataset, metric), over_seeds(dataset, metric, spread)
    return f"final {text}" if at.complete else f"{text} at step {at.step}"


def title(ax: "Axes", dataset: "xr.Dataset", *more: str) -> None:
    """The task's name and the steps, and what else there is to say."""
    steps = dataset.attrs["steps"]
    parts = [plain(dataset.attrs["task"]), *map(plain, more), f"{steps:,} step{'' if steps == 1 else 's'}"]
    ax.set_title(", ".join(parts), loc="left", fontsize=11)


def legend(ax: "Axes", handles: Iterable[Any]) -> None:
    """A legend to the right of the axes, where it covers no data."""
    ax.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize=SMALL,
        handlelength=2.6,
    )


def warn_of_edges(ax: "Axes", bests: "Iterable[Best]") -> None:
    """Say below the axes which grids should be wider: those at whose end a best configuration lies."""
    by_name: dict[str, list[str]] = {}
    for best in bests:
        if np.isfinite(best.value):
            for name in best.on_edge:
                by_name.setdefault(name, []).append(best.optimizer)
    if not by_name:
        return
    where = "; ".join(f"{name} of {', '.join(owners)}" for name, owners in by_name.items())
    text = textwrap.fill(f"Best at the edge of the grid: widen it ({where}).", 88)
    ax.annotate(
        plain(text),
        xy=(0, 0),
        xycoords=("axes fraction", ax.xaxis.label),  # type: ignore[arg-type]
        xytext=(0, -4),
        textcoords="offset points",
        va="top",
        color=WARNING,
        fontsize=SMALL,
        annotation_clip=False,
    )
