"""README's Python blocks run unchanged, in order, in one process; its spec file parses."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_python_blocks_run(tmp_path):
    code = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the median over 5 seeds" in done.stdout
    assert "Holm's method" in done.stdout
    assert "fresh seeds, its mean test loss is" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"rates.pdf", "page.html"}


def test_it_is_one_page():
    assert len(README.read_text().splitlines()) <= 200


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", README.read_text())
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_first_screen_holds_the_two_commands():
    first = README.read_text().splitlines()[:15]
    assert "python -m pip install . && jaxopt-lab run" in first
    assert "python -m pip install -e '.[test]' && pytest" in first


def test_spec_block_is_a_spec():
    from jaxopt_lab.cli.spec import parse

    (text,) = blocks("toml")
    assert parse(text, "README.md").name == "width"


def test_it_is_not_jaxopt():
    assert "affiliated with google/jaxopt" in README.read_text()
