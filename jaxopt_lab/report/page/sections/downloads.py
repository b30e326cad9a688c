"""Downloads: every trial as CSV, and what the results record; each chart has its own figures beside it."""

from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import el, joined
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.written import written_table


def downloads(results: Results) -> Section:
    """Offer the table of trials and the attributes as files."""
    sizes = results.dataset.sizes
    buttons = [
        el("button", f"Table of {sizes['config'] * sizes['seed']:,} trials (CSV)", type="button", data_file="csv"),
        el("button", "All that is recorded (JSON)", type="button", data_file="attributes"),
    ]
    body = joined(
        [
            el("p", "The files are in this page already. Each chart has buttons for its figure as SVG and PNG."),
            el("p", buttons, class_="buttons script"),
        ]
    )
    return Section("downloads", "Downloads", body, {"csv": written_table(results).to_csv(index=False)})
