"""The version in pyproject.toml is also that of the citation and of the changelog."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_citation_has_the_version():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_changelog_begins_with_the_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(.+?)\]", text, re.MULTILINE)[1]
    planned = re.search(r"^To be released as (\S+)\.$", text, re.MULTILINE)
    assert (planned[1] if newest == "Unreleased" and planned else newest) == VERSION
