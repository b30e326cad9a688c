"""The selected configurations as a table: the charts' content for a screen reader and a keyboard."""

from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import el, joined
from jaxopt_lab.results.results import Results


def configurations(results: Results) -> Section:
    """Make room for the table, which scripts fill with the selected configurations, best first."""
    table = el(
        "table", el("caption", "", id="rows-said"), el("thead"), el("tbody"), id="rows", aria_describedby="rows-said"
    )
    body = joined(
        [
            el("p", "The selected configurations, best first. A number marks its configuration in all charts."),
            el("div", table, class_="wide", tabindex="0", role="group", aria_label="Selected configurations"),
            el("p", el("button", "Show more", type="button", id="more"), class_="buttons"),
        ]
    )
    return Section("configurations", "Configurations", el("div", body, class_="script"))
