"""The methods: how trials were trained, compared and counted, as a paragraph for a paper."""

import json
from typing import Any

from jaxopt_lab.formats import short
from jaxopt_lab.report.page.data import words
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import el
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import compared, default_metric, greater_is_better
from jaxopt_lab.store.axes import at_point, budget
from jaxopt_lab.trial import RISE

KINDS = {
    "product": "every combination of the values",
    "zipped": "the values side by side",
    "random": "random draws",
    "sobol": "a scrambled Sobol sequence",
}


def methods(results: Results) -> Section:
    """Describe the sweep in a paragraph."""
    return Section("methods", "Methods", el("p", " ".join(paragraph(results))))


def paragraph(results: Results) -> list[str]:
    """Return the sentences of the methods paragraph."""
    dataset, attrs = results.dataset, results.dataset.attrs
    metric, seeds = default_metric(dataset), dataset.sizes["seed"]
    spaces = json.loads(attrs["space"])
    tried = "; ".join(
        f"{name}: {KINDS.get(space['kind'], space['kind'])} of {', '.join(map(words, space['space'])) or 'no values'} "
        f"({int((dataset['optimizer'].values == name).sum()):,} configurations)"
        for name, space in spaces.items()
    )
    plural = "seeds" if seeds > 1 else "seed"
    lines = [
        f"On {attrs['task']}, each configuration was trained for {budget(dataset)} with {seeds} {plural}. "
        "All configurations of a seed start from the same parameters and see the same batches.",
        f"Hyperparameters: {tried}.",
        f"Configurations are ranked by the median over seeds of {words(metric)}, of which "
        f"{'more' if greater_is_better(dataset, metric) else 'less'} is better, {_where(results)}; quartiles are the "
        "nearest ranks. A trial that diverged, failed or was stopped early counts as worst, and is never left out.",
        _divergence(attrs),
        *_options(attrs),
        "An optimizer's best is the best of its configurations on these same seeds, which favours those that tried "
        "more; a comparison on fresh seeds removes this.",
        f"Computed with JAX in {attrs['dtype']} on {attrs['device']}.",
    ]
    return [line for line in lines if line]


def _where(results: Results) -> str:
    at = compared(results.dataset, default_metric(results.dataset))
    return "at the end of training" if at.complete else f"at {at_point(results.dataset, at.step)}"


def _divergence(attrs: dict[str, Any]) -> str:
    bound = attrs.get("diverged_above", "none")
    if bound == "none":
        return "A trial diverges at its first training loss that is not finite."
    above = f"has risen by {short(RISE)} (1 + |first loss|)" if bound == "auto" else f"is above {short(bound)}"
    return f"A trial diverges at its first training loss that is not finite or {above}."


def _options(attrs: dict[str, Any]) -> list[str]:
    said = []
    if "target" in attrs:
        said.append(f"A trial ends once its training loss is at most {short(attrs['target'])}.")
    if "tolerance" in attrs:
        said.append(f"A trial ends once an update is at most {short(attrs['tolerance'])}.")
    if "nonfinite" in attrs:
        said.append(f"Up to {attrs['nonfinite']} non-finite steps in a row are skipped.")
    if "stop" in attrs:
        said.append(f"Trials are stopped early by {attrs['stop']}.")
    if attrs.get("keep", "last") == "best":
        said.append("Parameters are kept of each trial's best evaluated step.")
    return said
