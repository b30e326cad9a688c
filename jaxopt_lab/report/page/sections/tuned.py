"""The linked charts of a comparison: each pair's effect, and the configurations that were drawn to tune."""

from typing import Any

from jaxopt_lab.compare.verdict import Verdict
from jaxopt_lab.report.page import charts
from jaxopt_lab.report.page.compared_data import MOST_PAIRS, effects, most_of, tuned
from jaxopt_lab.report.page.data import words
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el
from jaxopt_lab.report.page.sections.configurations import table
from jaxopt_lab.report.page.sections.explore import MOST_LINES, controls, figure, select, varied

SAID = (
    "What is selected here is in colour in every chart and listed below; everything else stays in grey. Click a pair "
    "in the effects to select its two optimizers, drag in the other charts to select ranges, click a configuration to "
    "mark it."
)


def linked(verdict: Verdict) -> list[Section]:
    """Make the selection and the charts that show it, of one task at a time."""
    most, tasks, specs = most_of(verdict), [], {}
    for i, (name, study) in enumerate(verdict.studies.items()):
        found = {"name": name, "sweep": tuned(study, most), "effects": effects(verdict, name)}
        tasks.append(found)
        specs |= {f"{i} {chart}": spec for chart, spec in _charts(found, study.reported).items()}
    sweeps = [task["sweep"] for task in tasks]
    pick = select("task", "Task", [(i, task["name"]) for i, task in enumerate(tasks)], 0)
    body = controls(SAID, sweeps[0]["optimizers"], el("div", pick, class_="controls") if len(tasks) > 1 else None)
    kept = sum(len(one["configs"]["number"]) for one in sweeps)
    drawn = sum(study.tuning.dataset.sizes["config"] for study in verdict.studies.values())
    return [
        Section("selection", "Selection", body, {"tasks": tasks, "most_lines": MOST_LINES}, specs),
        _effects(max(len(task["effects"]["rows"]) for task in tasks)),
        *_draws(sweeps, kept, drawn),
    ]


def _charts(task: dict[str, Any], reported: str) -> dict[str, Any]:
    """Return the specifications of a task's charts."""
    data, forest = task["sweep"], task["effects"]
    rows = min(len(forest["rows"]), MOST_PAIRS)
    title = f"{words(reported)}, a - b ({'>' if data['metric']['greater'] else '<'} 0 where a is better)"
    made = {"effects": charts.effects(data, title, forest["low"], forest["high"], rows)}
    if data["parameters"]:
        keys = varied(data)
        made |= {f"sensitivity {i}": charts.sensitivity(data, i) for i, _ in keys}
        made["parallel"] = charts.parallel(data, len(keys) + 1)
    return made


def _effects(pairs: int) -> Section:
    text = (
        "The mean difference of each pair on fresh seeds, with its 95 % interval: in the colour and with the marker of "
        "the optimizer that is better, open where undecided. Pairs of selected optimizers stand out; where one alone "
        "is selected, so do its pairs with all others. All numbers are in the table of comparisons."
    )
    if pairs > MOST_PAIRS:
        text += f" At most {MOST_PAIRS} pairs are drawn at once, selected ones first."
    return Section("effects", "Effects", figure("effects", text), {"most_pairs": MOST_PAIRS})


def _draws(sweeps: list[dict[str, Any]], kept: int, drawn: int) -> list[Section]:
    """Show the drawn configurations against each hyperparameter, in parallel coordinates, and as a table."""
    if not any(one["parameters"] for one in sweeps):
        return []
    seeds = sweeps[0]["seeds"]
    over = f"the mean over {seeds} tuning seeds" if seeds > 1 else "the score of the tuning seed"
    text = (
        f"A point for each drawn configuration: {over}, which selects. ★ marks the selected ones. Points in the grey "
        "strip diverged or are worse than the scale shows; small open ones there stand for configurations of which "
        "only some seeds are. Lines join the draws of optimizers with one hyperparameter."
    )
    if kept < drawn:
        text += f" Of the {drawn:,} drawn configurations, {kept:,} are in the page: the best, and evenly others."
    pick = select("sensitivity-of", "Hyperparameter", [], None)
    lines = (
        "A line for each drawn configuration, from its hyperparameters to its score, where up is better. Drag along an "
        "axis to select a range. Below an axis are configurations without that hyperparameter, below the last one "
        "those without a finite score or off the scale."
    )
    rows: Html = table(
        "The drawn configurations that are selected above, best first; ★ marks those that tuning selected. A number "
        "marks its configuration in all charts."
    )
    return [
        Section("sensitivity", "Tuning draws", figure("sensitivity", text, pick)),
        Section("parallel", "Parallel coordinates", figure("parallel", lines)),
        Section("configurations", "Drawn configurations", rows),
    ]
