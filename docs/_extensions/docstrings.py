"""Docstrings as reStructuredText: the package writes them as plain text, in which formulas contain * and _ and |.

- An indented block after a paragraph, an equation or an example, becomes a literal block.
- `name` in single backticks becomes a link where it names something public, and code otherwise.
- Characters that would be markup outside of these are escaped.
- "See `jaxopt_lab.room.function`" at the end of a summary is followed by what that function's docstring says.
- Signatures show the names of type aliases (`ScalarOrSchedule`), not what these stand for.
"""

import functools
import importlib
import inspect
import re

import jaxopt_lab as jl
from jaxopt_lab import types
from jaxopt_lab.report.diagnosis import Diagnose
from jaxopt_lab.report.page.page import Report
from jaxopt_lab.report.page.verdict import VerdictReport
from jaxopt_lab.report.plots.plots import Plots
from jaxopt_lab.report.plots.verdicts import VerdictPlots
from jaxopt_lab.results.accessors import Accessor
from jaxopt_lab.sweep import arguments, budget, space

NOT_CALLED = [
    f"jaxopt_lab.{name}"
    for name in (
        *("Best", "Confirmation", "Forecast", "Judgement", "Progress", "Rerun", "Results", "Rung", "Verdict"),
        "diagnostics.noise_scale",
    )
]  # the package makes or calls these itself: their pages need no arguments
MODULES = ("schedules", "tasks", "plots")
SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes|Columns):$")
SEE = re.compile(r"(?:: see|\. See) `(jaxopt_lab\.[\w.]+)`\.$")
CODE = re.compile(r"`([^`]+)`")
SPECIAL = re.compile(r"\\|\*|\||(?<=\w)_(?!\w)")
EMPHASIS = re.compile(r"(?<![\w*])\*([A-Za-z][A-Za-z ]*)\*(?![\w*])")
ALIASES = {
    "OptimizerFactory": types.OptimizerFactory,
    "ScalarOrSchedule": types.ScalarOrSchedule,
    "Scalar": types.Scalar,
    "Optimizer": types.Optimizer,
    "ExtraArgsOptimizer": types.ExtraArgsOptimizer,
    "Optimizers": arguments.Optimizers,
    "Budget": budget.Budget,
    "Space": space.Space,
}


def public_names() -> dict[str, str]:
    """Return every public name of the package, as users write it after `jl.`, and its full name in the reference."""
    own = {name: value for name, value in vars(jl).items() if not name.startswith("_") and name != "TYPE_CHECKING"}
    names = {name: f"jaxopt_lab.{name}" for name, value in own.items() if not inspect.ismodule(value)}
    for module in MODULES:
        for name, value in vars(getattr(jl, module)).items():
            if inspect.isfunction(value) and not name.startswith("_") and value is not own.get(name):
                names[f"{module}.{name}"] = f"jaxopt_lab.{module}.{name}"
    for owner in (jl.Results, jl.Verdict):
        names |= {f"{owner.__name__}.{name}": f"jaxopt_lab.{owner.__name__}.{name}" for name in _methods(owner)}
    for owner, pictures in ((jl.Results, Plots), (jl.Verdict, VerdictPlots)):
        inside = f"{owner.__name__}.plot"
        names |= {f"{inside}.{name}": f"jaxopt_lab.{inside}.{name}" for name in _methods(pictures)}
    return names


def _methods(owner: type) -> list[str]:
    """Return the names of a class's public methods, also of those that other parts of the package register."""
    public = {name: value for name, value in vars(owner).items() if not name.startswith("_") and name != "plot"}
    return [name for name, value in public.items() if inspect.isfunction(value) or isinstance(value, Accessor)]


NAMES = public_names()


def code(match: re.Match[str]) -> str:
    """Return what was in single backticks as a link where it names something public, else as code."""
    text = match[1]
    name = re.sub(r"^(jl|jaxopt_lab)\.|\(.*\)$|\(\.\.\.\)$", "", text)
    asked = text.startswith(("jl.", "jaxopt_lab.")) or "." in name
    if asked and name in NAMES and "(" not in text:
        return f":py:obj:`{text} <{NAMES[name]}>`"
    return f"``{text}``"


def prose(line: str) -> str:
    """Return a line of text with its code marked and everything else escaped."""
    parts = re.split(r"(`[^`]+`)", line)
    for i, part in enumerate(parts):
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            parts[i] = CODE.sub(code, part)
        else:
            kept = re.split(r"((?<![\w*])\*[A-Za-z][A-Za-z ]*\*(?![\w*]))", part)
            parts[i] = "".join(p if EMPHASIS.fullmatch(p) else SPECIAL.sub(r"\\\g<0>", p) for p in kept)
    return "".join(parts)


def restructured(lines: list[str]) -> list[str]:
    """Return a docstring's lines as reStructuredText; sections stay as Napoleon reads them."""
    on_one_line = lambda match: re.sub(r"\s*\n\s*", " ", match[0])  # code that is broken over two lines
    paragraphs = re.split(r"(\n\s*\n)", "\n".join(lines))
    source = "".join(CODE.sub(on_one_line, paragraph) for paragraph in paragraphs).split("\n")
    found, section, i = [], False, 0
    while i < len(source):
        line = source[i]
        if SECTION.match(line):
            section = line != "Columns:"
            found.append(line)
        elif not section and line.startswith("    ") and (i == 0 or not source[i - 1].strip()):
            block = []
            while i < len(source) and (source[i].startswith("    ") or not source[i].strip()):
                block.append(source[i])
                i += 1
            while block and not block[-1].strip():
                block.pop()
            language = (
                "python"
                if re.search(
                    r"\bjl\.\w+\(|^\s+\w+ = \w+\(|^\s+(results|verdict)\.|^\s+def |^\s+trajectories\(", "\n".join(block)
                )
                else "none"
            )
            found += [f".. code-block:: {language}", "", *block, ""]
            continue
        else:
            if line and not line[0].isspace() and not SECTION.match(line):
                section = False
            found.append(prose(line))
        i += 1
    return found


def completed(name: str, lines: list[str]) -> list[str]:
    """Return a docstring that says "see `another`" with what the other one says, but for what a method has already."""
    found = SEE.search(lines[0]) if lines else None
    if found is None:
        return lines
    other = _documented(found[1], name.rpartition(".")[2])
    if other is None:
        return lines
    text = inspect.cleandoc(other.__doc__ or "")
    text = re.sub(r"(?m)^    (results|dataset|rows|alpha): .*\n(?:        .*\n)*", "", text)
    text = re.sub(r"(?m)^Args:\n\n", "", text)
    _, _, more = text.partition("\n\n")
    if any(line.startswith("Args:") for line in lines):
        more = more.partition("Args:")[0]
    return [SEE.sub(".", lines[0]), "", *more.split("\n"), *lines[1:]]


def _documented(path: str, method: str):
    """Return the function that a docstring names: itself, or one of a module that has the method's name."""
    for module, name in ((path, method), path.rsplit(".", 1)):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if inspect.isfunction(found):
            return found
    return None


def process_docstring(app, what, name, obj, options, lines):
    lines[:] = restructured(completed(name, lines))


@functools.cache
def _shown() -> list[tuple[str, str]]:
    """Return how autodoc writes each alias out, the longest first, and the link that takes its place."""
    from sphinx.util.typing import stringify_annotation  # the tests of this module need no Sphinx

    written = {stringify_annotation(alias, "smart"): f"~jaxopt_lab.types.{name}" for name, alias in ALIASES.items()}
    return sorted(written.items(), key=lambda pair: -len(pair[0]))


SHORTER = [
    ("<factory>", "{}"),
    (r"Callable\[\[\.\.\.\], ", "Callable[..., "),
    (r"~?jaxtyping\.\w+\[~?[\w.]*Array, '[^']*'\]|Float\[~?[\w.]*Array, '[^']*'\]", "~jax.Array"),
    (r"~jax\.jaxlib\._jax\.Array|~jaxlib\._jax\.Array|~jax\._src\.basearray\.Array", "~jax.Array"),
    (r"'(Axes|pd\.DataFrame|xr\.Dataset|Results)'", r"\1"),
]


def process_signature(app, what, name, obj, options, signature, returns):
    """Write type aliases by name."""

    def short(text):
        for written, alias in _shown():
            text = text.replace(written, alias)
        for pattern, replacement in SHORTER:
            text = re.sub(pattern, replacement, text)
        return text

    if signature is None:
        return None
    if name in NOT_CALLED:
        return "", None
    returns = short(returns) if returns else returns
    return short(signature), "~jaxopt_lab.types.Schedule" if ".schedules." in name and returns else returns


def show_accessors() -> None:
    """Put in place of accessors, which make an object from an instance, what they lead to: autodoc then shows it."""
    jl.Results.plot, jl.Verdict.plot = Plots, VerdictPlots
    jl.Results.diagnose, jl.Results.report = Diagnose.__call__, Report.__call__
    jl.Verdict.report = VerdictReport.__call__


def setup(app):
    from sphinx.domains.python import PyObject

    show_accessors()
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", process_docstring, priority=400)  # before Napoleon
    app.connect("autodoc-process-signature", process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
