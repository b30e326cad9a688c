"""Markdown files of the repository as pages, and links to files of the repository as links within the site.

Committed pages link to other files of the repository relatively, so that the links work where the source is browsed.
On the site, links to notebooks and to these pages lead to them; a link to any other file outside of docs is its path.
"""

import json
import os
import re
from pathlib import Path

from generated import write

ROOT = Path(__file__).parents[2]
PAGES = {
    "benchmarks.md": "benchmarks/TABLE.md",
    "running_benchmarks.md": "benchmarks/README.md",
    "conformance.md": "jaxopt_lab/verify/optimizers/TABLE.md",
    "theory.md": "jaxopt_lab/verify/theory/TABLE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def relinked(text: str, written: Path, shown: Path) -> str:
    """Return Markdown whose relative links lead to the site's pages.

    Args:
        text: The Markdown.
        written: The folder that its links are relative to.
        shown: The folder of the page that shows it.

    """
    docs, pages = ROOT / "docs", {ROOT / source: ROOT / "docs" / "checks" / page for page, source in PAGES.items()}

    def replace(match: re.Match[str]) -> str:
        image, label, path, anchor = match.groups()
        target = Path(os.path.normpath(written / path))
        if target.is_relative_to(ROOT / "notebooks"):
            target = docs / "notebooks" / target.name
        target = pages.get(target, target)
        if not target.is_relative_to(docs) and target.exists():
            place = target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else path
            plain = label.strip("`")
            return f"`{place}`" if plain == path or plain in place else f"{label} (`{place}`)"
        return f"{image}[{label}]({os.path.relpath(target, shown)}{anchor or ''})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)


def read(app, name, content):
    """Rewrite the links of a page as it is read."""
    place = Path(app.env.doc2path(name))
    if place.suffix == ".md" and place.parent.name not in ("optimizers", "checks", "notebooks"):
        content[0] = relinked(content[0], place.parent, place.parent)


def copy(app):
    """Write the repository's own files and notebooks as pages."""
    checks, notebooks = Path(app.srcdir) / "checks", Path(app.srcdir) / "notebooks"
    write(
        checks,
        {
            page: relinked((ROOT / source).read_text("utf-8"), (ROOT / source).parent, checks)
            for page, source in PAGES.items()
        },
    )
    write(notebooks, {place.name: notebook(place, notebooks) for place in (ROOT / "notebooks").glob("*.ipynb")})


def notebook(place: Path, shown: Path) -> str:
    """Return a notebook whose text, not its code, has its links rewritten."""
    content = json.loads(place.read_text("utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked("".join(cell["source"]), place.parent, shown)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def setup(app):
    app.connect("builder-inited", copy)
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
