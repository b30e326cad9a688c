"""`results.diagnose()`: what a sweep shows, in sentences with their evidence, most serious first."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jaxopt_lab.report import diagnosis_search, diagnosis_stability, diagnosis_training
from jaxopt_lab.report.diagnosis_case import LEVELS, Case, Finding, cases, plain
from jaxopt_lab.results.best import where_compared
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.axes import budget

KINDS = (  # in this order among findings of one level
    *("failed", "divergence", "unstable", "slow", "underfitting", "overfitting"),
    *("unconverged", "edge", "undecided", "noisy", "plateau"),
)


class Check(NamedTuple):
    """A check of one optimizer: what it looks for, the function, and why it cannot be made (None where it can)."""

    what: str
    check: Callable[[Case], list[Finding]]
    missing: Callable[[Case], str | None]


def _always(case: Case) -> str | None:
    return None


def _no_best(case: Case) -> str | None:
    return "no configuration has a finite median" if case.best is None else None


def _one_seed(cases: list[Case]) -> str | None:
    known = [case for case in cases if case.best is not None]
    if not known or len(known[0].scores) < 2:
        return "there is one configuration" if known else "no configuration has a finite median"
    return "there is one seed" if known[0].scores.shape[1] < 2 else None


CHECKS = (
    Check("failed trials", diagnosis_search.failed, _always),
    Check("divergence", diagnosis_search.divergence, _always),
    Check("a best value on the edge of its range", diagnosis_search.edge, _no_best),
    Check("slow, unfinished or long finished training", diagnosis_training.progress, diagnosis_training.no_curve),
    Check("underfitting", diagnosis_training.underfitting, diagnosis_training.no_curve),
    Check("overfitting", diagnosis_training.overfitting, diagnosis_training.no_validation),
    Check("instability and noise", diagnosis_stability.stability, _no_best),
)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a sweep shows. Iterating gives the findings; `print` and a notebook show them as a list.

    Attributes:
        subject: What was looked at.
        findings: Most serious first; see `Finding`.
        checked: What was looked for.
        unchecked: What could not be looked for, and why.

    """

    subject: str
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        lines = [self.subject]
        for n, finding in enumerate(self.findings, 1):
            lines += [
                f"{n:>2}. [{finding.level}] {finding.says}",
                *([f"    {finding.advice}"] if finding.advice else []),
            ]
        return "\n".join([*lines, *self._rest()])

    __repr__ = __str__

    def _rest(self) -> list[str]:
        found = [] if self.findings else [f"Nothing found. Checked: {', '.join(self.checked)}."]
        return [*found, *([f"Not checked: {'; '.join(self.unchecked)}."] if self.unchecked else [])]

    def _repr_html_(self) -> str:
        from html import escape

        items = [
            f"<li><b>{escape(f.level)}</b>: {escape(f.says)}{f' <i>{escape(f.advice)}</i>' if f.advice else ''}</li>"
            for f in self.findings
        ]
        listed = f"<ol>{''.join(items)}</ol>" if items else ""
        return f"<p>{escape(self.subject)}</p>{listed}{''.join(f'<p>{escape(line)}</p>' for line in self._rest())}"


@dataclasses.dataclass(frozen=True)
class Diagnose:
    """`results.diagnose`: call it."""

    results: Results

    def __call__(self) -> Diagnosis:
        """Say in plain sentences what the sweep shows of the search, the training and the model.

        It looks for best values on the edge of their range, divergence, slow or unfinished training, under- and
        overfitting, instability, and rankings that seeds do not decide. Checks that the data do not support are
        listed as such: without validation data, overfitting cannot be seen. Except for the search, each optimizer is
        judged by its best configuration. Thresholds are constants of the modules, each with its reason.

        Returns:
            The findings, most serious first.

        """
        return diagnose(self.results)


def diagnose(results: Results) -> Diagnosis:
    """Diagnose a sweep: see `Diagnose.__call__`."""
    found, made, unmade = [], [], {}
    known = cases(results)
    for check in CHECKS:
        for case in known:
            if (why := check.missing(case)) is None:
                found += check.check(case)
                made.append(check.what)
            else:
                unmade.setdefault((check.what, why), []).append(case.name)
    unchecked = [
        f"{what}{'' if len(names) == len(known) else ' of ' + ', '.join(names)} ({why})"
        for (what, why), names in unmade.items()
    ]
    found += diagnosis_search.reference(known) if known[0].complete else []
    if (why := _one_seed(known)) is None:
        found += diagnosis_search.undecided(known)
        made.append("undecided rankings")
    else:
        unchecked.append(f"whether the ranking is decided ({why})")
    order = lambda finding: (LEVELS.index(finding.level), KINDS.index(finding.kind))
    return Diagnosis(
        _subject(results, known[0]), tuple(sorted(found, key=order)), tuple(dict.fromkeys(made)), tuple(unchecked)
    )


def _subject(results: Results, case: Case) -> str:
    dataset = results.dataset
    trials = dataset.sizes["config"] * dataset.sizes["seed"]
    where = where_compared(dataset, case.metric)
    return (
        f"{dataset.attrs['task']}: {trials:,} trials of {budget(dataset)}; each optimizer by its configuration of the "
        f"best median {plain(case.metric)}.{'' if where is None else f' {where}'}"
    )
