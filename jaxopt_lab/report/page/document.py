"""The document: sections, style and scripts in one HTML file that a strict policy lets do nothing else."""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.resources
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxopt_lab.cache_folder import cache_folder
from jaxopt_lab.report.page.markup import Html, el, joined

SCRIPTS = (
    "format",
    "state",
    "heat",
    "charts",
    "pointer",
    "controls",
    "tables",
    "compare",
    "start",
)  # in the order in which they run
GENERATOR = "jaxopt_lab"


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        id: Its anchor; empty for one without a heading, which is then not in the list of contents.
        title: Its heading.
        body: Its content.
        data: What its scripts read, by name; names that several sections give must have the same value.
        charts: Vega-Lite specifications, by name.

    """

    id: str
    title: str
    body: Html
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    charts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def document(title: str, sections: Sequence[Section]) -> str:
    """Return a page of the sections, in their order.

    The page runs its own scripts alone, by their hashes, and loads nothing: see the policy in its head.
    """
    data: dict[str, Any] = {}
    charts: dict[str, Any] = {}
    for section in sections:
        data |= section.data
        charts |= section.charts
    style = _asset("style.css")
    scripts = [*([library()] if charts else []), own_script()]
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(map(_hash, scripts)),
        "style-src": _hash(style),
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    head = [
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content="; ".join(f"{k} {v}" for k, v in policy.items())),
        el("meta", name="generator", content=GENERATOR),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", Html(style)),
    ]
    contents = [el("li", el("a", section.title, href=f"#{section.id}")) for section in sections if section.id]
    body = [
        el("a", "Skip to the results", class_="skip", href="#main"),
        el(
            "header",
            el("h1", title),
            el("button", "Dark theme", type="button", id="theme", class_="script"),
            el("nav", el("ul", contents), aria_label="Contents"),
        ),
        el("main", [_section(section) for section in sections], id="main", tabindex="-1"),
        el("noscript", el("p", "Charts and controls need JavaScript; words and tables do not.")),
        el("div", id="tip", role="tooltip", hidden=True),
        el("script", Html(embedded({**data, "charts": charts})), type="application/json", id="data"),
        [el("script", Html(script)) for script in scripts],
    ]
    return f"<!doctype html>\n{el('html', el('head', head), el('body', body), lang='en')}\n"


def embedded(value: Any) -> str:
    """Return JSON that may stand inside a script element, whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script. Making it takes seconds, so it is kept on disk."""
    import vl_convert

    folder = cache_folder()
    name = f"charts-{importlib.metadata.version('vl-convert-python')}.js"
    if folder is not None and (kept := _kept(folder / name)) is not None:
        return kept
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    if folder is not None:
        _keep(folder / name, script)
    return script


def _kept(path: Path) -> str | None:
    """Return a script that was kept, where it is whole: its first line is the digest of the others."""
    try:
        first, _, script = path.read_bytes().decode("utf-8").partition("\n")
    except (OSError, ValueError):
        return None
    return script if first == f"// {_hash(script)}" else None


def _keep(path: Path, script: str) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written is none
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        temporary.write_bytes(f"// {_hash(script)}\n{script}".encode())
        temporary.replace(path)


@functools.cache
def own_script() -> str:
    """Return the page's own scripts as one, in a scope of their own."""
    return f'(() => {{\n"use strict";\n{"".join(_asset(f"{name}.js") for name in SCRIPTS)}}})();\n'


def _section(section: Section) -> Html:
    if not section.id:
        return section.body
    heading = el("h2", section.title, id=f"{section.id}-title")
    return el("section", joined([heading, section.body]), id=section.id, aria_labelledby=f"{section.id}-title")


@functools.cache
def _asset(name: str) -> str:
    return (importlib.resources.files("jaxopt_lab.report.page") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
