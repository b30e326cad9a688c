"""The linked charts, and the one selection that all of them show."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxopt_lab.report.page import charts
from jaxopt_lab.report.page.curve_data import curves as curve_data
from jaxopt_lab.report.page.data import sweep, words
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.report.page.swatch import swatch
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, metrics

MOST_DRAWN = 300  # curves at once
MOST_LINES = 3_000  # of parallel coordinates at once: more look the same, and take longer


def explore(results: Results) -> list[Section]:
    """Make the selection and the charts that show it; charts that need more hyperparameters are left out."""
    data = sweep(results.dataset)
    made = [selection(data), sensitivity(data), curves(results, data), parallel(data), heatmap(data)]
    return [section for section in made if section is not None]


def selection(data: dict[str, Any]) -> Section:
    """Make the controls of the selection: optimizers, and a range of each hyperparameter and of the metric."""
    said = (
        "What is selected here is in colour in every chart and listed below; everything else stays in grey. "
        "Drag in a chart to select ranges, click a configuration to mark it."
    )
    return Section("selection", "Selection", controls(said, data["optimizers"]), {"sweep": data})


def controls(said: str, optimizers: Sequence[Mapping[str, Any]], first: Html | None = None) -> Html:
    """Make the controls: what they do, the `first` ones, a checkbox for each optimizer, and room for ranges."""
    legend = [
        el(
            "label",
            el("input", type="checkbox", checked=True, data_optimizer=i),
            swatch(look),
            el("span", look["name"]),
        )
        for i, look in enumerate(optimizers)
    ]
    body = joined(
        [
            el("p", said),
            first,
            el("fieldset", el("legend", "Optimizers"), el("div", legend, class_="legend"), id="optimizers"),
            el("div", id="ranges"),
            el(
                "div",
                el("p", "", id="count", role="status", aria_live="polite"),
                el("button", "Select all", type="button", id="clear"),
                class_="counted",
            ),
            el("div", id="marked", aria_live="polite", hidden=True),
        ]
    )
    return el("div", body, class_="script card")


def sensitivity(data: dict[str, Any]) -> Section | None:
    """Show the metric against each hyperparameter."""
    if not data["parameters"]:
        return None
    names = varied(data)
    specs = {f"sensitivity {i}": charts.sensitivity(data, i) for i, _ in names}
    seeds = data["seeds"]
    text = (
        "A point for each configuration; the line joins each optimizer's best selected configuration at each value"
        f"{', the band its quartiles over seeds' if seeds > 1 else ''}. Points in the grey strip are worse "
        "than the scale shows; small open ones there stand for configurations of which only some seeds are."
    )
    if data["configs"]["early"]:
        text += " Points that no line reaches may be of configurations that were stopped early, at their last value."
    chosen = next((i for i, name in names if name == "learning_rate"), names[0][0])
    pick = select("sensitivity-of", "Hyperparameter", [(i, words(name)) for i, name in names], chosen)
    return Section("sensitivity", "Sensitivity", figure("sensitivity", text, pick), charts=specs)


def curves(results: Results, data: dict[str, Any]) -> Section:
    """Show the curves of losses and metrics."""
    found = curve_data(results.dataset)
    for curve in found:
        curve["title"] = f"{curve['words']}{_over(data['seeds'])}"
    specs = {f"curves {i}": charts.curves(data, curve) for i, curve in enumerate(found)}
    shown, seeds = [curve["name"] for curve in found], data["seeds"]
    left_out = [words(name) for name in metrics(results.dataset) if name not in shown]
    text = [
        f"The median over {seeds} seeds of each configuration" if seeds > 1 else "Each configuration's curve",
        "; each optimizer's best by ",
        words(default_metric(results.dataset)),
        " is bold, with quartiles." if seeds > 1 else " is bold.",
        *(
            f" Of the {curve['of']:,} recorded points of {curve['words']}, {len(curve['points'])} are in the page."
            for curve in found
            if len(curve["points"]) < curve["of"]
        ),
        f" The curves of {', '.join(left_out)} are not in the page, to keep it small." if left_out else "",
        f" At most {MOST_DRAWN} curves are drawn at once: those of the best selected configurations, and evenly those "
        "of the others."
        if len(data["configs"]["number"]) > MOST_DRAWN
        else "",
    ]
    pick = select("curves-of", "Curve", [(i, curve["words"]) for i, curve in enumerate(found)], 0)
    body = figure("curves", "".join(text), pick)
    return Section("curves", "Curves", body, {"curves": found, "most_drawn": MOST_DRAWN}, specs)


def parallel(data: dict[str, Any]) -> Section | None:
    """Show all hyperparameters and the metric at once."""
    count = len(varied(data)) + 1
    if count < 2:
        return None
    text = (
        "A line for each configuration, from its hyperparameters to its "
        f"{data['metric']['words']}, where up is better. Drag along an axis to select a range. Below an axis are "
        "configurations without that hyperparameter, below the last one those without a final value or off "
        "the scale."
    )
    if len(data["configs"]["number"]) > MOST_LINES:
        text += (
            f" At most {MOST_LINES:,} lines are drawn at once: the best selected ones, and evenly those of the others."
        )
    body, spec = figure("parallel", text), charts.parallel(data, count)
    return Section("parallel", "Parallel coordinates", body, {"most_lines": MOST_LINES}, {"parallel": spec})


def heatmap(data: dict[str, Any]) -> Section | None:
    """Show the metric over two hyperparameters of an optimizer, with a slider for each of the others."""
    columns, owners = data["configs"]["values"], data["configs"]["optimizer"]
    able = []
    for i, optimizer in enumerate(data["optimizers"]):
        tried = [{v for v, o in zip(column, owners, strict=True) if o == i and v is not None} for column in columns]
        able += [(i, optimizer["name"])] if sum(len(values) > 1 for values in tried) > 1 else []
    if not able:
        return None
    text = (
        "The best selected configuration at each pair of values, over the other hyperparameters or at the value that "
        f"a slider sets. Bright is good; {charts.TIMES} marks pairs without a finite median at the end; "
        "★ marks the best; empty pairs were not tried. Many values are put into equal ranges."
    )
    controls = joined(
        [
            select("heat-optimizer", "Optimizer", able, able[0][0]),
            select("heat-x", "Across", [], None),
            select("heat-y", "Up", [], None),
            el("div", id="heat-others", class_="others"),
        ]
    )
    spec = charts.heatmap(data)
    return Section("heatmap", "Heat map", figure("heatmap", text, controls), charts={"heatmap": spec})


def _over(seeds: int) -> str:
    return f", median of {seeds} seeds" if seeds > 1 else ", 1 seed"


def varied(data: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the hyperparameters with several values, or the first one where none has."""
    named = [(i, p["name"]) for i, p in enumerate(data["parameters"])]
    return [(i, n) for i, n in named if data["parameters"][i]["count"] > 1] or named[:1]


def select(id: str, label: str, options: list[tuple[Any, str]], chosen: Any) -> Html:
    listed = [el("option", text, value=value, selected=value == chosen) for value, text in options]
    return el("label", label, " ", el("select", listed, id=id))


def figure(name: str, text: str, controls: Html | None = None) -> Html:
    """Make a chart's place, with its controls, its description and its downloads."""
    files = [
        el("button", kind.upper(), type="button", class_="file", data_chart=name, data_kind=kind,
           aria_label=f"Download the {name} figure as {kind.upper()}")
        for kind in ("svg", "png")
    ]  # fmt: skip
    bar = el("div", el("div", controls or "", class_="controls"), el("div", files, class_="buttons"), class_="bar")
    about = {"aria_labelledby": f"{name}-title", "aria_describedby": f"{name}-said"}
    place = el("div", el("div", id=f"chart-{name}", class_="chart", role="img", **about), class_="scroller")
    return el("figure", joined([el("figcaption", text, id=f"{name}-said"), el("div", bar, class_="script"), place]))
