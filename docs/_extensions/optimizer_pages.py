"""A page for each optimizer and a table of all, made from the registry, the conformance table and the benchmarks."""

import json
import re
from pathlib import Path

from generated import write

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers import table
from jaxopt_lab.verify.optimizers.cases import FAMILIES
from jaxopt_lab.verify.optimizers.conformance import Description, describe

ROOT = Path(__file__).parents[2]
SIZES = {
    "1e+04": "10,000 parameters",
    "1e+06": "1,000,000 parameters",
    "3e+07": "32,000,000 parameters",
    "100 leaves": "100 tensors of 64",
}
FORMS = {"tree": "as a tree", "flat": "with `jl.flat`"}
SPACINGS = {"log": "logarithmic", "linear": "linear", "one_minus": "logarithmic in 1 - value"}


def families() -> dict[str, list[str]]:
    """Return the names of all optimizers by family, in the order of the registry's cases."""
    return {title: [name for name in cases if " " not in name] for title, cases in FAMILIES.items()}


def cells(*texts: str) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"


def priors(name: str) -> list[str]:
    """Return the table of ranges that are worth searching."""
    known = jl.PRIORS.get(jl.OPTIMIZERS[name], {})
    if not known:
        return ["It has no hyperparameter with a prior."]
    lines = ["| hyperparameter | range | spacing | source |", "|---|---|---|---|"]
    for hyperparameter, prior in known.items():
        low_high = f"[{prior.low:g} to {prior.high:g}]{{.on-one-line}}"
        lines.append(cells(f"`{hyperparameter}`", low_high, SPACINGS[prior.spacing], linked(prior.source)))
    return [*lines, "", f"`jl.prior(jl.{name})` is this space, to draw from with `jl.random` or `jl.sobol`."]


def plain(text: str) -> str:
    """Return text whose asterisks outside of code are no markup: formulas have them."""
    return "".join(part if part.startswith("`") else part.replace("*", "\\*") for part in re.split(r"(`[^`]*`)", text))


def linked(text: str) -> str:
    """Return text in which web addresses are links."""
    text = plain(text)
    return " ".join(f"<{w.rstrip(',.;)')}>{w[len(w.rstrip(',.;)')) :]}" if "://" in w else w for w in text.split(" "))


def speeds(name: str) -> list[str]:
    """Return the table of an update's cost beside Optax's, where it was measured."""
    measured = json.loads((ROOT / "benchmarks" / "results" / "update-cpu.json").read_text())
    rows = []
    for problem, size in SIZES.items():
        ratios = measured["figures"].get(name, {}).get(problem, {}).get("ratio", {})
        for form, called in FORMS.items():
            if form in ratios:
                rate = ratios[form]
                low, high = rate.get("low", rate["least"]), rate.get("high", rate["most"])
                rows.append(cells(size, called, f"{rate['median']:.2f}", f"[{low:.2f} to {high:.2f}]{{.on-one-line}}"))
    if not rows:
        return ["Its update has not been timed: Optax has no such method, or none that takes the same arguments."]
    machine = measured["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    return [
        "Rate of the update alone, with Optax's at 1; above 1 is faster.",
        "",
        "| size | parameters held | rate | 95 % interval |",
        "|---|---|--:|--:|",
        *rows,
        "",
        f"Measured by `benchmarks/update/update.py` on {machine['cores']} CPU cores ({versions}). "
        "[](../guide/update.md) says what decides the speed of an update.",
    ]


def witnesses(said: Description, figures: dict[str, table.Shown]) -> list[str]:
    """Return who agrees with the method, how closely, and what was decided where sources differ."""
    lines = [f"- {linked(witness)}" for witness in said.witnesses]
    seen = figures.get(said.name)
    if seen:
        found = {
            "from Optax's step, float64": seen.step64,
            "from Optax's step, float32": seen.step32,
            "from recorded runs, float64": seen.recorded,
        }
        lines += ["", "| largest relative difference | rounded up |", "|---|--:|"]
        lines += [cells(what, figure) for what, figure in found.items() if figure]
    if said.wide_bounds:
        lines += ["", f"Wider bounds than usual: {plain('; '.join(said.wide_bounds))}."]
    lines += ["", "### Conventions", ""]
    if said.defect:
        lines += [f"**{plain(said.defect)}** Ours follows the paper and the authors.", ""]
    lines += [linked(said.conventions) or ("" if said.defect else "The sources agree.")]
    if said.not_traced:
        lines += ["", "A program is compiled for each value of some numbers:", ""]
        lines += [f"- `{argument}`: {plain(why)}" for argument, why in said.not_traced.items()]
    return lines


def page(name: str, said: Description, figures: dict[str, table.Shown]) -> str:
    """Return an optimizer's page in MyST Markdown."""
    space = f"jl.random(jl.prior(jl.{name}), n=16, key=0)" if jl.PRIORS[jl.OPTIMIZERS[name]] else "{}"
    return "\n".join(
        [
            f"# {name}",
            "",
            "```{eval-rst}",
            f".. autofunction:: jaxopt_lab.{name}",
            "```",
            "",
            "## Sweep it",
            "",
            "```python",
            f"space = {space}",
            f'results = jl.sweep(jl.{name}, "digits_mlp", space, steps=200, seeds=3)',
            "```",
            "",
            "## Ranges worth searching",
            "",
            *priors(name),
            "",
            "## Witnesses",
            "",
            *witnesses(said, figures),
            "",
            "## Memory and speed",
            "",
            f"State: {table.per_parameter(said.state_bytes)} bytes per parameter of a large float32 matrix.",
            "",
            *speeds(name),
            "",
        ]
    )


def index(described: dict[str, Description], figures: dict[str, table.Shown]) -> str:
    """Return the page with the table of all optimizers, by family."""
    lines = [
        "# All optimizers",
        "",
        f"{len(described)} methods, each a pure `(init, update)` pair in Optax's form.",
        "",
        "- *state*: bytes per parameter of a large float32 matrix.",
        "- *float64*: the largest relative difference of a step from Optax's, rounded up to a power of ten.",
        "- *records*: the same from recorded runs of PyTorch or of the authors' code.",
        "- An asterisk marks methods where Optax departs from the paper; the method's page says how.",
        "",
        "How they are checked: [](../guide/optimizers.md).",
        "",
    ]
    for family, names in families().items():
        lines += [f"## {family}", "", "| optimizer | method | state | float64 | records |", "|---|---|--:|--:|--:|"]
        for name in names:
            said, seen = described[name], figures.get(name, table.Shown("", "", "", False))
            star = "\\*" if said.defect else ""
            size = table.per_parameter(said.state_bytes)
            lines.append(cells(f"[`{name}`]({name}.md){star}", said.paper, size, seen.step64, seen.recorded))
        lines.append("")
    lines += ["```{toctree}", ":hidden:", "", *sorted(described), "```", ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    text = (Path(table.__file__).parent / "TABLE.md").read_text("utf-8")
    figures, _ = table.read(text)
    described = {name: describe(name) for name in jl.OPTIMIZERS}
    return {"index.md": index(described, figures)} | {
        f"{name}.md": page(name, said, figures) for name, said in described.items()
    }


def setup(app):
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "optimizers", pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
