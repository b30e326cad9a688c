"""What is needed to repeat the sweep: problem, spaces, seeds, options, versions, device."""

import json
from typing import Any

from jaxopt_lab.formats import seconds
from jaxopt_lab.report.page.document import Section
from jaxopt_lab.report.page.markup import Html, el, joined
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.axes import budget

OPTIONS = ("target", "tolerance", "diverged_above", "nonfinite", "stop", "keep", "kept_configs")
LARGE = 200_000  # characters of an attribute that is not put into the page
MOST_SEEDS = 20


def repeat(results: Results) -> Section:
    """List what the results record of their own making; all of it can be downloaded."""
    attrs, dataset = results.dataset.attrs, results.dataset
    rows: list[tuple[str, Any]] = [
        ("Task", _task(attrs)),
        ("Budget", budget(dataset)),
        ("Seeds", _seeds(dataset["seed"].values.tolist())),
        ("Spaces", _spaces(attrs)),
        *((name.replace("_", " ").capitalize(), str(attrs[name])) for name in OPTIONS if name in attrs),
        ("Precision", str(attrs["dtype"])),
        ("Device", f"{attrs['device']}, {attrs['platform']}"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in {"Python": attrs["python"], **_json(attrs, "versions")}.items())),
        ("Created", str(attrs["created"])),
        ("Time", f"{seconds(attrs['compile_seconds'])} to compile, {seconds(attrs['run_seconds'])} to run"),
    ]
    listed = el("dl", [joined([el("dt", name), el("dd", value)]) for name, value in rows])
    again = joined(
        [
            el("p", "One trial again, its parameters and the loss at every step:"),
            el("pre", el("code", f"jl.rerun(results, config={int(dataset['config'].values[0])}, seed="
                                 f"{int(dataset['seed'].values[0])})")),
        ]
    )  # fmt: skip
    large = [name for name, value in attrs.items() if isinstance(value, str) and len(value) > LARGE]
    kept = {name: value for name, value in attrs.items() if name not in large}
    note = f"Too large for the page, in dataset.attrs alone: {', '.join(large)}." if large else None
    return Section(
        "repeat",
        "To repeat it",
        joined([listed, again, el("p", note, class_="note") if note else None]),
        {"attributes": json.dumps(kept, indent=1, default=_plain)},
    )


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _json(attrs: dict[str, Any], name: str) -> dict[str, Any]:
    return json.loads(attrs.get(name, "{}"))


def _task(attrs: dict[str, Any]) -> Html:
    arguments = ", ".join(f"{name}={value!r}" for name, value in _json(attrs, "task_arguments").items())
    if attrs.get("task_function"):
        return el("code", f"jl.tasks.{attrs['task_function']}({arguments})")
    return joined([el("code", attrs["task"]), " (not one of jl.tasks: its code is needed)"])


def _seeds(seeds: list[int]) -> str:
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    more = f", ... ({len(seeds)} seeds)" if len(seeds) > MOST_SEEDS else ""
    return ", ".join(map(str, seeds[:MOST_SEEDS])) + more


def _spaces(attrs: dict[str, Any]) -> Html:
    spaces = _json(attrs, "space")
    lines = [
        el(
            "li",
            el("strong", name),
            f" ({space['kind']}): ",
            el("code", json.dumps(space["space"], ensure_ascii=False)),
        )
        for name, space in spaces.items()
    ]
    return el("ul", lines, class_="spaces")
