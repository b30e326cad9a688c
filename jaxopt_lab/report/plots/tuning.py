"""Tuning curves: the score of the best of k random configurations, with its confidence band."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.curves import band
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.report.plots.scale import LOG_FROM
from jaxopt_lab.statistics.tuning import TuningCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tuning(
    curves: Mapping[str, TuningCurve],
    *,
    label: str = "score",
    title: str = "",
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw the median score of the best of k random configurations against k, and its band.

    The band holds the true curve at all k at once. Where its better side is open, there were too few draws to say how
    good the best of k may be: the band then goes to the end of the axis.

    Args:
        curves: The tuning curve of each optimizer: see `jaxopt_lab.results.tuning.tuning_curves`.
        label: What the score is.
        title: The title.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError: `curves` is not a mapping of tuning curves.
        ValueError: It is empty.

    """
    if not isinstance(curves, Mapping) or not all(isinstance(curve, TuningCurve) for curve in curves.values()):
        raise ArgumentTypeError(f"curves must be a dict of tuning curves by optimizer, got {quoted(curves)}.")
    if not curves:
        raise ArgumentValueError("curves is empty: give the tuning curve of at least one optimizer.")
    ax = canvas.axes(ax)
    low, high, log = _range(curves)
    inside = lambda values: np.clip(np.where(np.isnan(values), np.inf, values), low, high)
    named, most = [], max(int(curve.budgets.max()) for curve in curves.values())
    for (name, curve), look in zip(curves.items(), looks([*curves]), strict=True):
        steps: dict[str, Any] = {"color": look["color"], "alpha": canvas.BAND, "linewidth": 0, "gid": "band"}
        ax.fill_between(curve.budgets, inside(curve.low), inside(curve.high), **steps)
        known = np.where((curve.median >= low) & (curve.median <= high), curve.median, np.nan)
        marks = np.unique(np.geomspace(1, len(known), 7).astype(int)) - 1
        (line,) = ax.plot(curve.budgets, known, **look, markevery=marks.tolist(), gid="median")
        named.append((line, words.plain(name)))
    ax.set_xscale("log")
    ax.set_yscale("log" if log else "linear")
    ax.set_xlim(0.97, most * 1.03)
    ax.set_ylim(low, high)
    ticks = [k for n in range(7) for k in (10**n, 2 * 10**n, 5 * 10**n) if k <= most]
    ax.set_xticks(ticks, list(map(str, ticks)), minor=False)
    ax.minorticks_off() if not log else ax.tick_params(axis="x", which="minor", bottom=False)
    canvas.grid(ax)
    canvas.title(ax, words.plain(title))
    canvas.xlabel(ax, "random configurations tried, k")
    canvas.ylabel(ax, f"{words.words(label)}, median best of k")
    levels = sorted({f"{100 * curve.confidence:g} %" for curve in curves.values()})
    legend.place(ax, named, [band(f"{' or '.join(levels)} confidence band, at all budgets at once")])
    return canvas.finished(ax, path)


def _range(curves: Mapping[str, TuningCurve]) -> tuple[float, float, bool]:
    """Return the ends of the axis and whether it is logarithmic.

    It has all medians, and the bands where they are finite, but no more than .6 of the medians' range beyond them.
    """
    medians, bands = (np.concatenate([np.ravel(of(curve)) for curve in curves.values()]) for of in (_median, _band))
    medians, bands = medians[np.isfinite(medians)], bands[np.isfinite(bands)]
    if not medians.size:
        return 0.0, 1.0, False
    log = bool(min(medians.min(), bands.min(initial=np.inf)) > 0 and medians.max() > LOG_FROM * medians.min())
    change = np.log if log else lambda x: x
    low, high = change(medians.min()), change(medians.max())
    room = 0.6 * (high - low) or abs(low) or 1.0
    least, greatest = change(bands.min(initial=medians.min())), change(bands.max(initial=medians.max()))
    ends = [min(max(low - room, least), low), max(min(high + room, greatest), high)]
    margin = 0.04 * (ends[1] - ends[0]) or 0.05 * abs(low) or 1.0
    back = np.exp if log else lambda x: x
    return float(back(ends[0] - margin)), float(back(ends[1] + margin)), log


def _median(curve: TuningCurve) -> np.ndarray:
    return curve.median


def _band(curve: TuningCurve) -> np.ndarray:
    return np.concatenate([curve.low, curve.high])
