"""The page of a comparison: the verdict first, every comparison, pictures, priors; in a browser where there is one."""

import json
import warnings

import browser
import pytest
from test_page import read

import jaxopt_lab as jl

HOSTILE = "</script><img src=x onerror=window.stolen=1>\"'`$&<!--"


@pytest.fixture(scope="module")
def verdict():
    task = jl.tasks.linear_regression()
    priors = {HOSTILE: {"learning_rate": jl.log(1e-4, 1e-1)}, "sgd": {"learning_rate": jl.log(1e-2, 1.0)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of edges
        options = {"steps": 15, "tuning_seeds": 1, "priors": priors, "widen": False}
        return jl.compare({HOSTILE: jl.sgd, "sgd": jl.sgd}, {HOSTILE: task, "line": task}, 16, 3, **options)


@pytest.fixture(scope="module")
def path(verdict, tmp_path_factory):
    return verdict.report(tmp_path_factory.mktemp("page") / "verdict.html")


def test_the_verdict_comes_first_and_texts_stay_texts(verdict, path):
    page = read(path)
    assert page.words.index("Verdict") < page.words.index("Comparisons") < page.words.index("What was drawn from")
    for row in verdict.rows.to_dict("records"):
        assert f"{row['chance']:.2f}" in page.words
    assert "learning_rate 0.000100 to 0.100 (log)".removeprefix("learning_rate ") in page.words
    assert "Holm's method over 2 comparisons" in page.words
    images = page.of("img")
    assert len(images) >= 6
    assert all(image["src"].startswith("data:image/svg+xml;base64,") and image["alt"] for image in images)
    assert page.data["verdict"] == verdict.table().to_csv(index=False)
    assert len(page.raw) == 3  # the style, the data and the page's own script
    assert path.stat().st_size < 1e6


@pytest.mark.skipif(browser.found() is None, reason="no browser is installed")
def test_it_sorts_in_a_browser_and_nothing_fails(path):
    with browser.Browser(str(browser.found())) as tab:
        tab.resize(1200)
        tab.open(path)
        first = "document.querySelector('#comparisons-table tbody tr').cells[0].textContent"
        by_task = "document.querySelector('#comparisons-table thead button').click()"
        tab.run(by_task)
        before = tab.run(first)
        tab.run(by_task)
        assert tab.run(first) != before
        assert tab.run("String(window.stolen)") == "undefined"
        assert json.loads(tab.run("JSON.stringify([...document.images].map((x) => x.naturalWidth > 0))")) == [
            True
        ] * len(read(path).of("img"))
        assert tab.problems() == []


def test_titles_are_checked(verdict, tmp_path):
    with pytest.raises(TypeError, match="title"):
        verdict.report(tmp_path / "page.html", title=1)
    assert "<h1>A &amp; B</h1>" in verdict.report(tmp_path / "page.html", title="A & B").read_text()
