"""The diagnosis: what a reader should know about the trials, sentence by sentence."""

from collections.abc import Iterable
from typing import Any

from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.results.results import Results


def diagnosis(results: Results) -> Section | None:
    """List the sentences of `results.diagnose()`, where results have it."""
    diagnose: Any = getattr(results, "diagnose", None)
    return None if diagnose is None else diagnosed(diagnose())


def diagnosed(findings: Iterable[object]) -> Section:
    """List findings under the heading of the diagnosis: sentences, or objects that have `says` and `advice`."""
    listed = [el("li", _found(finding), class_=str(getattr(finding, "level", "note"))) for finding in findings]
    body = el("ul", listed, class_="findings") if listed else el("p", "Nothing is conspicuous.")
    return Section("diagnosis", "Diagnosis", body)


def _found(finding: object) -> Html:
    says, advice = str(getattr(finding, "says", finding)), getattr(finding, "advice", None)
    return joined([says, [" ", el("span", str(advice), class_="advice")] if advice else None])
