"""Styles: Matplotlib's settings for a paper, a notebook or a talk, which all pictures follow."""

from collections.abc import Mapping
from typing import Any

from jaxopt_lab.checking import check_known, check_number

ASPECT = 0.72  # height of a figure, relative to its width

STYLES: dict[str, dict[str, Any]] = {
    "paper": {  # a column of a two-column paper: 3.25 in, in the size of its captions
        "figure.figsize": (3.25, 3.25 * ASPECT),
        "figure.dpi": 200,
        "savefig.dpi": 300,
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "lines.linewidth": 1.2,
        "lines.markersize": 5,
        "axes.linewidth": 0.6,
        "hatch.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "pdf.fonttype": 42,  # text stays text: Type 3 fonts are refused by many venues
        "ps.fonttype": 42,
    },
    "notebook": {
        "figure.figsize": (6.4, 4.4),
        "figure.dpi": 150,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
    },
    "talk": {
        "figure.figsize": (10.0, 6.0),
        "figure.dpi": 150,
        "font.size": 18,
        "axes.titlesize": 18,
        "axes.labelsize": 18,
        "xtick.labelsize": 15,
        "ytick.labelsize": 15,
        "legend.fontsize": 15,
        "lines.linewidth": 2.8,
        "lines.markersize": 10,
        "axes.linewidth": 1.2,
    },
}


class Style:
    """Settings of Matplotlib that `style` has changed; as a context manager, it restores them at the end."""

    def __init__(self, settings: Mapping[str, Any]):
        self._before = {name: _parameters()[name] for name in settings}
        _parameters().update(settings)

    def __enter__(self) -> "Style":
        return self

    def __exit__(self, *_: object) -> None:
        _parameters().update(self._before)


def _parameters() -> Any:
    from matplotlib import rcParams

    return rcParams


def style(name: str = "paper", *, width: float | None = None) -> Style:
    """Set the size of figures and text for where they will be shown, from now on or in a `with` block.

        with jl.style("paper"):
            results.plot.curves(path="curves.pdf")

    Pictures follow Matplotlib's rcParams, which this changes: any other setting or style sheet works as well.

    Args:
        name: "paper", a column of 3.25 inches with text of 7 to 8 points; "notebook"; or "talk", for a slide.
        width: Another width of figures, in inches: 6.75 for both columns of a paper, for example.

    Raises:
        TypeError: The width is not a number.
        ValueError: The name is unknown, or the width is less than an inch.

    """
    check_known("style", name, STYLES)
    settings = dict(STYLES[name])
    if width is not None:
        inches, before = check_number("width", width, least=1.0), settings["figure.figsize"]
        settings["figure.figsize"] = (inches, before[1] * (inches / before[0]) ** 0.5)  # a wider one is flatter
    return Style(settings)
