"""The selected configurations as a table: the charts' content for a screen reader and a keyboard."""

from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.results.results import Results


def configurations(results: Results) -> Section:
    """Make room for the table, which scripts fill with the selected configurations, best first."""
    said = "The selected configurations, best first. A number marks its configuration in all charts."
    return Section("configurations", "Configurations", table(said))


def table(said: str) -> Html:
    """Make room for the table, below what is said of it."""
    rows = el(
        "table", el("caption", "", id="rows-said"), el("thead"), el("tbody"), id="rows", aria_describedby="rows-said"
    )
    body = joined(
        [
            el("p", said),
            el("div", rows, class_="wide", tabindex="0", role="group", aria_label="Selected configurations"),
            el("p", el("button", "Show more", type="button", id="more"), class_="buttons"),
        ]
    )
    return el("div", body, class_="script")
