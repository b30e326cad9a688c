"""The summary: the answer in a few sentences, before any chart."""

import json

import numpy as np

from jaxopt_lab.compare.confirm import LIMITS, Confirmation
from jaxopt_lab.formats import number
from jaxopt_lab.report.page.data import settings, words
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.results.best import Best, best, rows_of, where_compared, why_none
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric
from jaxopt_lab.statistics.spread import spread
from jaxopt_lab.store.axes import budget, unequal_examples, unequal_gradients

MOST_NOTES = 20
TO = "\N{EN DASH}"


def summary(results: Results, confirmed: Confirmation | None = None) -> Section:
    """Say which optimizer did best, by how much, of how many trials, what fresh seeds say, and what limits this."""
    dataset = results.dataset
    metric = default_metric(dataset)
    found = best(dataset, metric)
    lead = why_none(dataset, metric, rows_of(dataset, None)) if not np.isfinite(found.value) else _best(results, found)
    lines = [el("p", lead, class_="lead")]
    if confirmed is not None:
        lines.append(el("p", f"{' '.join(confirmed.sentences())} {LIMITS}"))
    lines.append(el("p", _counts(results)))
    warnings = _warnings(results, found)
    if warnings:
        lines.append(el("ul", [el("li", text) for text in warnings], class_="warnings"))
    return Section("summary", "Summary", joined(lines))


def _best(results: Results, found: Best) -> Html:
    dataset = results.dataset
    seeds = dataset.sizes["seed"]
    low, median, high = (float(x[0]) for x in spread(np.asarray([found.values])))
    chosen = settings(found.hyperparameters)
    several = len(set(dataset["optimizer"].values.tolist())) > 1
    quartiles = f" (quartiles {number(low)}{TO}{number(high)})" if seeds > 1 else ""
    over = f"over {seeds} seeds" if seeds > 1 else "of its one seed"
    what = "median" if seeds > 1 else "value"
    return joined(
        [
            el("strong", found.optimizer),
            f" with {chosen}" if chosen else "",
            f" has the best {words(found.metric)} on {dataset.attrs['task']}: {what} ",
            el("strong", number(median)),
            f"{quartiles} {over}.",
            _runner_up(results, found) if several else "",
        ]
    )


def _runner_up(results: Results, found: Best) -> str:
    """Name the next optimizer. Whether the difference is more than luck, only a comparison on fresh seeds can say."""
    others = [name for name in dict.fromkeys(results.dataset["optimizer"].values.tolist()) if name != found.optimizer]
    board = results.leaderboard()
    rows = board[board["optimizer"].isin(others) & np.isfinite(board[found.metric])]
    if not len(rows):
        return " No other optimizer has a finite median."
    row = rows.iloc[0]
    return f" Next is {row['optimizer']} with {number(row[found.metric])}."


def _counts(results: Results) -> str:
    dataset = results.dataset
    sizes, statuses = dataset.sizes, np.unique(dataset["status"].values, return_counts=True)
    ended = ", ".join(f"{count:,} {status}" for status, count in zip(*statuses, strict=True))
    configs, seeds = sizes["config"], sizes["seed"]
    counted = lambda count, word: f"{count:,} {word}{'s' if count > 1 else ''}"
    optimizers = counted(len(set(dataset["optimizer"].values.tolist())), "optimizer")
    each = " each" if seeds > 1 else ""
    return (
        f"{counted(configs * seeds, 'trial')}: {counted(configs, 'configuration')} of {optimizers} with "
        f"{counted(seeds, 'seed')}{each}, {budget(dataset)} a trial. {ended[:1].upper()}{ended[1:]}."
    )


def _warnings(results: Results, found: Best) -> list[str]:
    dataset = results.dataset
    lines = []
    if (where := where_compared(dataset, found.metric)) is not None:
        lines.append(f"The sweep has not ended. {where}")
    if dataset.sizes["seed"] == 1:
        lines.append("There is one seed, so nothing here tells a difference from luck.")
    if found.on_edge and np.isfinite(found.value):
        names = " and ".join(words(name) for name in found.on_edge)
        lines.append(f"The best is at the edge of the range of {names}: the true best may lie beyond. Widen it.")
    for unequal, verb in ((unequal_examples(dataset), "see"), (unequal_gradients(dataset), "take")):
        if unequal is not None:
            lines.append(f"Trials {verb} {unequal}, so equal steps are not equal work: see results.by.")
    notes = json.loads(dataset.attrs.get("notes", "[]"))
    more = [f"{len(notes) - MOST_NOTES} more notes are in dataset.attrs['notes']."] if len(notes) > MOST_NOTES else []
    return [*lines, *map(str, notes[:MOST_NOTES]), *more]
