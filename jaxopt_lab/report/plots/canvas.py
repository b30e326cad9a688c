"""Figures and axes without pyplot's global state: making them, fitting their texts into them, and saving them."""

import functools
import io
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150  # of new figures where the user has not set another: Matplotlib's own 100 are coarse in a notebook
INSIDE = 0.78  # the part of a cell of a layout that its axes take, at least, in width or height
BAND = 0.15  # opacity of bands
GREY, FAINT = "0.35", "0.6"  # of texts and of lines that are not an optimizer's
WARNING = "#B22222"


@functools.cache
def _axes_class() -> type:
    """Make a class of axes that a notebook displays as their figure."""
    from matplotlib.axes import Axes as Plain

    class Axes(Plain):
        def _repr_png_(self) -> bytes:
            png = io.BytesIO()
            figure_of(self).savefig(png, format="png", dpi=figure_of(self).dpi)
            return png.getvalue()

    return Axes


def axes(ax: "Axes | None", *, height: float | None = None) -> "Axes":
    """Return `ax`, or the axes of a new figure, of the size in rcParams.

    Args:
        ax: Axes to draw into; None makes a figure.
        height: The height of a new figure in inches, where it follows from what is drawn.

    Raises:
        TypeError: `ax` is something else.

    """
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if ax is None:
        settings, defaults = matplotlib.rcParams, matplotlib.rcParamsDefault
        dpi = DPI if settings["figure.dpi"] == defaults["figure.dpi"] else settings["figure.dpi"]
        width, usual = settings["figure.figsize"]
        figure = Figure(figsize=(width, usual if height is None else height), dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.add_subplot(axes_class=_axes_class())
    if not isinstance(ax, Axes):
        raise ArgumentTypeError(f"ax must be Matplotlib axes to draw into, or None for a new figure, got {quoted(ax)}.")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def rows_height(rows: float, extra: float = 4.0) -> float:
    """Return the height in inches of a figure with `rows` rows of text, and `extra` more for its axis and title."""
    from matplotlib import rcParams

    return (1.75 * rows + 1.6 * extra) * rcParams["font.size"] / 72


def finished(ax: "Axes", path: "str | Path | None") -> "Axes":
    """Save the figure of `ax` where there is a path, and return `ax`. Raises TypeError where it is not a path."""
    if path is not None:
        if not isinstance(path, str | os.PathLike):
            raise ArgumentTypeError(f"path must be a file to save the figure to, as 'curves.pdf', got {quoted(path)}.")
        figure_of(ax).savefig(path)
    return ax


def figure_of(ax: "Axes") -> "Figure":
    """Return the root figure of `ax`."""
    return cast("Figure", ax.get_figure(root=True))


def cell(ax: "Axes") -> tuple[float, float]:
    """Return the width and height in points of the place that `ax` and its labels have in the layout."""
    figure, spec = figure_of(ax), ax.get_subplotspec()
    box = ax.get_position() if spec is None else spec.get_position(figure)
    grid = 1.0 if spec is None else INSIDE  # a grid's cells leave room for labels, which a layout gives back
    width, height = figure.get_size_inches() * 72
    return min(width, box.width * width / grid), min(height, box.height * height / grid)


def width_of(ax: "Axes", text: str, size: Any) -> float:
    """Return the width of text in points."""
    drawn = ax.text(0, 0, text, fontsize=size, transform=ax.transAxes)  # 0 is nowhere on a logarithmic axis
    width = drawn.get_window_extent().width * 72 / figure_of(ax).dpi
    drawn.remove()
    return float(width)


def fitted(ax: "Axes", text: str, size: Any, points: float) -> str:
    """Break text into lines of at most `points` points, at commas where that is enough."""
    width = width_of(ax, text, size)
    if width <= points:
        return text
    parts = text.split(", ")
    if len(parts) == 2 and max(width_of(ax, part, size) for part in parts) <= points:
        return ",\n".join(parts)
    characters = max(8, int(len(text) * points / width))
    return "\n".join(textwrap.wrap(text, characters, break_long_words=False, break_on_hyphens=False))


def grow(ax: "Axes", points: float) -> None:
    """Make a figure of this package's own higher, so that what is below its axes does not make them lower."""
    if isinstance(ax, _axes_class()):
        width, height = figure_of(ax).get_size_inches()
        figure_of(ax).set_size_inches(width, height + points / 72)


def widened(low: float, high: float, part: float = 0.015) -> tuple[float, float]:
    """Return the ends of an axis with some room for markers at its ends."""
    room = part * (high - low) or 1.0
    return low - room, high + room


def title(ax: "Axes", text: str) -> None:
    """Set the title, at the left, in as many lines as it takes."""
    from matplotlib import rcParams

    ax.set_title(fitted(ax, text, rcParams["axes.titlesize"], INSIDE * cell(ax)[0]), loc="left")


def xlabel(ax: "Axes", text: str) -> None:
    """Set the label of the x axis, in as many lines as it takes."""
    from matplotlib import rcParams

    ax.set_xlabel(fitted(ax, text, rcParams["axes.labelsize"], INSIDE * cell(ax)[0]))


def ylabel(ax: "Axes", text: str) -> None:
    """Set the label of the y axis, in as many lines as it takes."""
    from matplotlib import rcParams

    ax.set_ylabel(fitted(ax, text, rcParams["axes.labelsize"], INSIDE * cell(ax)[1]))


def grid(ax: "Axes", which: str = "y") -> None:
    """Draw faint lines at the major ticks of an axis, behind everything else."""
    from matplotlib import rcParams

    ax.grid(True, axis=which, color="0.92", linewidth=rcParams["axes.linewidth"])  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Label a logarithmic axis of less than two decades by plain numbers: 0.5, 1, 2, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if high < 100 * low and low >= 1e-4 and high <= 1e5:
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 10 * low else (1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
