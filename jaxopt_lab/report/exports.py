r"""Exports of results as files of other tools: CSV, Parquet, and tables for LaTeX.

`to_tensorboard` has its own module.
"""

import io
import math
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_known, printable, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.formats import number
from jaxopt_lab.labels import present
from jaxopt_lab.results.best import where_compared
from jaxopt_lab.results.leaderboard import leaderboard
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, direction, hyperparameters, metrics
from jaxopt_lab.results.written import written_table
from jaxopt_lab.tasks.direction import MAX
from jaxopt_lab.tasks.names import QUARTILES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

ALWAYS = ("optimizer", "step", "examples", "gradients", "learning_rate", "diverged", "good_decades")  # where known
COUNTS = ("config", "step", "examples", "gradients")
NONE = "--"
ESCAPES = {  # [ and * could be taken for arguments of the \\ before them
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{c: f"{{{c}}}" for c in "[]*"},
}


def to_csv(results: Results, path: str | Path) -> str | Path:
    """Write the table of trials as a CSV file and return its path: see `table`.

    Args:
        results: A sweep's results.
        path: The file, local or at a URL that fsspec supports. A file that was there before is replaced, and folders
            that do not exist are created.

    Raises:
        TypeError: The path is not a text or a path.
        OSError: The file cannot be written: it is a folder, for example.

    """
    return _written(written_table(results).to_csv(index=False).encode(), path)


def to_parquet(results: Results, path: str | Path) -> str | Path:
    """Write the table of trials as a Parquet file, in which columns keep their types, and return its path: see `table`.

    A hyperparameter whose values are of several types is a column of texts. Arguments and errors are those of `to_csv`.
    """
    content = io.BytesIO()
    written_table(results).to_parquet(content, index=False)
    return _written(content.getvalue(), path)


def _written(content: bytes, path: str | Path) -> str | Path:
    import fsspec

    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"path must be a file's path or URL, got {quoted(path)}.")
    with fsspec.open(os.fspath(path), "wb") as file:
        file.write(content)  # pyright: ignore[reportAttributeAccessIssue]
    return path


def to_latex(
    results: Results,
    columns: Sequence[str] | None = None,
    metric: str | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> str:
    r"""Return the leaderboard as a LaTeX table: the best configuration of each optimizer, best first.

    It needs the package booktabs, and textcomp in LaTeX before 2020. Losses and metrics are medians over seeds, with
    quartiles in parentheses; "--" stands for no finite value. In each column of a loss or metric whose direction is
    known, the best median is bold, and so is each that is printed equal to it: that is no test of a difference, for
    which see `jl.compare`. A comment line says what the table is of.

    Args:
        results: A sweep's results.
        columns: Columns of `leaderboard`, except those of quartiles, and hyperparameters of the best configurations; by
            default the optimizer, its learning rate, the metric, metrics on test data, the share of diverged trials and
            the width of the range of good learning rates, and what trials had unequally many of.
        metric: The metric to select by; by default the task's main metric.
        caption: A caption, in LaTeX, so not escaped. With one, the table is a float.
        label: The caption's label, for \ref.

    Returns:
        The table's code, in ASCII unless a name is not. Names are escaped.

    Raises:
        TypeError: `columns` is not a list of texts, or the caption or label is not a text.
        ValueError: A column or the metric is unknown, the metric has no direction, `columns` is empty, or there is a
            label without a caption.

    """
    _check_caption(caption, label)
    dataset = results.dataset
    metric = default_metric(dataset) if metric is None else metric
    board = leaderboard(dataset, metric)
    cells = {name: _cells(dataset, board, metric, name) for name in _chosen(dataset, board, metric, columns)}
    if (where := where_compared(dataset, metric)) is not None:
        warnings.warn(where, UserWarning, stacklevel=2)
    seeds = dataset.sizes["seed"]
    spread = f"medians over {seeds} seeds (quartiles)" if seeds > 1 else "values of one seed"
    about = f"{dataset.attrs['task']}: best configuration of each optimizer by {metric}, {spread}. {where or ''}"
    lines = [
        f"% {printable(about.replace(chr(10), ' ')).strip()}",
        rf"\begin{{tabular}}{{{''.join('l' if _is_text(dataset, name) else 'r' for name in cells)}}}",
        r"\toprule",
        _row([_header(dataset, name) for name in cells]),
        r"\midrule",
        *map(_row, zip(*cells.values(), strict=True)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption is not None:
        named = [] if label is None else [rf"\label{{{label}}}"]
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", *named, *lines, r"\end{table}"]
    return "\n".join(lines) + "\n"


def escaped(text: Any) -> str:
    """Escape text for LaTeX, which prints it as it is."""
    text = "".join(ESCAPES.get(c, c) for c in printable(str(text).replace("\n", " ")))
    return re.sub("-(?=-)", "-{}", text)  # two would be one dash


def _check_caption(caption: str | None, label: str | None) -> None:
    for name, text in (("caption", caption), ("label", label)):
        if text is not None and not isinstance(text, str):
            raise ArgumentTypeError(f"{name} must be a text or left out, got {quoted(text)}.")
    if label is not None and caption is None:
        raise ArgumentValueError(f"label={quoted(label)} has nothing to refer to. Give a caption, too.")


def _chosen(
    dataset: "xr.Dataset", board: "pd.DataFrame", metric: str, columns: Sequence[str] | None
) -> dict[str, None]:
    """Return the names of the columns, in order."""
    listed = [str(name) for name in board.columns if not str(name).endswith(QUARTILES)]
    if columns is None:
        shown = lambda name: name in ALWAYS or name == metric or name.startswith("test_")
        return dict.fromkeys(filter(shown, listed))
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise ArgumentTypeError(f"columns must be a list of names, got {quoted(columns)}.")
    if not columns:
        raise ArgumentValueError("columns is empty: name at least one, or leave it out.")
    for name in columns:
        check_known("column", name, dict.fromkeys([*listed, *hyperparameters(dataset)]))
    return dict.fromkeys(columns)


def _is_text(dataset: "xr.Dataset", name: str) -> bool:
    """Return whether a column holds texts, which are aligned to the left."""
    columns = hyperparameters(dataset)
    return name == "optimizer" or (name in columns and columns[name].dtype.kind not in "fiu")


def _header(dataset: "xr.Dataset", name: str) -> str:
    way = direction(dataset, name) if name in metrics(dataset) else None
    arrow = {None: "", MAX: r" $\uparrow$"}.get(way, r" $\downarrow$")
    return escaped(name.replace("_", " ").strip() or name) + arrow


def _cells(dataset: "xr.Dataset", board: "pd.DataFrame", metric: str, name: str) -> list[str]:
    """Return the cells of a column, by row of the leaderboard."""
    if name in metrics(dataset):
        return _scores(dataset, board, name)
    if name in board:
        return [_figure(name, value) for value in board[name].tolist()]
    rows = [int(np.flatnonzero(dataset["config"].values == config)[0]) for config in board["config"]]
    values = hyperparameters(dataset)[name][rows]
    there = present(values) & np.isfinite(board[metric].to_numpy())  # where no configuration works, none is best
    return [_figure(name, value) if has else NONE for value, has in zip(values.tolist(), there, strict=True)]


def _scores(dataset: "xr.Dataset", board: "pd.DataFrame", name: str) -> list[str]:
    """Return medians with quartiles, those printed equal to the best in bold."""
    medians, way = board[name].to_numpy(float), direction(dataset, name)
    printed, finite = [number(x) for x in medians.tolist()], np.isfinite(medians)
    best = None
    if way is not None and finite.any():
        best = number((max if way == MAX else min)(medians[finite].tolist()))
    lows, highs = (board[f"{name}{end}"].tolist() for end in QUARTILES)
    cells = []
    for text, low, high in zip(printed, lows, highs, strict=True):
        quartiles = f" ({_math(low)}--{_math(high)})" if dataset.sizes["seed"] > 1 and text != "-" else ""
        cells.append(f"{_mathematics(text, bold=text == best)}{quartiles}" if text != "-" else NONE)
    return cells


def _figure(name: str, value: Any) -> str:
    """Format a value that is no metric: a count in full, a share in percent, a number, or another value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escaped(value)
    if name == "diverged":
        return rf"{100 * value:.0f}\,\%"
    if name == "good_decades" and math.isfinite(value):
        return f"{value:.1f}"
    if name in COUNTS and math.isfinite(value):
        return f"{value:,.0f}".replace(",", r"\,")
    return _math(value)


def _math(value: float) -> str:
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    return NONE if math.isnan(value) else _mathematics(number(value))


def _mathematics(text: str, bold: bool = False) -> str:
    """Set a formatted number: 1.23e-5 as a power of ten."""
    mantissa, _, exponent = text.partition("e")
    body = mantissa + (rf"\times 10^{{{exponent}}}" if exponent else "")
    return rf"$\mathbf{{{body}}}$" if bold else f"${body}$"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
