"""Cells of tables that can be sorted."""

import math
from typing import Any

from jaxopt_lab.report.page.markup import Html, el


def head(name: str, is_number: bool, order: str | None = None) -> Html:
    """Make a head with a button that sorts by its column; `order` is that in which the table is sorted by it."""
    button = el("button", name, type="button", class_="sort")
    return el("th", button, scope="col", aria_sort=order, class_="number" if is_number else None)


def number_cell(value: float, text: Any) -> Html:
    """Make a cell with a number; what has none sorts last."""
    return el("td", text, class_="number", data_sort=repr(float(value)) if math.isfinite(value) else "")


def wide(table: Html, label: str) -> Html:
    """Let a table scroll sideways where the page is too narrow for it."""
    return el("div", table, class_="wide", tabindex="0", role="group", aria_label=label)
