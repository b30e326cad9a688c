"""Verdicts in words. A verdict is a `Verdict`, which is made of these."""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

from jaxopt_lab.formats import number, short
from jaxopt_lab.statistics.tally import UNDECIDED
from jaxopt_lab.store.axes import budget as budget_of
from jaxopt_lab.store.axes import unequal_gradients

LIMITS = (
    "The verdicts hold for these tasks, budgets and priors. Small tasks do not predict how optimizers rank on large "
    "models."
)


def summary(verdict: Any) -> str:
    """Return a sentence for each task and pair, the warnings, and the methods."""
    parts = ["\n".join(sentences(verdict)), "\n".join(warnings_of(verdict)), verdict.methods()]
    return "\n\n".join(part for part in parts if part)


def as_html(verdict: Any) -> str:
    """Return the same for a notebook."""
    listed = "".join(f"<li>{escape(line)}</li>" for line in sentences(verdict))
    warned = "".join(f"<p><strong>{escape(line)}</strong></p>" for line in warnings_of(verdict))
    return f"<ul>{listed}</ul>{warned}<p>{escape(verdict.methods())}</p>"


def sentences(verdict: Any) -> list[str]:
    """Return a sentence for each task and pair."""
    return [sentence(row) for row in verdict.rows.to_dict("records")]


def sentence(row: "dict[Any, Any]") -> str:
    """Say what a row of the table says."""
    task, a, b = row["task"], row["a"], row["b"]
    if row["verdict"] == UNDECIDED:
        return f"{task}: {a} and {b}: undecided. {_why(row)}"
    better, worse = (a, b) if row["verdict"] == "a" else (b, a)
    chance = row["chance"] if row["verdict"] == "a" else 1 - row["chance"]
    return (
        f"{task}: {better} is better than {worse} (p = {row['p_corrected']:.2g}). {_difference(row)} Tuned "
        f"anew with {row['chance_budget']} configurations each, it wins in about {chance:.0%} of studies."
    )


def _difference(row: "dict[Any, Any]") -> str:
    if not math.isfinite(row["effect"]):
        return f"The {row['metric']} of one of them is infinite."
    ends = " to ".join(number(row[end]) if math.isfinite(row[end]) else f"{row[end]:g}" for end in ("low", "high"))
    return (
        f"{row['metric']} of {row['a']} minus {row['b']}: {short(row['effect'])} (95 %: {ends}, {row['seeds']} seeds)."
    )


def _why(row: "dict[Any, Any]") -> str:
    if row["verdict_of_these_configurations"] == UNDECIDED:
        needed = row["seeds_needed"]
        if needed != needed:
            return "The selected configurations do not differ clearly on fresh seeds."
        more = "no number of" if math.isinf(needed) else f"about {needed:,.0f}"
        return (
            f"The selected configurations do not differ clearly on fresh seeds; {more} seeds would find a difference "
            f"of this size. {_difference(row)}"
        )
    side = row["verdict_of_these_configurations"]
    better, chance = row[side], row["chance"] if side == "a" else 1 - row["chance"]
    needed = row["configurations_needed"]
    said = (
        f"The selected configuration of {better} is better on fresh seeds, but tuned anew it would win in about "
        f"{chance:.0%} of studies only, which may be chance"
    )
    if chance <= 0.5 or math.isinf(needed):
        return f"{said}."
    return f"{said}; about {needed:,.0f} configurations of each would tell."


def warnings_of(verdict: Any) -> list[str]:
    """Return what a reader has to know before believing it."""
    return [*_edges(verdict), *_unequal(verdict), *_failed(verdict)]


def _edges(verdict: Any) -> Iterator[str]:
    for task, study in verdict.studies.items():
        for edge in study.edges:
            where = f"{task}: the best configurations of {edge.optimizer} lie at the {edge.end} end of"
            if edge.wider:
                yield (
                    f"{where} the prior of {edge.hyperparameter}. It was widened, and every optimizer drew once more."
                )
            else:
                yield f"{where} the range of {edge.hyperparameter}, so better ones may lie beyond: widen it by priors=."


def _unequal(verdict: Any) -> Iterator[str]:
    for task, study in verdict.studies.items():
        if (taken := unequal_gradients(study.fresh.dataset)) is not None:
            yield f"{task}: budgets are equal in steps, not in gradients: trials take {taken}."


def _failed(verdict: Any) -> Iterator[str]:
    for task, study in verdict.studies.items():
        for optimizer in verdict.optimizers:
            selected_by, _ = study.tuned(optimizer)
            if not any(map(math.isfinite, selected_by)):
                yield f"{task}: every configuration of {optimizer} failed with some tuning seed."


def methods(verdict: Any) -> str:
    """Return the methods paragraph."""
    first = next(iter(verdict.studies.values()))
    tuning, fresh = first.tuning.dataset, first.fresh.dataset
    rows: Any = verdict.rows
    n, chance = int(rows["configurations"].min()), int(rows["chance_budget"].min())
    tasks = "; ".join(
        f"{task} ({budget_of(study.fresh.dataset)}, selected by {study.metric}, compared by {study.reported})"
        for task, study in verdict.studies.items()
    )
    return (
        f"Methods: {len(verdict.optimizers)} optimizers on {_counted(len(verdict.studies), 'task')}: {tasks}. On each "
        f"task, each optimizer was tuned with {n} independent random configurations from its prior (see priors()), "
        f"selected by the mean over {_counted(tuning.sizes['seed'], 'seed')}. The selected configuration was run with "
        f"{fresh.sizes['seed']} fresh seeds, shared by all optimizers, and compared at the end of its own schedule, by "
        "paired differences (t-tests; ranks where scores are infinite or all differences are equal). The luck of "
        "tuning is counted by dividing all configurations anew between two optimizers: would random searches of "
        f"{_counted(chance, 'configuration')} each favour the same one? An optimizer is called better where both "
        "questions are answered alike; the larger p-value counts, corrected by Holm's method over "
        f"{_counted(len(rows), 'comparison')}, so that the chance of any false verdict is at most {verdict.alpha:g}. "
        f"{LIMITS}"
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
