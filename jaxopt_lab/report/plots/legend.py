"""Legends: a name at the end of each line where names fit there, and below the axes what does not."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.report.plots import canvas
from jaxopt_lab.report.plots.canvas import cell, figure_of, fitted, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

WIDEST = 0.34  # of names beside the axes, relative to the width that axes and names have
FROM_THE_END = 0.12  # a line that ends further from the right end of the axes is not named there
GAP = 0.9  # between the axes and the names, in font sizes
HANDLE = 2.4  # length of a legend's handles, in font sizes
SPACING = 1.12  # between the middles of two names, relative to their heights


def place(
    ax: "Axes", lines: "Sequence[tuple[Line2D, str]]", symbols: Sequence[Any] = (), *, note: str | None = None
) -> None:
    """Name lines at their ends if all names fit there, else in a legend below the axes.

    Call it when limits, labels and title are set.

    Args:
        ax: The axes.
        lines: The lines to name, each with its name and, in further lines of text, more about it.
        symbols: Handles of other marks, with labels: they are always listed below the axes.
        note: A warning to set below everything.

    """
    named = [labelled(line, text) for line, text in lines]  # also for a legend that the user makes
    listed = [*symbols] if _direct(ax, lines) else [*named, *symbols]
    left, top = _labels(ax)
    bottom = _below(ax, listed, left, top) if listed else top
    if note is not None:
        bottom = _note(ax, note, left, bottom)
    canvas.grow(ax, bottom - top)


def _direct(ax: "Axes", lines: "Sequence[tuple[Line2D, str]]") -> bool:
    """Name lines at their ends, and return True, if all names fit there."""
    from matplotlib import rcParams

    if not lines:
        return True
    named = [(line, _wrapped(text), _end(line)) for line, text in lines]
    ends = [end for *_, end in named]
    inverse = ax.transAxes.inverted()
    for line, _, end in named:
        if end is None or not 1 - FROM_THE_END <= inverse.transform(line.get_transform().transform(end))[0] <= 1.001:
            return False
    size = rcParams["legend.fontsize"]
    widest = max(width_of(ax, text, size) for _, text, _ in named)
    width, height = cell(ax)
    texts = [_text(ax, text, line.get_color(), size) for line, text, _ in named]
    scale = 72 / figure_of(ax).dpi
    needed = sum(SPACING * text.get_window_extent().height * scale for text in texts)
    if widest > WIDEST * width or needed > 0.8 * height:
        return False
    ax.add_artist(_names_class()(ax, texts, [line for line, *_ in named], ends))
    return True


def _names_class() -> type:
    """Make the artist that holds names beside the axes, and moves them apart whenever the figure is drawn."""
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox, IdentityTransform

    class Names(Artist):
        def __init__(self, ax: "Axes", texts: list[Any], lines: "list[Line2D]", ends: list[Any]):
            super().__init__()
            self.texts, self._lines, self._ends = texts, lines, ends
            self.set_clip_on(False)
            self.set_gid("names")
            thin: dict[str, Any] = {"linewidth": 0.5, "transform": IdentityTransform(), "clip_on": False}
            self._leaders = [Line2D([], [], color=line.get_color(), alpha=0.7, **thin) for line in lines]
            for leader in self._leaders:
                leader.set_figure(figure_of(ax))

        def _arrange(self) -> None:
            """Move each name to the height of its line's end, or as near to it as other names allow."""
            ax: Any = self.axes
            inverse, box = ax.transAxes.inverted(), ax.get_window_extent()
            ends = [line.get_transform().transform(end) for line, end in zip(self._lines, self._ends, strict=True)]
            ends = np.asarray(ends)
            heights = np.asarray([text.get_window_extent().height for text in self.texts]) * SPACING
            middles = _apart(np.clip(ends[:, 1], box.y0, box.y1), heights, box.y0, box.y1)
            left = box.x1 + GAP * self.texts[0].get_fontsize() * figure_of(ax).dpi / 72
            for text, leader, end, y in zip(self.texts, self._leaders, ends, middles, strict=True):
                text.set_position(inverse.transform((left, y)))
                leader.set_data([end[0], left - 2], [np.clip(end[1], box.y0, box.y1), y])

        def get_window_extent(self, renderer: Any = None) -> Any:
            self._arrange()
            return Bbox.union([text.get_window_extent(renderer) for text in self.texts])

        def get_tightbbox(self, renderer: Any = None) -> Any:
            return self.get_window_extent(renderer)

        def draw(self, renderer: Any) -> None:
            self._arrange()
            for artist in (*self._leaders, *self.texts):
                artist.draw(renderer)

    return Names


def _apart(wanted: np.ndarray, heights: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return middles of boxes that do not overlap, near those wanted and, if they fit, between two ends.

    Boxes that would overlap become a block around the mean of what its boxes want (isotonic regression by pooling).
    """
    order = np.lexsort((-np.arange(len(wanted)), wanted))  # of equals, the first is on top
    below = np.concatenate([[0.0], np.cumsum(heights[order])[:-1]])
    blocks: list[list[float]] = []  # of each: the sum of where its boxes want the bottom of the stack, their number
    for y, height, under in zip(wanted[order], heights[order], below, strict=True):
        blocks.append([y - height / 2 - under, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    bottoms = np.concatenate([np.full(int(n), total / n) for total, n in blocks])
    bottoms = np.clip(bottoms, low, max(low, high - heights.sum()))
    middles = np.empty(len(wanted))
    middles[order] = bottoms + below + heights[order] / 2
    return middles


def _text(ax: "Axes", text: str, colour: Any, size: Any) -> Any:
    """Make the text of a name in the colour of its line, darkened so that it reads well."""
    from matplotlib.colors import to_rgb
    from matplotlib.text import Text

    red, green, blue = (0.72 * part for part in to_rgb(colour))
    made = Text(0, 0, text, color=(red, green, blue), fontsize=size, va="center", ha="left", transform=ax.transAxes)
    made.set_figure(figure_of(ax))
    made.axes = ax
    made.set_clip_on(False)
    return made


def _wrapped(text: str) -> str:
    """Break what follows a name into lines that are not much wider than the name."""
    name, *more = text.split("\n")
    return "\n".join([name, *(line for part in more for line in textwrap.wrap(part, max(18, len(name))))])


def _end(line: "Line2D") -> tuple[float, float] | None:
    """Return the last point of a line that is finite."""
    x, y = (np.asarray(values, float) for values in (line.get_xdata(), line.get_ydata()))
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not known.size:
        return None
    last = known[np.argmax(x[known])]
    return float(x[last]), float(y[last])


def labelled(line: "Line2D", text: str) -> "Line2D":
    """Give a line its label in a legend: its name and what follows, in one line of text."""
    name, *more = text.split("\n")
    line.set_label(f"{name}: {' '.join(more)}" if more else name)
    return line


def _labels(ax: "Axes") -> tuple[float, float]:
    """Return the width of what is to the left of the axes and the height of what is below them, in points."""
    scale, box = 72 / figure_of(ax).dpi, ax.get_window_extent()
    side, below = ax.yaxis.get_tightbbox(), ax.xaxis.get_tightbbox()
    left = 0.0 if side is None else max(0.0, (box.x0 - side.x0) * scale)
    return left, 0.0 if below is None else max(0.0, (box.y0 - below.y0) * scale)


def _below(ax: "Axes", handles: Sequence[Any], left: float, top: float) -> float:
    """List handles from `top` points below the axes on, in as many columns as fit, and return where they end."""
    from matplotlib import rcParams
    from matplotlib.transforms import ScaledTranslation

    figure, size = figure_of(ax), rcParams["legend.fontsize"]
    points, room = _points(size), 0.97 * cell(ax)[0]
    beside = (HANDLE + 0.6) * points  # the handle and the gap to its text
    for one in handles:
        one.set_label(fitted(ax, one.get_label(), size, room - beside))
    widths = [max(width_of(ax, line, size) for line in one.get_label().split("\n")) + beside for one in handles]
    columns = next((n for n in range(len(handles), 1, -1) if _width(widths, n, 1.4 * points) <= room), 1)
    move = ScaledTranslation(-left / 72, -(top + 0.6 * points) / 72, figure.dpi_scale_trans)
    legend = ax.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=ax.transAxes + move,
        borderaxespad=0.0,
        borderpad=0.0,
        frameon=False,
        handlelength=HANDLE,
        handletextpad=0.6,
        columnspacing=1.4,
        labelspacing=0.35,
        ncols=columns,
    )
    return top + 0.6 * points + float(legend.get_window_extent().height) * 72 / figure.dpi


def _width(widths: Sequence[float], columns: int, gap: float) -> float:
    """Return the width of a legend with so many columns, which it fills one after the other."""
    parts = np.array_split(np.asarray(widths), columns)
    return sum(float(part.max()) for part in parts) + gap * (columns - 1)


def _points(size: Any) -> float:
    """Return a font size in points."""
    from matplotlib.font_manager import FontProperties

    return float(FontProperties(size=size).get_size_in_points())


def _note(ax: "Axes", text: str, left: float, top: float) -> float:
    """Set a warning from `top` points below the axes on, and return where it ends."""
    from matplotlib import rcParams

    size = rcParams["legend.fontsize"]
    drawn = ax.annotate(
        fitted(ax, text, size, 0.95 * cell(ax)[0]),
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(-left, -top - 0.6 * _points(size)),
        textcoords="offset points",
        va="top",
        color=canvas.WARNING,
        fontsize=size,
        annotation_clip=False,
        gid="warning",
    )
    return top + 0.6 * _points(size) + float(drawn.get_window_extent().height) * 72 / figure_of(ax).dpi
