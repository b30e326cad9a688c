"""The leaderboard: a table of optimizers that can be sorted by any column."""

import math
from typing import Any

from jaxopt_lab.formats import compact, number
from jaxopt_lab.report.page.cells import head, number_cell, wide
from jaxopt_lab.report.page.data import appearances, settings, words
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.report.page.swatch import swatch
from jaxopt_lab.report.plots import words as written
from jaxopt_lab.results.best import best
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, metrics
from jaxopt_lab.tasks.names import QUARTILES

TO = "\N{EN DASH}"
METRIC = 2  # the column of the main metric, by which the table is sorted


def leaderboard(results: Results) -> Section:
    """List optimizers by their best configuration, best first."""
    dataset, board = results.dataset, results.leaderboard()
    metric = default_metric(dataset)
    scores = [metric, *(name for name in metrics(dataset) if name != metric and name in board)]
    heads = ["optimizer", "best configuration", *map(words, scores), "diverged"]
    counted = [name for name in ("step", "examples", "gradients", "good_decades") if name in board]
    heads += [words(name) for name in counted]
    configs = dataset["config"].values.tolist()
    looks = {look["name"]: look for look in appearances(written.optimizers(dataset))}
    rows = []
    for row in board.to_dict("records"):
        name, number_of = row["optimizer"], row["config"]
        cells = [
            el("th", swatch(looks[name]), " ", name, scope="row", data_sort=name),
            _configuration(number_of, configs.index(number_of), settings(best(dataset, metric, name).hyperparameters)),
            *(_score(row, score) for score in scores),
            number_cell(row["diverged"], f"{row['diverged']:.0%}"),
            *(number_cell(row[key], _counted(key, row[key])) for key in counted),
        ]
        rows.append(el("tr", cells))
    greater, seeds = greater_is_better(dataset, metric), dataset.sizes["seed"]
    over = f"Median over {seeds} seeds with quartiles below" if seeds > 1 else "Values of one seed"
    better = "greater is better" if greater else "less is better"
    caption = f"{over}, of each optimizer's best configuration by {words(metric)} ({better}). Diverged: of all trials."
    first = _head(heads, "descending" if greater else "ascending")
    table = el("table", el("caption", el("span", caption)), first, el("tbody", rows), class_="sortable", id="board")
    return Section("leaderboard", "Leaderboard", wide(table, "Leaderboard"))


def _configuration(number: int, position: int, described: str) -> Html:
    """Make the cell of a configuration: a button that marks it, on paper its number, and its hyperparameters."""
    label = f"Mark configuration {number}"
    button = el("button", number, type="button", class_="pick script", data_config=position, aria_label=label)
    plain = el("span", number, class_="plain")
    return el("td", button, plain, " ", described, class_="described", data_sort=number)


def _head(names: list[str], order: str) -> Html:
    """Make a head; the table is sorted in this order by the third column, the main metric."""
    cells = [head(name, i >= METRIC, order if i == METRIC else None) for i, name in enumerate(names)]
    return el("thead", el("tr", cells))


def _score(row: dict[Any, Any], name: str) -> Html:
    value = row[name]
    if not math.isfinite(value):
        return number_cell(value, "-")
    low, high = (row[f"{name}{suffix}"] for suffix in QUARTILES)
    spread = el("span", f"{number(low)}{TO}{number(high)}", class_="quartiles")
    return number_cell(value, joined([number(value), spread]))


def _counted(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "varies"
    return f"{value:.1f}" if name == "good_decades" else compact(value)
