"""The page of a comparison: the verdict first, every comparison, linked charts; in a browser where there is one."""

import dataclasses
import json
import warnings

import browser
import numpy as np
import pytest
from test_browser import SCAN, box
from test_page import read

import jaxopt_lab as jl
from jaxopt_lab import formats
from jaxopt_lab.report.page import compared_data
from jaxopt_lab.report.page import verdict as page
from jaxopt_lab.report.page.sections import compared
from jaxopt_lab.statistics import luck

HOSTILE = "</script><img src=x onerror=window.stolen=1>\"'`$&<!--"
NAMES = [HOSTILE, "sgd", "slow"]
TASKS = [HOSTILE, "line"]
CHARTS = ("effects", "sensitivity", "parallel")
CANVASES = f"""JSON.stringify({list(CHARTS)}.map(
  (name) => document.querySelector(`#chart-${{name}} canvas`).toDataURL()))"""
QUIET = "[...document.querySelectorAll('#comparisons-table tbody tr')].map((row) => row.classList.contains('quiet'))"
in_a_browser = pytest.mark.skipif(browser.found() is None, reason="no browser is installed")


@pytest.fixture(scope="module")
def verdict():
    task = jl.tasks.linear_regression()
    ranges = [jl.log(1e-4, 1e3), jl.log(1e-2, 1.0), jl.log(1e-5, 1e-3)]
    priors = {name: {"learning_rate": rates} for name, rates in zip(NAMES, ranges, strict=True)}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", UserWarning)  # of edges
        patch.setattr(luck, "MOST", 500)  # divisions: such clear differences would take all of them
        options = {"steps": 15, "tuning_seeds": 2, "priors": priors, "widen": False}
        return jl.compare(dict.fromkeys(NAMES, jl.gradient_descent), dict.fromkeys(TASKS, task), 16, 3, **options)


@pytest.fixture(scope="module")
def path(verdict, tmp_path_factory):
    return verdict.report(tmp_path_factory.mktemp("page") / "verdict.html")


@pytest.fixture(scope="module")
def opened():
    with browser.Browser(str(browser.found())) as tab:
        yield tab


@pytest.fixture
def tab(opened, path):
    """The page, freshly opened; afterwards, that nothing has failed and no name has become code."""
    opened.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "light"}])
    opened.resize(1200)
    opened.open(path)
    yield opened
    assert opened.run("typeof window.stolen") == "undefined"
    assert opened.problems() == []


def tips(tab, chart):
    """The title and the facts of each tip that a chart shows, with its place."""
    tab.settle()
    box(tab, f"#chart-{chart} canvas")
    found = []
    for text, x, y in tab.run(SCAN.replace("CHART", chart)):
        title, *lines = text.replace("\n\n", "\n").split("\n")
        found.append((title, dict(zip(lines[::2], lines[1::2], strict=True)), x, y))
    return found


def check(tab, *positions):
    """Select the optimizers at these positions alone."""
    boxes = "[...document.querySelectorAll('#optimizers input')]"
    tab.run(f"{boxes}.forEach((box, i) => {{ if (box.checked !== {list(positions)}.includes(i)) box.click(); }})")
    tab.settle()


def listed(tab):
    return set(tab.run("[...document.querySelectorAll('#rows tbody tr')].map((row) => row.cells[1].textContent)"))


def test_the_verdict_comes_first_and_texts_stay_texts(verdict, path):
    found = read(path)
    assert found.words.index("Verdict") < found.words.index("Comparisons") < found.words.index("What was drawn from")
    for row in verdict.rows.to_dict("records"):
        assert f"{row['chance']:.2f}" in found.words
    assert "learning_rate 0.000100 to 1.00e3 (log)".removeprefix("learning_rate ") in found.words
    assert "Holm's method over 6 comparisons" in found.words
    images = found.of("img")
    assert len(images) >= 6
    assert all(image["src"].startswith("data:image/svg+xml;base64,") and image["alt"] for image in images)
    assert found.data["verdict"] == verdict.table().to_csv(index=False)
    assert len(found.raw) == 4  # the style, the data, the charts' library and the page's own script
    assert path.stat().st_size < 3e6


def test_titles_are_checked(verdict, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "SECTIONS", (compared.conclusion,))
    with pytest.raises(TypeError, match="title"):
        verdict.report(tmp_path / "page.html", title=1)
    assert "<h1>A &amp; B</h1>" in verdict.report(tmp_path / "page.html", title="A & B").read_text()


def test_what_the_charts_show_is_what_was_tuned(verdict):
    study = verdict.studies["line"]
    found = compared_data.tuned(study, 1000)
    means = np.concatenate([study.tuned(name)[0] for name in verdict.optimizers])
    shown = [np.inf if value is None else value for value in found["configs"]["median"]]
    np.testing.assert_allclose(shown, means, rtol=1e-4)
    assert not np.isfinite(means).all()
    assert found["configs"]["selected"] == [study.selected[name] for name in verdict.optimizers]
    order = np.argsort(found["configs"]["rank"])
    assert means[order[0]] == means.min()


def test_charts_are_valid_vega_lite(path):
    alt = pytest.importorskip("altair")
    charts = read(path).data["charts"]
    assert set(charts) == {f"{i} {name}" for i in range(2) for name in ("effects", "sensitivity 0", "parallel")}
    for spec in charts.values():
        alt.LayerChart.from_dict(spec, validate=True)


def test_a_small_page_keeps_the_best_and_the_selected(verdict):
    study = verdict.studies["line"]
    found = compared_data.tuned(study, 4)["configs"]
    assert len(found["number"]) == 4 * len(NAMES)
    assert [found["number"][at] for at in found["selected"]] == [study.selected[name] for name in verdict.optimizers]
    for i, name in enumerate(verdict.optimizers):
        kept = [n - 16 * i for n, at in zip(found["number"], found["optimizer"], strict=True) if at == i]
        assert set(np.argsort(study.tuned(name)[0], kind="stable")[:2]) <= set(kept)


def test_effects_beyond_the_axis_are_arrows(verdict):
    rows = verdict.rows.copy()
    rows.loc[rows["task"] == "line", ["effect", "low", "high"]] = [[1, 0.5, 2], [np.inf, -np.inf, np.inf], [-1, -2, 0]]
    first, second, third = compared_data.effects(dataclasses.replace(verdict, rows=rows), "line")["rows"]
    assert (first["beyond"], first["effect"]) == ([], 1.0)
    assert (second["beyond"], second["effect"]) == ([-1, 1], None)
    assert second["low"] < third["low"] < first["high"] < second["high"]
    json.dumps([first, second, third], allow_nan=False)


def test_pictures_take_a_bounded_part_of_the_page(verdict, path, monkeypatch):
    images = read(path).of("img")
    monkeypatch.setattr(compared, "PICTURE_BYTES", sum(len(image["src"]) for image in images) // 2)
    body = compared.pictures(verdict).body
    left = len(images) - body.count("<img")
    assert 0 < left < len(images)
    assert f"{left} more pictures are not in the page" in body


@in_a_browser
def test_it_loads_nothing_and_sorts(tab, path):
    assert [address for address in tab.requests() if not address.startswith("data:")] == [path.as_uri()]
    assert tab.run("document.querySelectorAll('.chart canvas').length") == len(CHARTS)
    first = "document.querySelector('#comparisons-table tbody tr').cells[0].textContent"
    by_task = "document.querySelector('#comparisons-table thead button').click()"
    tab.run(by_task)
    before = tab.run(first)
    tab.run(by_task)
    assert tab.run(first) != before
    shown = "[...document.images].filter((image) => image.checkVisibility()).every((image) => image.naturalWidth > 0)"
    assert tab.run(shown)
    assert tab.run("document.querySelectorAll('.pictures .plain').length") == len(TASKS)


@in_a_browser
def test_hover_shows_the_numbers_of_a_pair(tab, verdict):
    found = tips(tab, "effects")
    rows = verdict.rows[verdict.rows["task"] == TASKS[0]]
    assert [title for title, *_ in found] == [f"{a} - {b}" for a, b in zip(rows["a"], rows["b"], strict=True)]
    for (_, facts, *_), row in zip(found, rows.to_dict("records"), strict=True):
        assert facts["a - b, mean"] == compared_data.figure(row["effect"])
        assert facts["verdict"] == row["better"]
        assert facts["fresh seeds"] == "3"


@in_a_browser
def test_hover_shows_a_drawn_configuration(tab, verdict):
    study = verdict.studies[TASKS[0]]
    means = np.concatenate([study.tuned(name)[0] for name in verdict.optimizers])
    found = tips(tab, "sensitivity")
    assert len(found) > 5
    for title, facts, *_ in found:
        config = int(title.removeprefix("Configuration "))
        assert facts["optimizer"] == str(study.tuning.dataset["optimizer"].values[config])
        value = facts[next(name for name in facts if name.endswith("loss"))]
        assert value == formats.number(float(f"{means[config]:.5g}"))
        assert ("★" in facts) == (config in study.selected.values())
    assert any(facts["trials"] == "2 diverged" for _, facts, *_ in found)


@in_a_browser
def test_an_optimizer_is_selected_in_all_charts_and_tables(tab, verdict):
    before = json.loads(tab.run(CANVASES))
    check(tab, 1)
    selected = json.loads(tab.run(CANVASES))
    assert all(a != b for a, b in zip(before, selected, strict=True))
    assert listed(tab) == {"sgd", "sgd ★"}
    alone = [("sgd" not in pair) for pair in zip(verdict.rows["a"], verdict.rows["b"], strict=True)]
    assert tab.run(QUIET) == alone
    check(tab, 1, 2)
    selected = json.loads(tab.run(CANVASES))
    pair = [set(pair) != {"sgd", "slow"} for pair in zip(verdict.rows["a"], verdict.rows["b"], strict=True)]
    assert tab.run(QUIET) == pair
    tab.run("document.getElementById('clear').click()")
    tab.settle()
    assert not any(tab.run(QUIET))
    assert all(a != b for a, b in zip(selected, json.loads(tab.run(CANVASES)), strict=True))


@in_a_browser
def test_a_click_on_a_pair_selects_its_optimizers(tab):
    title, _, x, y = tips(tab, "effects")[-1]
    chosen = "[...document.querySelectorAll('#optimizers input')].map((box) => box.checked)"
    for expected in ([False, True, True], [True, True, True]):
        tab.mouse("mousePressed", x, y)
        tab.mouse("mouseReleased", x, y)
        tab.settle()
        assert title == "sgd - slow"
        assert tab.run(chosen) == expected


@in_a_browser
def test_a_keyboard_selects_the_task(tab, verdict):
    check(tab, 1)
    before = json.loads(tab.run(CANVASES))
    tab.run("document.getElementById('task').focus()")
    tab.key("ArrowDown")
    tab.wait("document.documentElement.dataset.drawn == '2'")
    assert tab.run("document.getElementById('task').selectedOptions[0].textContent") == "line"
    assert json.loads(tab.run(CANVASES)) != before
    assert listed(tab) == {"sgd", "sgd ★"}  # the selected optimizers stay so
    study = verdict.studies["line"]
    stars = "[...document.querySelectorAll('#rows tr')].filter((row) => row.innerText.includes('★'))"
    assert tab.run(f"{stars}.map((row) => Number(row.cells[0].innerText))") == [study.selected["sgd"]]
    assert [title for title, *_ in tips(tab, "effects")][-1] == "sgd - slow"


@in_a_browser
def test_tasks_that_are_changed_in_haste_end_with_the_last(tab, verdict):
    tab.run("""(async () => {
      const task = document.getElementById("task");
      for (const i of [1, 0, 1, 0, 1]) {
        task.selectedIndex = i;
        task.dispatchEvent(new Event("change"));
        await new Promise((done) => setTimeout(done, 15));
      }
    })()""")
    tab.wait("document.documentElement.dataset.drawn == '6'")
    study = verdict.studies["line"]
    found = [int(title.removeprefix("Configuration ")) for title, facts, *_ in tips(tab, "sensitivity") if "★" in facts]
    assert set(found) <= set(study.selected.values())
    assert found
    assert tab.run("document.querySelectorAll('.chart canvas').length") == len(CHARTS)


@in_a_browser
def test_themes_a_phone_and_paper(tab):
    colour, before = "getComputedStyle(document.body).backgroundColor", json.loads(tab.run(CANVASES))
    tab.run("document.getElementById('theme').click()")
    tab.settle()
    assert tab.run(colour) != "rgb(255, 255, 255)"
    assert all(a != b for a, b in zip(before, json.loads(tab.run(CANVASES)), strict=True))
    tab.resize(390, 800)
    tab.settle()
    assert tab.run("document.documentElement.scrollWidth") <= 390
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run(colour) == "rgb(255, 255, 255)"
    visible = "[...document.querySelectorAll('{}')].filter((x) => x.checkVisibility()).length"
    assert tab.run(visible.format("nav, #ranges, .bar, #effects")) == 0
    assert tab.run(visible.format(".pictures .plain img")) == len(TASKS)
    assert tab.run(visible.format("#task")) == 1  # whose draws these are


@in_a_browser
def test_charts_have_names_and_files(tab):
    labels = """[...document.querySelectorAll(".chart")].map((chart) => [chart.getAttribute("role"),
      ...["aria-labelledby", "aria-describedby"].map(
        (name) => document.getElementById(chart.getAttribute(name)).innerText.length > 3)])"""
    assert tab.run(labels) == [["img", True, True]] * len(CHARTS)
    tab.run("window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return 'blob:none'; }; 0")
    tab.run("HTMLAnchorElement.prototype.click = () => {}; 0")
    for i, chart in enumerate(CHARTS):
        tab.run(f"document.querySelector('[data-chart={chart}][data-kind=svg]').click()")
        tab.wait(f"saved.length == {i + 1}")
        svg = tab.run(f"saved[{i}].text()")
        assert svg.startswith("<svg")
        assert "slow" in svg
        assert "<img" not in svg
