"""The Python blocks of the pages in docs/ run, in order, in one process for each page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_run(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    for library in set(re.findall(r"^(?:import|from) (flax|equinox|orbax)\b", "\n".join(blocks), re.MULTILINE)):
        pytest.importorskip(library)
    code = "\n".join([f"folder = {str(tmp_path)!r}", *blocks])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
