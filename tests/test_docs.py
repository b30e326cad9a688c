"""The site: Python blocks of the guide and the how-to pages run unchanged, and the reference has every public name."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import jaxopt_lab as jl

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    [*(page for part in ("guide", "howto", "reference") for page in DOCS.glob(f"{part}/*.md")), DOCS / "index.md"]
)
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


def test_every_public_name_has_an_example_that_runs():
    """The pages of optimizers have theirs; docs/models.md, whose blocks run with its tests, has those of models."""
    code = "\n".join(BLOCK.findall("\n".join(page.read_text() for page in [*RUN, DOCS / "models.md"])))
    names = {
        n for n, x in vars(jl).items() if not n.startswith("_") and n not in jl.OPTIMIZERS and not inspect.ismodule(x)
    }
    assert {name for name in names - {"TYPE_CHECKING"} if f"jl.{name}" not in code} == set()


def test_the_table_of_exit_statuses_is_the_programs_own():
    from jaxopt_lab.cli.failing import STATUSES

    text = (DOCS / "guide" / "command_line.md").read_text()
    assert re.findall(r"^\| (\d+) \| (.*) \|$", text, re.M) == [(str(n), says) for n, says in STATUSES.items()]


def test_the_spec_file_is_one():
    from jaxopt_lab.cli.spec import parse

    (text,) = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "guide" / "command_line.md").read_text(), re.DOTALL | re.M)
    assert parse(text, "command_line.md").name == "width"


@pytest.fixture
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_extensions")


def documented():
    """Return the full names that the reference and the pages of optimizers document."""
    import optimizer_pages

    texts = [page.read_text() for page in DOCS.glob("reference/*.md")] + list(optimizer_pages.pages().values())
    found = set()
    for text in texts:
        found |= set(re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)", text, re.MULTILINE))
        for module in re.findall(r"^\.\. automodule:: (\S+)\n   :members:", text, re.MULTILINE):
            members = vars(importlib.import_module(module))
            found |= {f"{module}.{name}" for name, value in members.items() if inspect.isfunction(value)}
    return found


def test_every_public_name_is_in_the_reference(extensions):
    import docstrings

    names = docstrings.public_names()
    assert {"sweep", "schedules.cosine", "tasks.digits_mlp", "Results.best", "Results.to_csv"} <= names.keys()
    assert {"Results.plot.sensitivity", "Verdict.plot.effects", "Results.diagnose", "plots.basins"} <= names.keys()
    assert set(names.values()) - documented() == set()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Steps of `learning_rate` * m_ and |g|.", r"Steps of ``learning_rate`` \* m\_ and \|g\|."),
        ("See `jl.sweep`.", "See :py:obj:`jl.sweep <jaxopt_lab.sweep>`."),
        ("As `a, a\nb` and `c`.", "As ``a, a b`` and ``c``."),
        ("Adam.\n\n    m <- b1 * m\n\nArgs:\n    b1: A number.", None),
    ],
)
def test_docstrings_become_restructured_text(extensions, written, shown):
    import docstrings

    found = docstrings.restructured(written.split("\n"))
    if shown is None:
        assert found[2:5] == [".. code-block:: none", "", "    m <- b1 * m"]
        assert found[-2:] == ["Args:", "    b1: A number."]
    else:
        assert "\n".join(found) == shown


def test_every_optimizer_has_a_page_a_family_and_a_space(extensions):
    import optimizer_pages

    pages, families = optimizer_pages.pages(), optimizer_pages.families()
    assert sorted(name for names in families.values() for name in names) == sorted(jl.OPTIMIZERS)
    assert pages.keys() == {"index.md", *(f"{name}.md" for name in jl.OPTIMIZERS)}
    for name, factory in jl.OPTIMIZERS.items():  # what the page's example draws from is enough to make the optimizer
        factory(**{hyperparameter: prior.low for hyperparameter, prior in jl.PRIORS[factory].items()})
        assert f"jl.prior(jl.{name})" in pages[f"{name}.md"]


def test_links_to_the_repositorys_files_lead_to_pages_of_the_site(extensions):
    from repository_pages import ROOT, relinked

    text = (
        "[a](../models.md) [b](../../benchmarks/TABLE.md#x) [c](../../notebooks/01_first_run.ipynb) [d](https://x.org)"
    )
    shown = relinked(text, ROOT / "docs" / "guide", ROOT / "docs" / "guide")
    a, b, c, d = shown.split(" ")
    assert [a, b, d] == ["[a](../models.md)", "[b](../checks/benchmarks.md#x)", "[d](https://x.org)"]
    assert c == "[c](../notebooks/01_first_run.ipynb)"
    code = "```python\nf[0](x)\n```"
    assert relinked(code, ROOT, ROOT) == code
    assert relinked("[`LICENSE`](../LICENSE)", ROOT / "docs", ROOT / "docs") == "`LICENSE`"
