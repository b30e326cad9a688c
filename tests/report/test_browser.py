"""The page in a browser: nothing fails, and hover, selection, sliders, sorting, themes and files work."""

import csv
import io
import json
from importlib.resources import files

import browser
import jax
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab import formats
from jaxopt_lab.report.page.page import Report
from jaxopt_lab.results.written import written_table

PATH = browser.found()
pytestmark = pytest.mark.skipif(PATH is None, reason="no browser is installed")

HOSTILE = "</script><img src=x onerror=window.stolen=1>\"'`$&<!--"
CANVASES = """JSON.stringify(["sensitivity", "curves", "parallel", "heatmap"].map(
  (name) => document.querySelector(`#chart-${name} canvas`).toDataURL()))"""
SCAN = """(() => {
  const canvas = document.querySelector("#chart-CHART canvas");
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const found = new Map();
  for (let i = 1; i < 40; i += 1) for (let j = 1; j < 20; j += 1) {
    const [x, y] = [left + (i / 40) * width, top + (j / 20) * height].map(Math.round);
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y, bubbles: true }));
    if (!tip.hidden) found.set(tip.innerText, [tip.innerText, x, y]);
  }
  return [...found.values()];
})()"""  # the tips of a chart, each with a place where it is shown
SEEDS = 3


@pytest.fixture(scope="module")
def swept():
    """Momentum over three hyperparameters, of which large rates diverge, and an optimizer with one."""
    momentum = {"learning_rate": [0.01, 0.1, 0.5, 1e12], "momentum": [0.0, 0.5, 0.9]}
    momentum["nesterov"] = jl.static([True, False])
    space = {"momentum": momentum, "adam": {"learning_rate": [0.01, 0.1, 1.0]}}
    return jl.sweep(["momentum", "adam"], "quadratic", space, steps=30, seeds=SEEDS, record=3)


@pytest.fixture(scope="module")
def tab():
    with browser.Browser(str(PATH)) as opened:
        yield opened


@pytest.fixture(scope="module")
def written(swept, tmp_path_factory):
    return Report(swept)(tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture
def page(tab, written):
    """The page, freshly opened; afterwards, that nothing has failed."""
    tab.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "light"}])
    tab.resize(1200)
    tab.open(written)
    yield tab
    assert tab.problems() == []


def medians(results):
    return np.median(results.dataset["train_loss"].values[..., -1], axis=1)


def said(page):
    page.settle()
    return page.run("document.getElementById('count').textContent")


def listed(page):
    """The numbers of the configurations in the table of selected ones."""
    return page.run("[...document.querySelectorAll('#rows tbody th')].map((cell) => Number(cell.textContent))")


def typed(page, legend, side, value):
    """Type a number into the field of a range."""
    page.run(
        f"""(() => {{
          const field = document.querySelector('input[aria-label="{legend}, {side}, as a number"]');
          field.value = "{value}";
          field.dispatchEvent(new Event("change"));
        }})()"""
    )


def box(page, selector):
    """The place of an element in the window, after it has been scrolled to."""
    code = f"""(() => {{
      const element = document.querySelector('{selector}');
      element.scrollIntoView({{ block: "center", behavior: "instant" }});
      const {{ left, top, width, height }} = element.getBoundingClientRect();
      return [left, top, width, height];
    }})()"""
    return page.run(code)


def test_it_loads_nothing_and_violates_nothing(page, written):
    assert page.requests() == [written.as_uri()]
    assert page.run("document.querySelectorAll('.chart canvas').length") == 4
    assert page.run("document.querySelector('#board').tHead.textContent").startswith("optimizer")


@pytest.mark.parametrize("chart", ["sensitivity", "curves", "parallel", "heatmap"])
def test_hover_shows_the_configuration(page, swept, chart):
    box(page, f"#chart-{chart} canvas")
    shown = page.run(SCAN.replace("CHART", chart))
    assert len(shown) > 3
    _, x, y = shown[0]
    page.mouse("mouseMoved", x, y)
    assert page.run("tip.innerText") == shown[0][0]
    page.mouse("mouseMoved", 1, 1)
    assert page.run("tip.hidden")
    table = swept.dataset
    for tip, *_ in shown:
        lines = tip.replace("\n\n", "\n").split("\n")
        config = int(lines[0].removeprefix("Configuration "))
        facts = dict(zip(lines[1::2], lines[2::2], strict=True))
        assert facts["optimizer"] == str(table["optimizer"].values[config])
        assert facts["learning rate"] == formats.short(float(table["learning_rate"].values[config]), 4)
        final = float(medians(swept)[config])
        assert facts["training loss"].split(" (")[0] == formats.number(final)


def test_a_range_selects_in_the_table_and_in_all_charts(page, swept):
    before = page.run(CANVASES)
    typed(page, "learning rate", "most", 0.3)
    rates = swept.dataset["learning_rate"].values
    assert said(page) == f"{(rates <= 0.3).sum()} of {len(rates)} configurations selected."
    assert sorted(listed(page)) == np.flatnonzero(rates <= 0.3).tolist()
    order = medians(swept)[listed(page)]
    assert (np.diff(order) >= 0).all()  # best first
    after = page.run(CANVASES)
    assert all(a != b for a, b in zip(json.loads(before), json.loads(after), strict=True))
    page.run("document.getElementById('clear').click()")
    assert said(page).startswith(f"{len(rates)} of {len(rates)}")
    assert all(a != b for a, b in zip(json.loads(page.run(CANVASES)), json.loads(after), strict=True))


def test_a_keyboard_moves_the_sliders(page, swept):
    page.run("document.querySelector('input[aria-label=\"learning rate, least\"]').focus()")
    for _ in range(2):
        page.key("ArrowRight")
    rates = swept.dataset["learning_rate"].values
    third = np.unique(rates)[2]
    page.settle()
    assert sorted(listed(page))[:1] == [int(np.flatnonzero(rates >= third)[0])]
    assert said(page).startswith(f"{(rates >= third).sum()} of ")
    field = "document.querySelector('input[aria-label=\"learning rate, least, as a number\"]').value"
    assert float(page.run(field)) == third


def test_optimizers_and_texts_are_selected_by_checkboxes(page, swept):
    optimizer, nesterov = swept.dataset["optimizer"].values, swept.dataset["nesterov"].values
    page.run("document.querySelector('#optimizers input[data-optimizer=\"1\"]').click()")
    assert said(page).startswith(f"{(optimizer == 'momentum').sum()} of ")
    page.run("[...document.querySelectorAll('#ranges label')].find((x) => x.textContent == 'True').click()")
    kept = [i for i, value in enumerate(nesterov) if value is False or value == "False"]
    assert said(page).startswith(f"{len(kept)} of ")


def test_a_drag_selects_a_range(page, swept):
    left, top, width, height = box(page, "#chart-sensitivity canvas")
    middle = top + 0.5 * height
    page.mouse("mousePressed", left + 0.05 * width, middle)
    for share in (0.1, 0.2, 0.3):
        page.mouse("mouseMoved", left + share * width, middle, held=True)
    page.mouse("mouseReleased", left + 0.3 * width, middle)
    rates = swept.dataset["learning_rate"].values
    assert said(page).startswith(f"{(rates < 1e3).sum()} of {len(rates)}")


def test_a_marked_configuration_is_seen_in_all_charts(page, swept):
    before = json.loads(page.run(CANVASES))
    page.run("document.querySelector('#board button.pick').click()")
    page.settle()
    best = int(swept.leaderboard()["config"][0])
    assert page.run("document.getElementById('marked').innerText").startswith(f"Configuration {best} is marked")
    assert page.run(f"document.querySelector('#rows [data-config=\"{best}\"]').getAttribute('aria-pressed')") == "true"
    assert page.run("document.querySelector('#board button.pick').getAttribute('aria-pressed')") == "true"
    after = json.loads(page.run(CANVASES))
    changed = [a != b for a, b in zip(before, after, strict=True)]
    assert changed[:3] == [True, True, True]
    assert changed[3] == (swept.dataset["optimizer"].values[best] == "momentum")  # the heat map is of one optimizer


def test_the_heat_map_has_a_slider_for_other_hyperparameters(page):
    before = json.loads(page.run(CANVASES))[3]
    assert page.run("document.querySelectorAll('#heat-others input').length") == 1
    page.run("document.querySelector('#heat-others input').focus()")
    page.key("ArrowRight")
    page.settle()
    assert page.run("document.querySelector('#heat-others output').textContent") == "False"
    assert json.loads(page.run(CANVASES))[3] != before
    page.run("(() => { const x = document.getElementById('heat-x'); x.selectedIndex = 2; "
             "x.dispatchEvent(new Event('change')); })()")  # fmt: skip
    page.settle()
    assert page.run("document.querySelectorAll('#heat-others label').length") == 1


def test_the_leaderboard_sorts(page, swept):
    names = "[...document.querySelectorAll('#board tbody th')].map((cell) => cell.textContent.trim())"
    board = swept.leaderboard()
    assert page.run(names) == board["optimizer"].tolist()
    head = "document.querySelectorAll('#board thead th')[2]"
    assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    page.run(f"{head}.querySelector('button').click()")
    assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
    assert page.run(names) == board["optimizer"].tolist()[::-1]
    page.run("document.querySelector('#board thead button').click()")
    assert page.run(names) == sorted(board["optimizer"])
    assert page.run(f"{head}.getAttribute('aria-sort')") is None


def test_the_theme_follows_the_system_and_a_button(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    light, before = page.run(colour), page.run(CANVASES)
    page.run("document.getElementById('theme').click()")
    page.settle()
    assert page.run(colour) != light
    dark = page.run(CANVASES)
    assert all(a != b for a, b in zip(json.loads(before), json.loads(dark), strict=True))
    page.run("document.getElementById('theme').click()")
    page.settle()
    assert page.run(colour) == light
    assert page.run(CANVASES) != dark
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.settle()
    assert page.run(colour) != light


def test_files_are_the_table_and_the_figures(page, swept):
    page.run("window.saved = []; URL.createObjectURL = (blob) => { saved.push(blob); return 'blob:none'; }; 0")
    page.run("HTMLAnchorElement.prototype.click = () => {}; 0")
    page.run("document.querySelector('[data-file=csv]').click()")
    text = page.run("saved[0].text()")
    assert text == written_table(swept).to_csv(index=False)
    assert len(list(csv.DictReader(io.StringIO(text)))) == swept.dataset.sizes["config"] * SEEDS
    for i, chart in enumerate(("sensitivity", "curves", "parallel", "heatmap")):
        page.run(f"document.querySelector('[data-chart={chart}][data-kind=svg]').click()")
        page.wait(f"saved.length == {i + 2}")
        svg = page.run(f"saved[{i + 1}].text()")
        assert svg.startswith("<svg")
        assert "momentum" in svg
    page.run("document.querySelector('[data-chart=curves][data-kind=png]').click()")
    assert page.wait("saved.length == 6 && saved[5].type") == "image/png"


def test_a_phone_shows_it_without_scrolling_sideways(page):
    page.resize(390, 800)
    page.settle()
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("document.querySelector('#chart-curves canvas').getBoundingClientRect().width") <= 390


def test_it_prints_light_and_without_controls(page):
    page.run("document.getElementById('theme').click()")
    printed = page.call("Page.printToPDF", printBackground=True)
    assert len(printed["data"]) > 20_000
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown = "[...document.querySelectorAll('nav, #ranges, .bar')].filter((x) => x.checkVisibility()).length"
    assert page.run(shown) == 0


def test_hostile_names_stay_text(tab, tmp_path):
    space = {"learning_rate": [0.1, 0.5], "b": jl.static([HOSTILE, "plain"])}
    init = lambda key: jax.random.normal(key, (2,))
    task = jl.Task(HOSTILE, init, lambda params, batch: (params**2).sum(), train=None)
    optimizers = {HOSTILE: lambda learning_rate, *, b: jl.gradient_descent(learning_rate)}
    results = jl.sweep(optimizers, task, space, steps=5, seeds=2)
    tab.open(Report(results)(tmp_path / "hostile.html", title=HOSTILE))
    tab.run("document.querySelector('#board button.pick').click()")
    left, top, width, height = box(tab, "#chart-heatmap canvas")
    tab.mouse("mouseMoved", left + 0.4 * width, top + 0.3 * height)
    tab.settle()
    assert tab.run("typeof window.stolen") == "undefined"
    assert tab.run("document.querySelectorAll('img').length") == 0
    assert tab.run("document.querySelector('h1').textContent") == HOSTILE
    assert tab.run("document.querySelector('#board tbody th').textContent.trim()") == HOSTILE
    assert HOSTILE in tab.run("tip.textContent")
    assert tab.problems() == []


def test_numbers_are_those_of_all_tables(tab):
    values = [0.0, 1.0, -1.5, 999.4, 999.6, 1000.0, 12345.6, 1e-4, 9.9996e-5, 1.23456e-7, -3e20, 0.1, 123.456, 5e-324]
    values += (10.0 ** np.random.default_rng(0).uniform(-12, 12, 200)).tolist()
    source = (files("jaxopt_lab.report.page") / "assets" / "format.js").read_text()
    numbers, shorts = tab.run(f"(() => {{ {source}; const x = {values}; return [x.map(number), x.map(short)]; }})()")
    assert numbers == [formats.number(value) for value in values]
    assert shorts == [formats.short(value, 4) for value in values]
