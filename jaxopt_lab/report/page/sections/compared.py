"""Sections of a comparison: the verdict in words, its table, pictures, and what was drawn from."""

import base64
import io
import math
from collections.abc import Callable
from typing import Any

from jaxopt_lab.compare import words
from jaxopt_lab.compare.verdict import Verdict
from jaxopt_lab.formats import short
from jaxopt_lab.report.page.cells import head, number_cell, wide
from jaxopt_lab.report.page.compared_data import MOST_PAIRS, TO, figure
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.report.page.sections.tuned import linked
from jaxopt_lab.report.plots.verdicts import VerdictPlots
from jaxopt_lab.statistics.tally import UNDECIDED

PICTURE_BYTES = 1_500_000  # of all pictures together
TEXTS = ("task", "a", "b", "better", "by seeds alone")
NUMBERS = ("a - b", "95 %", "chance that a wins", "p, corrected", "seeds needed", "configurations needed")


def conclusion(verdict: Verdict) -> Section:
    """Say what is decided, and what is not, in sentences."""
    rows: Any = verdict.rows
    decided = int((rows["verdict"] != UNDECIDED).sum())
    lead = f"{decided} of {len(rows)} comparisons are decided." if len(rows) > 1 else ""
    sentences = [el("li", line) for line in words.sentences(verdict)]
    warned = words.warnings_of(verdict)
    body = [el("p", lead, class_="lead") if lead else None, el("ul", sentences)]
    if warned:
        body.append(el("ul", [el("li", line) for line in warned], class_="warnings"))
    return Section("verdict", "Verdict", joined(body))


def comparisons(verdict: Verdict) -> Section:
    """List every task and pair in a table that can be sorted."""
    rows = verdict.table().to_dict("records")
    at = {name: i for i, name in enumerate(verdict.optimizers)}
    heads = [head(name, name in NUMBERS) for name in (*TEXTS, *NUMBERS)]
    caption = (
        "Better: counting the luck of seeds and of tuning. By seeds alone: of these two configurations, which says "
        "nothing of the optimizers. The chance is that of winning when both are tuned anew."
    )
    table = el(
        "table",
        el("caption", el("span", caption)),
        el("thead", el("tr", heads)),
        el("tbody", [el("tr", _cells(row), data_a=at[row["a"]], data_b=at[row["b"]]) for row in rows]),
        class_="sortable",
        id="comparisons-table",
    )
    files = {"verdict": verdict.table().to_csv(index=False), "scores": verdict.scores().to_csv(index=False)}
    buttons = [
        el("button", "This table (CSV)", type="button", data_file="verdict"),
        el("button", "Scores by seed (CSV)", type="button", data_file="scores"),
    ]
    body = [wide(table, "Comparisons"), el("p", buttons, class_="buttons script")]
    return Section("comparisons", "Comparisons", joined(body), files)


def pictures(verdict: Verdict) -> Section:
    """Show ranks, chances and tuning curves; effects where there is no chart of them: without scripts, and on paper."""
    plot, figures, room = VerdictPlots(verdict), [], PICTURE_BYTES
    several, left_out = len(verdict.studies) > 1, 0

    def add(what: str, draw: Callable[[], Any], plain: bool = False) -> None:
        nonlocal room, left_out
        image = _image(draw().figure, what) if room > 0 else None
        if image is None or len(image) > room:
            room, left_out = 0, left_out + 1
            return
        room -= len(image)
        figures.append(el("figure", el("figcaption", what), image, class_="plain" if plain else None))

    if several:
        add("Mean rank over tasks, with its interval over tasks.", plot.ranks)
        add("Performance profiles: the share of tasks whose target is reached, by cost.", plot.performance)
    for task in verdict.studies:
        rows: Any = verdict.rows
        if (rows["task"] == task).sum() <= MOST_PAIRS:
            said = f"{task}: mean difference of each pair on fresh seeds."
            add(said, lambda task=task: plot.effects(task), plain=True)
        add(f"{task}: chance to win when both are tuned anew.", lambda task=task: plot.chances(task))
        add(f"{task}: the best of k random configurations.", lambda task=task: plot.tuning(task))
    said = f"{left_out} more pictures are not in the page, to keep it small: verdict.plot draws them."
    body = [el("p", said, class_="note") if left_out else None, el("div", figures, class_="pictures")]
    return Section("pictures", "Pictures", joined(body))


def drawn_from(verdict: Verdict) -> Section:
    """List what hyperparameters were drawn from, with sources, and what was selected: a verdict depends on it."""
    names = ("task", "optimizer", "hyperparameter", "drawn from", "source", "selected", "edge")
    rows = [
        el(
            "tr",
            el("td", row["task"], data_sort=row["task"]),
            el("th", row["optimizer"], scope="row", data_sort=row["optimizer"]),
            el("td", row["hyperparameter"], data_sort=row["hyperparameter"]),
            el("td", row["drawn_from"].removeprefix(f"{row['hyperparameter']} "), data_sort=row["drawn_from"]),
            el("td", row["source"], class_="described", data_sort=row["source"]),
            el("td", short(row["selected"]), data_sort=str(row["selected"])),
            el("td", edge := _edge(row), data_sort=edge),
        )
        for row in verdict.priors().to_dict("records")
    ]
    first = el("thead", el("tr", [head(name, False) for name in names]))
    table = el("table", first, el("tbody", rows), class_="sortable", id="priors-table")
    return Section("priors", "What was drawn from", wide(table, "What was drawn from"))


def paragraph(verdict: Verdict) -> Section:
    """Give the methods paragraph."""
    return Section("methods", "Methods", el("p", verdict.methods().removeprefix("Methods: ")))


SECTIONS = (conclusion, comparisons, linked, pictures, drawn_from, paragraph)


def _cells(row: dict[Any, Any]) -> list[Html]:
    better, alone = row["better"], row.get(row["verdict_of_these_configurations"], UNDECIDED)
    texts = [
        el("td", row["task"], data_sort=row["task"]),
        *(el("td", row[side], data_sort=row[side]) for side in ("a", "b")),
        el("th", better, scope="row", data_sort=better),
        el("td", alone, data_sort=alone),
    ]
    interval = f"{figure(row['low'])}{TO}{figure(row['high'])}"
    chance = joined(
        [
            f"{row['chance']:.2f}",
            el("span", f"{row['chance_low']:.2f}{TO}{row['chance_high']:.2f}", class_="quartiles"),
        ]
    )
    return [
        *texts,
        number_cell(row["effect"], figure(row["effect"])),
        number_cell(row["low"], interval),
        number_cell(row["chance"], chance),
        number_cell(row["p_corrected"], f"{row['p_corrected']:.2g}"),
        *(number_cell(row[name], _needed(row[name])) for name in ("seeds_needed", "configurations_needed")),
    ]


def _needed(n: float) -> str:
    return "" if math.isnan(n) else "over 100,000" if n > 1e5 else f"{n:,.0f}"


def _edge(row: dict[Any, Any]) -> str:
    parts = [f"widened at the {row['wider']} end"] if row["wider"] else []
    return "; ".join([*parts, *([f"best at the {row['edge']} end"] if row["edge"] else [])])


def _image(figure: Any, alt: str) -> Html:
    """Draw a figure into the page."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", facecolor="white", bbox_inches="tight", metadata={"Date": None})
    source = f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
    return el("img", alt=alt, src=source)
