"""The Python blocks of the guide and of the how-to pages run unchanged; spec files parse."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted([*DOCS.glob("guide/*.md"), *DOCS.glob("howto/*.md"), DOCS / "index.md"])
BLOCK = re.compile(r"^```(?:python|\{code-cell\})\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUN = [page for page in PAGES if BLOCK.search(page.read_text())]


def named(page):
    return page.relative_to(DOCS).with_suffix("").as_posix()


@pytest.mark.parametrize("page", RUN, ids=named)
@pytest.mark.filterwarnings("ignore::UserWarning")  # verdicts of small budgets warn, as they should
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    defined = {}
    for number, block in enumerate(BLOCK.findall(page.read_text()), 1):
        exec(compile(block, f"{named(page)}, block {number}", "exec"), defined)


def test_every_how_to_page_has_code():
    without = {named(page) for page in PAGES if page.parent.name == "howto"} - {named(page) for page in RUN}
    assert without == {"howto/index"}


def test_the_spec_file_is_one():
    from jaxopt_lab.cli.spec import parse

    (text,) = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "guide" / "command_line.md").read_text(), re.DOTALL | re.M)
    assert parse(text, "command_line.md").name == "width"
