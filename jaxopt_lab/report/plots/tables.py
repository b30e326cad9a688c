"""Pictures of tables: mean ranks, chances to win, and effects, each with how sure it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.report.plots import canvas, legend, words
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.statistics.tally import UNDECIDED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TIE = "0.45"  # of what is undecided


def ranks(
    table: "pd.DataFrame",
    *,
    label: str = "mean rank over tasks",
    interval: str = "95 % interval",
    title: str = "",
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw the mean rank of each optimizer with its interval, the best at the top.

    Args:
        table: A row for each optimizer, with columns `optimizer`, `rank`, `low` and `high`; 1 is the best rank.
        label: What the rank is.
        interval: What `low` and `high` are.
        title: The title.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError: `table` is not a table.
        ValueError: A column is missing, there are no rows, or a number is NaN.

    """
    table = _checked(table, ("optimizer", "rank", "low", "high"), ("rank", "low", "high"))
    table = table.sort_values("rank", kind="stable", ignore_index=True)
    ax = canvas.axes(ax, height=canvas.rows_height(len(table)))
    names = table["optimizer"].astype(str).tolist()
    values = table[["rank", "low", "high"]].to_numpy(float)
    for i, (look, (rank, low, high)) in enumerate(zip(looks(names), values, strict=True)):
        ax.plot([low, high], [i, i], color=look["color"], linewidth=1.6 * look["linewidth"], alpha=0.45, gid="interval")
        ax.plot(rank, i, color=look["color"], marker=look["marker"], markersize=1.6 * look["markersize"], gid="rank")
        place: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": "small"}
        ax.annotate(f"{rank:.2f}", (max(rank, high), i), **place, color=canvas.GREY)
    _rows(ax, list(map(words.plain, names)))
    ax.set_xlim(*canvas.widened(min(1.0, values.min()), values.max(), 0.1))
    canvas.grid(ax, "x")
    canvas.title(ax, words.plain(title))
    canvas.xlabel(ax, f"{words.plain(label)} (1 is best)")
    legend.place(ax, [], [_line(interval)])
    return canvas.finished(ax, path)


def chances(
    table: "pd.DataFrame",
    *,
    label: str = "chance that row beats column",
    title: str = "",
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw the chance of each optimizer to beat each other one, as a square of numbers and colours.

    Colours go from orange below one half to blue above, which readers who confuse red and green can tell apart.

    Args:
        table: Square: its rows and columns are the same optimizers in the same order, its values chances from 0 to 1 of
            the row to beat the column. The diagonal is ignored; NaN is an unknown chance.
        label: What the numbers are.
        title: The title.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError: `table` is not a table.
        ValueError: Its rows and columns differ, it has fewer than two, or a value is not a chance.

    """
    from matplotlib.colors import LinearSegmentedColormap

    names, values = _square(table)
    n = len(names)
    width = canvas.rows_height(n * 1.25, 5.0)
    ax = canvas.axes(ax, height=width if n > 3 else None)
    shown = np.where(np.eye(n, dtype=bool), np.nan, values)
    # The ends of PuOr (ColorBrewer), lightened so that black numbers read well on all of them.
    colours = LinearSegmentedColormap.from_list("chances", ["#E08214", "#FDC98D", "#F7F7F7", "#A6C8E8", "#4393C3"])
    ax.imshow(np.ma.masked_invalid(shown), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(np.isfinite(shown)):
        number = f"{shown[row, column]:.2f}"
        text = {"0.00": "<.01", "1.00": ">.99"}.get(number, number[1:] if number.startswith("0") else number)
        text = "0" if shown[row, column] == 0 else "1" if shown[row, column] == 1 else text
        ax.text(column, row, text, ha="center", va="center", fontsize="small" if n > 6 else None, gid="chance")
    for row, column in np.argwhere(~np.isfinite(shown) & ~np.eye(n, dtype=bool)):
        ax.text(column, row, "?", ha="center", va="center", color=canvas.GREY, gid="unknown")
    shown_names = [words.plain(name) for name in names]
    turned = max(canvas.width_of(ax, name, "small") for name in shown_names) > 0.62 * canvas.cell(ax)[0] / n
    ax.set_yticks(range(n), shown_names)
    ax.set_xticks(range(n), shown_names, rotation=40 if turned else 0, ha="right" if turned else "center")
    if turned:
        for tick in ax.get_xticklabels():
            tick.set_rotation_mode("anchor")
    ax.tick_params(length=0)
    ax.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    ax.grid(True, which="minor", color="white", linewidth=1.5)
    ax.tick_params(which="minor", length=0)
    ax.spines[:].set_visible(False)
    canvas.title(ax, words.plain(title))
    canvas.xlabel(ax, words.plain(label))
    return canvas.finished(ax, path)


def effects(
    table: "pd.DataFrame",
    *,
    label: str = "effect, a - b",
    interval: str = "95 % interval",
    lower_is_better: bool | None = None,
    title: str = "",
    ax: "Axes | None" = None,
    path: str | Path | None = None,
) -> "Axes":
    """Draw each comparison's effect with its interval: a forest plot, with a row for each task and pair.

    A row has the colour and marker of the optimizer that is better, and is grey where undecided.

    Args:
        table: Columns `task`, `a`, `b`, `effect`, `low`, `high` and `better` (the better one's name, or another
            text), as of `jl.judge(...).table()`. Infinite ends of intervals are arrows.
        label: What the effect is, with its unit.
        interval: What `low` and `high` are.
        lower_is_better: Where given, the two sides of zero are labelled with who is better there.
        title: The title.
        ax: Axes to draw into; None makes a figure.
        path: A file to save the figure to.

    Raises:
        TypeError: `table` is not a table.
        ValueError: A column is missing, there are no rows, or a number is NaN.

    """
    table = _checked(table, ("task", "a", "b", "effect", "low", "high", "better"), ("effect", "low", "high"))
    tasks = list(dict.fromkeys(table["task"]))
    ax = canvas.axes(ax, height=canvas.rows_height(len(table) + 0.8 * len(tasks), 5.0))
    names = list(dict.fromkeys([*table["a"].astype(str), *table["b"].astype(str)]))
    style = dict(zip(names, looks(names), strict=True))
    finite = table[["effect", "low", "high"]].to_numpy(float)
    ends = canvas.widened(*effect_range(finite), 0.06)
    at, labels, y = [], [], 0.0
    ax.axvline(0, color=canvas.GREY, linewidth=0.8, zorder=1, gid="zero")
    several = len(tasks) > 1
    for task in tasks:
        if several:
            at.append(y)
            labels.append((words.plain(task), True))
            y += 0.9
        for row in _records(table[table["task"] == task]):
            _effect(ax, y, row, style, ends)
            at.append(y)
            labels.append((f"{words.plain(row['a'])} - {words.plain(row['b'])}", False))
            y += 1.0
    _rows(ax, [text for text, _ in labels], at)
    for tick, (_, head) in zip(ax.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if head else "normal")
    ax.set_xlim(*ends)
    canvas.grid(ax, "x")
    canvas.title(ax, words.plain(title if several or title else tasks[0]))
    side = {None: "", True: ", < 0 where the first is better", False: ", > 0 where the first is better"}
    canvas.xlabel(ax, f"{words.plain(label)}{side[lower_is_better]}")
    verdicts = {*map(str, table["better"])}
    better = [name for name in names if name in verdicts]
    legend.place(ax, [], [*_verdicts(better, style, bool(verdicts - {*names})), _line(interval)])
    return canvas.finished(ax, path)


def _effect(ax: "Axes", y: float, row: dict[str, Any], style: dict[str, Any], ends: tuple[float, float]) -> None:
    """Draw one row of a forest plot; infinite ends are arrows at the end of the axis."""
    look = style.get(str(row["better"]))
    colour, size = look["color"] if look else TIE, 1.5 * next(iter(style.values()))["markersize"]
    low, high = np.clip([row["low"], row["high"]], *ends)
    ax.plot([low, high], [y, y], color=colour, linewidth=1.3, solid_capstyle="butt", gid="interval")
    for end, arrow in ((row["low"], "<"), (row["high"], ">")):
        if not ends[0] <= end <= ends[1]:
            ax.plot(np.clip(end, *ends), y, arrow, color=colour, markersize=0.8 * size, clip_on=False, gid="beyond")
    if ends[0] <= row["effect"] <= ends[1]:
        ax.plot(row["effect"], y, look["marker"] if look else "o", color=colour, markersize=size, gid="effect")


def _verdicts(better: Sequence[str], style: dict[str, Any], undecided: bool) -> list[Any]:
    """Return the legend's entries of who is better."""
    from matplotlib.lines import Line2D

    size = 1.5 * next(iter(style.values()))["markersize"]
    marks = [(style[name]["color"], style[name]["marker"], f"{words.plain(name)} is better") for name in better]
    marks += [(TIE, "o", UNDECIDED)] if undecided else []
    return [Line2D([], [], color=c, marker=m, linestyle="", markersize=size, label=text) for c, m, text in marks]


def effect_range(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of an axis with zero, all finite effects, and their intervals if these are not far wider."""
    effect, intervals = values[np.isfinite(values[:, 0]), 0], values[:, 1:][np.isfinite(values[:, 1:])]
    known = np.concatenate([[0.0], effect, intervals])
    with np.errstate(invalid="ignore"):  # an infinite effect has no width
        widths = np.abs(values[:, 1:] - values[:, :1])
    widths = widths[np.isfinite(widths)]
    most = 6 * float(np.median(widths)) if widths.size else np.inf
    low, high = min(0.0, effect.min(initial=0.0)), max(0.0, effect.max(initial=0.0))
    return max(float(known.min()), low - most), min(float(known.max()), high + most)


def _line(interval: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=canvas.GREY, linewidth=1.6, label=words.plain(interval))


def _rows(ax: "Axes", labels: list[str], at: Sequence[float] | None = None) -> None:
    """Set up the y axis with a row for each label, the first at the top."""
    at = list(range(len(labels))) if at is None else at
    ax.set_yticks(at, labels)
    ax.set_ylim(at[-1] + 0.6, at[0] - 0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _square(table: "pd.DataFrame") -> tuple[list[str], np.ndarray]:
    """Return the names and values of a square table of chances."""
    table = _table(table)
    rows, columns = [str(name) for name in table.index], [str(name) for name in table.columns]
    if rows != columns or len(rows) < 2:
        raise ArgumentValueError(
            f"The table must have the same two or more optimizers as rows and as columns, got {quoted(rows)} and "
            f"{quoted(columns)}."
        )
    values = table.to_numpy(float)
    wrong = ~np.eye(len(rows), dtype=bool) & ((values < 0) | (values > 1))
    if wrong.any():
        raise ArgumentValueError(f"Chances must be from 0 to 1, got {values[wrong][0]:g}.")
    return rows, values


def _checked(table: "pd.DataFrame", columns: Sequence[str], numbers: Sequence[str]) -> "pd.DataFrame":
    """Check that a table has these columns, of which some are numbers, and rows."""
    table = _table(table)
    if missing := [name for name in columns if name not in table.columns]:
        raise ArgumentValueError(
            f"The table has no column {', '.join(missing)}. It has {', '.join(map(str, table.columns)) or 'none'}."
        )
    if not len(table):
        raise ArgumentValueError("The table has no rows, so there is nothing to draw.")
    if table[list(numbers)].isna().to_numpy().any():
        raise ArgumentValueError(f"A number is missing or NaN in {', '.join(numbers)}. Leave such rows out.")
    return table


def _table(table: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise ArgumentTypeError(f"table must be a DataFrame, got {quoted(table)}.")
    return table


def _records(table: Any) -> list[dict[str, Any]]:
    return table.to_dict("records")
