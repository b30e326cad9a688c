"""Diagnosis of the search: the range that was tried, divergence, and whether the ranking is decided."""

import inspect
import math
from typing import NamedTuple

import numpy as np

from jaxopt_lab.formats import short
from jaxopt_lab.labels import distinct, narrowed
from jaxopt_lab.report.diagnosis_case import NOTE, SERIOUS, WARNING, Case, Finding, counted, percent, plain
from jaxopt_lab.results.score import hyperparameters, on_edge
from jaxopt_lab.statistics.pairs import Pair, paired, seeds_needed
from jaxopt_lab.tasks.about import ABOUT
from jaxopt_lab.tasks.names import TASK_PREFIX

NEAR = 3.0  # a best rate this close below one that diverged: rates of a search are about half a decade apart
OFTEN = 0.5  # the share of diverged trials from which on most of the budget was lost
WIDE = 10.0  # largest to smallest value from which on a range is taken for a logarithmic one
BEYOND = 10.0  # a decade further: what to try beyond the end of a logarithmic range
ALPHA = 0.05  # the usual level, for a ranking


def edge(case: Case) -> list[Finding]:
    """Report hyperparameters whose best value is the least or the greatest that was tried."""
    if case.best is None:
        return []
    found = [_edge(case, name, case.best) for name in on_edge(case.dataset, case.best)]
    return [finding for finding in found if finding is not None]


def _edge(case: Case, name: str, best: int) -> Finding | None:
    column = hyperparameters(case.dataset)[name]
    tried = distinct(narrowed(column[case.rows]))[0]
    value, top = float(column[best]), bool(column[best] == tried[-1])
    if value == 0 and tried[0] == 0:  # a natural end: no momentum, no weight decay
        return None
    within = case.rows[[column[row] != value for row in case.rows]]
    rival = within[np.argmin(np.median(case.scores[within], axis=1))]
    ties = False
    if len(case.scores[best]) > 1 and np.isfinite(case.scores[[best, rival]]).all():
        d = case.scores[rival] - case.scores[best]
        ties = d.mean() <= d.std(ddof=1) / math.sqrt(len(d))
    said = f"{case.name}: the best {plain(name)}, {short(value)}, is the {'largest' if top else 'smallest'} tried"
    evidence = {"best": value, "smallest": float(tried[0]), "largest": float(tried[-1])}
    if ties:
        said += f", but {short(column[rival])} is as good within the spread over seeds."
        return Finding("edge", said, {**evidence, "rival": float(column[rival])}, "The range need not be wider.", NOTE)
    return Finding(
        "edge", f"{said}: the optimum may lie {'above' if top else 'below'}.", evidence, _further(tried, top)
    )


def _further(tried: np.ndarray, top: bool) -> str:
    """Say which values to try beyond an end of a range."""
    low, high = float(tried[0]), float(tried[-1])
    if _is_logarithmic(tried):
        return f"Try {'up to' if top else 'down to'} {short(high * BEYOND if top else low / BEYOND)}."
    further = 2 * high - float(tried[-2]) if top else 2 * low - float(tried[1])
    if top and high < 1 <= further:  # a momentum or a decay rate
        return f"Try values closer to 1, such as {short(1 - (1 - high) / 2, 4)}."
    if not top and further <= 0 < low:
        return f"Try values between 0 and {short(low)}."
    return f"Try {'up to' if top else 'down to'} {short(further)}."


def _is_logarithmic(tried: np.ndarray) -> bool:
    """Return whether values span a decade, and their ratios are more even than their differences."""
    if tried[0] <= 0 or tried[-1] / tried[0] < WIDE:
        return False
    uneven = lambda gaps: gaps.std() / gaps.mean()
    return bool(uneven(np.diff(np.log(tried))) < uneven(np.diff(tried)))


def divergence(case: Case) -> list[Finding]:
    """Report how many trials diverged, from which learning rate on, and whether the best one is close to that."""
    bad = case.status == "diverged"
    if not bad.any():
        return []
    count, share = int(bad.sum()), float(bad.mean())
    evidence = {"diverged": count, "trials": bad.size, "share": share}
    of_all = f"{count:,} of {counted(bad.size, 'trial')}"
    if case.rates is None:
        if bad.all():
            return [_all_diverged(case, evidence, "")]
        said = f"{case.name}: {of_all} ({percent(share)}) diverged."
        return [*_best_diverged(case), Finding("divergence", said, evidence, "", WARNING if share >= OFTEN else NOTE)]
    some = bad.any(axis=1)
    least = float(case.rates[some].min())
    evidence |= {"least_rate": least}
    if bad.all():
        return [_all_diverged(case, evidence, f", also at the smallest learning rate tried, {short(least)}")]
    said = (
        f"{case.name}: {of_all} ({percent(share)}) diverged, the smallest of their learning rates being {short(least)}"
    )
    if (safe := case.rates[~some]).size:
        evidence["greatest_safe_rate"] = float(safe.max())
        said += f"; the largest rate at which none did is {short(float(safe.max()))}"
    level = WARNING if share >= OFTEN else NOTE
    advice = f"To spend less on them, search below {short(least)}, or stop early (stop=jl.halving(...))."
    return [*_best_diverged(case), *_near(case), Finding("divergence", f"{said}.", evidence, advice, level)]


def _all_diverged(case: Case, evidence: dict[str, float], where: str) -> Finding:
    first = case.dataset["first_bad_step"].transpose("config", "seed").values[case.rows]
    latest = int(first.max())
    said = f"{case.name}: all {counted(first.size, 'trial')} diverged{where}, the last of them at step {latest:,}."
    rate = evidence.get("least_rate")
    advice = "Try smaller learning rates" if rate is None else f"Try learning rates from {short(rate / 1000)} upwards"
    return Finding("divergence", said, {**evidence, "latest": latest}, f"{advice}, or clip gradients.", SERIOUS)


def _best_diverged(case: Case) -> list[Finding]:
    if case.best is None or not (bad := case.best_status == "diverged").any():
        return []
    first = case.dataset["first_bad_step"].transpose("config", "seed").values[case.best]
    count, earliest = int(bad.sum()), int(first[bad].min())
    said = (
        f"{case.best_is}: {count} of {len(bad)} seeds of the best configuration diverged, the first at step "
        f"{earliest:,}: it is best only by the median."
    )
    advice = "Do not rely on it: prefer a smaller learning rate, warm-up or clipped gradients."
    return [Finding("unstable", said, {"diverged": count, "seeds": len(bad), "earliest": earliest}, advice, SERIOUS)]


def _near(case: Case) -> list[Finding]:
    """Report a best learning rate that is close below one that diverged."""
    if case.rates is None or case.best_rate is None:
        return []
    worse = case.rates[(case.status == "diverged").any(axis=1) & (case.rates > case.best_rate)]
    if worse.size == 0 or (factor := float(worse.min()) / case.best_rate) > NEAR:
        return []
    said = (
        f"{case.name}: the best learning rate, {short(case.best_rate)}, is only a factor of {short(factor, 2)} below "
        f"one that diverged, {short(float(worse.min()))}: training is on the edge of instability."
    )
    evidence = {"best": case.best_rate, "diverged": float(worse.min()), "factor": factor}
    advice = "A small change of the problem may make it diverge: prefer a smaller rate, warm-up or clipped gradients."
    return [Finding("unstable", said, evidence, advice, WARNING)]


def failed(case: Case) -> list[Finding]:
    """Report trials whose loss raised an error."""
    bad = case.status == "failed"
    if not bad.any():
        return []
    said = f"{case.name}: {int(bad.sum()):,} of {counted(bad.size, 'trial')} failed: their loss raised an error."
    advice = "The notes of the sweep, dataset.attrs['notes'], have the error."
    return [Finding("failed", said, {"failed": int(bad.sum()), "trials": bad.size}, advice, SERIOUS)]


def undecided(cases: list[Case]) -> list[Finding]:
    """Report where the best optimizer and the next, or its two best configurations, differ by less than chance may."""
    ranked = [case for case in cases if case.best is not None]
    found = [_optimizers(*ranked[:2])] if len(ranked) > 1 else []
    return [f for f in [*found, *([_configurations(ranked[0])] if ranked else [])] if f is not None]


class Lead(NamedTuple):
    """How far the best configuration leads another, in the metric or, over orders of magnitude, its logarithm."""

    pair: Pair
    logarithmic: bool

    @property
    def evidence(self) -> dict[str, float]:
        """The numbers; of logarithms, where the metric spans a decade."""
        named = {"effect": self.pair.effect, "spread": self.pair.spread}
        named = {f"log_{name}": x for name, x in named.items()} if self.logarithmic else named
        return {**named, "p": self.pair.p, "seeds": self.pair.n}

    def __str__(self) -> str:
        seeds = f"over {counted(self.pair.n, 'seed')}"
        if not math.isfinite(self.pair.spread):
            return f"{seeds}, of which some diverged, the median difference is {short(self.pair.effect, 2)}"
        if self.logarithmic:
            mean, spread = math.exp(self.pair.effect), math.exp(self.pair.spread)
            return f"{seeds} they differ by a mean factor of {short(mean, 2)}, which varies by {short(spread, 2)}"
        effect, spread = short(self.pair.effect, 2), short(self.pair.spread, 2)
        return f"{seeds} the mean difference is {effect}, with a standard deviation of {spread}"


def lead(case: Case, row: int) -> Lead | None:
    """Return the lead of the best configuration over another; None where seeds decide it, or there is one alone."""
    ours, theirs = case.scores[case.best], case.scores[row]
    if len(ours) < 2:
        return None
    if np.ptp(ours) == 0 and np.isfinite(theirs).all() and np.ptp(theirs) == 0 and ours[0] != theirs[0]:
        return None  # nothing in them is random
    both = np.concatenate([ours, theirs])
    logarithmic = bool(np.isfinite(both).all() and both.min() > 0 and both.max() >= WIDE * both.min())
    pair = paired(-np.log(ours), -np.log(theirs)) if logarithmic else paired(-ours, -theirs)
    return None if pair.p <= ALPHA else Lead(pair, logarithmic)


def _optimizers(first: Case, second: Case) -> Finding | None:
    if second.best is None or (found := lead(first, second.best)) is None:
        return None
    values = [first.sign * float(np.median(case.scores[case.best])) for case in (first, second)]
    said = (
        f"{first.name} and {second.name}: the ranking is not decided: their best configurations have a median "
        f"{plain(first.metric)} of {short(values[0])} and {short(values[1])}, but {found} "
        f"(p = {short(found.pair.p, 2)})."
    )
    needed = seeds_needed(found.pair.effect, found.pair.spread)
    evidence = {"first": values[0], "second": values[1], **found.evidence, "seeds_needed": needed}
    advice = "Use more seeds (jl.extend), or jl.compare, which also counts the luck of tuning."
    if math.isfinite(needed):
        advice = f"A difference of this size takes about {needed:,.0f} seeds to show. {advice}"
    return Finding("undecided", said, evidence, advice)


def _configurations(case: Case) -> Finding | None:
    others = case.rows[case.rows != case.best]
    if not others.size:
        return None
    second = int(others[np.argmin(np.median(case.scores[others], axis=1))])
    if (found := lead(case, second)) is None or not math.isfinite(found.pair.spread) or found.pair.effect == 0:
        return None
    said = (
        f"{case.best_is}: its lead in {plain(case.metric)} over the second-best configuration "
        f"({case.values_of(second)}) may be chance: {found}."
    )
    advice = "Either may be the better one: to choose between them, use more seeds."
    return Finding("undecided", said, found.evidence, advice, NOTE)


def reference(cases: list[Case]) -> list[Finding]:
    """Report where no optimizer reaches the score that training of a built-in task should reach."""
    case, task = cases[0], cases[0].results.task
    about = None if task is None else ABOUT.get(task.factory)
    if about is None or about.score is None or case.best is None or not has_reference(case):
        return []
    value = case.sign * float(np.median(case.scores[case.best]))
    if case.sign * value <= case.sign * about.score:
        return []
    steps = int(case.dataset.attrs["steps"])
    said = (
        f"{case.best_is}: the best {plain(case.metric)} of the sweep, {short(value)}, falls short of "
        f"{short(about.score)}, which training of this task should reach ({about.reference})."
    )
    advice = "Tune further, or try another optimizer."
    if steps < about.steps:
        advice = f"Train longer: the task's usual budget is {about.steps:,} steps, and these were {steps:,}."
    return [Finding("underfitting", said, {"value": value, "reference": about.score, "steps": steps}, advice)]


def has_reference(case: Case) -> bool:
    """Return whether the task is a built-in one whose score is known: with the arguments that this is known for."""
    task = case.results.task
    if task is None or task.factory is None or (about := ABOUT.get(task.factory)) is None or about.score is None:
        return False
    if any(name.startswith(TASK_PREFIX) for name in hyperparameters(case.dataset)):
        return False
    usual = {name: p.default for name, p in inspect.signature(task.factory).parameters.items()}
    return dict(task.arguments) == usual
