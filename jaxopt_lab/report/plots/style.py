"""The style of all pictures: one colour per optimizer, the same in each; figures without pyplot's global state."""

import functools
import io
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jaxopt_lab import formats
from jaxopt_lab.labels import distinct, texts
from jaxopt_lab.results.results import Best
from jaxopt_lab.results.score import compared
from jaxopt_lab.store.axes import at_point, budget, unequal_examples

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe & Ito 2008, "Color Universal Design", without yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")  # one more than colours, so 56 pairs before one repeats
LINES = ("-", "--", "-.", (0, (1, 1.2)))
WARNING = "#B22222"
SMALL = 8  # font size of legends and notes


@functools.cache
def _figure_class() -> type:
    """Make a figure class that a notebook displays; Matplotlib's own is displayed only once pyplot is set up."""
    from matplotlib.figure import Figure as Plain

    class Figure(Plain):
        def _repr_png_(self) -> bytes:
            png = io.BytesIO()
            self.savefig(png, format="png", dpi=self.dpi)
            return png.getvalue()

    return Figure


def axes(ax: "Axes | None") -> "Axes":
    """Return `ax`, or the axes of a new figure. Raises TypeError where `ax` is something else."""
    from matplotlib.axes import Axes

    if ax is None:
        ax = _figure_class()(figsize=(6.4, 4.2), dpi=150, layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be Matplotlib axes to draw into, or None for a new figure, got {ax!r}.")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def figure_of(ax: "Axes") -> "Figure":
    """Return the root figure of `ax`."""
    return cast("Figure", ax.get_figure(root=True))


def optimizers(dataset: "xr.Dataset") -> list[str]:
    """Return the names of all optimizers, in the order of the sweep."""
    return list(dict.fromkeys(dataset["optimizer"].values.tolist()))


def line_style(dataset: "xr.Dataset", optimizer: str, nth: int = 0) -> dict[str, Any]:
    """Return the colour, marker and line of an optimizer; `nth` distinguishes several lines of one optimizer."""
    i = optimizers(dataset).index(optimizer)
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[(i + nth) % len(MARKERS)],
        "linestyle": LINES[(i + nth) % len(LINES)],
        "linewidth": 1.5,
        "markersize": 3.5,
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


def over_seeds(dataset: "xr.Dataset", metric: str, spread: bool = True) -> str:
    """Describe what is drawn of a metric, for its axis label."""
    n = dataset.sizes["seed"]
    if n == 1:
        return f"{words(metric)} of 1 seed"
    return f"{words(metric)}, median {'and quartiles ' if spread else ''}of {n} seeds"


def at_the_end(dataset: "xr.Dataset", metric: str, spread: bool = True) -> str:
    """Describe the same at the step of comparison: the end of a complete sweep, else the step that all have reached."""
    at, text = compared(dataset, metric), over_seeds(dataset, metric, spread)
    return f"final {text}" if at.complete else f"{text} at {at_point(dataset, at.step)}"


def title(ax: "Axes", dataset: "xr.Dataset", *more: str) -> None:
    """Set the title: the task's name, `more`, the budget, and the examples of a step where they differ."""
    unequal = unequal_examples(dataset)
    parts = [plain(dataset.attrs["task"]), *map(plain, more), budget(dataset)]
    parts += [] if unequal is None else [unequal]
    ax.set_title(", ".join(parts), loc="left", fontsize=11)


def legend(ax: "Axes", handles: Iterable[Any]) -> None:
    """Put a legend to the right of the axes, where it covers no data."""
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
    """Note below the axes which grids should be wider: those at whose end a best configuration lies."""
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
