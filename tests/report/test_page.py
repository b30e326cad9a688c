"""The page's content: what is in it, that it needs nothing else, and what it does with unusual results."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import math

import jax
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab import formats
from jaxopt_lab.report.page import curve_data
from jaxopt_lab.report.page import page as pages
from jaxopt_lab.report.page.data import appearances
from jaxopt_lab.report.page.document import embedded
from jaxopt_lab.report.page.sections import explore
from jaxopt_lab.report.plots.looks import looks
from jaxopt_lab.results.written import written_table

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<!--\u2028"
RATES = [0.05, 0.5, 1e12]
SEEDS = 3


@pytest.fixture(autouse=True, scope="module")
def no_library():
    """Leave out the charting library, which takes seconds to bundle and is not looked at here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxopt_lab.report.page.document.library", lambda: "/* the library */")
        yield


@pytest.fixture(scope="module")
def swept():
    """Gradient descent over a rate, of which the greatest diverges, and momentum over a rate and a text."""
    spaces = {
        "gradient_descent": {"learning_rate": RATES},
        "momentum": {"learning_rate": RATES, "momentum": [0.0, 0.9], "nesterov": jl.static([True, False])},
    }
    return jl.sweep(list(spaces), "quadratic", spaces, steps=20, seeds=SEEDS, record=2)


@pytest.fixture(scope="module")
def written(swept, tmp_path_factory):
    return pages.Report(swept)(tmp_path_factory.mktemp("page") / "page.html")


class Read(html.parser.HTMLParser):
    """A page as a browser reads it: elements with attributes, text, and the content of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.raw = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag in ("script", "style"):
            self.raw.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.raw[-1][2] += data
        else:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())

    @property
    def data(self):
        return next(json.loads(text) for _, attributes, text in self.raw if attributes.get("id") == "data")

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def read(path):
    return Read(path.read_text("utf-8"))


def made(results, tmp_path, **options):
    return read(pages.Report(results)(tmp_path / "made.html", **options))


def changed(results, attrs=None, **variables):
    """The results with other values of some variables and attributes of the dataset."""
    dataset = results.dataset.copy(deep=True)
    for name, values in variables.items():
        dataset[name] = dataset[name].copy(data=values)
    return dataclasses.replace(results, dataset=dataset.assign_attrs(attrs or {}))


def test_it_is_one_file_that_runs_its_own_scripts_alone(written):
    page = read(written)
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for _, attributes, text in page.raw:
        if attributes.get("type") != "application/json":
            assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    for _, attributes in page.elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
        assert "src" not in attributes
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = {attributes["href"][1:] for attributes in page.of("a")}
    assert targets <= {*ids}


def test_the_answer_comes_first_in_words(written, swept):
    best = swept.best()
    words = read(written).words
    chosen = f"learning rate {formats.short(best.hyperparameters['learning_rate'], 4)}"
    assert f"{best.optimizer} with {chosen}" in words
    assert f"median {formats.number(best.value)} (quartiles" in words.replace(" )", ")")
    counts = dict(zip(*np.unique(swept.dataset["status"].values, return_counts=True), strict=True))
    assert ", ".join(f"{count} {status}" for status, count in counts.items()).capitalize() in words
    assert "at the edge of the range of" in words or not best.on_edge


def test_the_leaderboard_is_that_of_the_results(written, swept):
    text, board = written.read_text(), swept.leaderboard()
    table = text[text.index('id="board"') : text.index("</table>")]
    cells = [
        float(cell.split('"')[0] or math.inf) for cell in table.split('data-sort="')[1:] if cell[0] in "0123456789"
    ]
    for name in ("train_loss", "diverged"):
        assert set(np.where(np.isfinite(board[name]), board[name], math.inf)) <= set(cells)
    assert [table.index(f'data-sort="{name}"') for name in board["optimizer"]] == sorted(
        table.index(f'data-sort="{name}"') for name in board["optimizer"]
    )


def test_every_configuration_is_in_the_charts_the_diverged_too(written, swept):
    sweep = read(written).data["sweep"]
    median = np.median(swept.dataset["train_loss"].values[..., -1], axis=1)
    configs = sweep["configs"]
    assert configs["number"] == list(range(len(median)))
    shown = np.asarray([np.inf if value is None else value for value in configs["median"]])
    np.testing.assert_allclose(shown, median, rtol=1e-4)
    lost = (swept.dataset["status"].values == "diverged").sum(axis=1)
    assert lost.any()
    assert sweep["metric"]["beyond"][0] == "diverged"
    assert [sweep["ends"][i] for i in configs["ended"]] == [
        ", ".join(f"{n} {s}" for s, n in (("completed", SEEDS - k), ("diverged", k)) if n) for k in lost
    ]
    order = np.argsort(configs["rank"])
    assert (np.diff(median[order][np.isfinite(median[order])]) >= 0).all()
    assert not np.isfinite(median[order][np.isfinite(median).sum() :]).any()


def test_configurations_of_which_some_seeds_diverged_are_marked(swept, tmp_path):
    losses, status = swept.dataset["train_loss"].values.copy(), swept.dataset["status"].values.copy()
    losses[1, 0, 3:], status[1, 0] = np.inf, "diverged"
    sweep = made(changed(swept, train_loss=losses, status=status), tmp_path).data["sweep"]
    assert 1 in sweep["configs"]["partly"]
    assert sweep["configs"]["median"][1] is not None
    assert sweep["ends"][sweep["configs"]["ended"][1]] == "2 completed, 1 diverged"


def test_hyperparameters_are_in_the_charts_as_they_were_tried(written, swept):
    sweep = read(written).data["sweep"]
    for parameter, column in zip(sweep["parameters"], sweep["configs"]["values"], strict=True):
        tried = swept.dataset[parameter["name"]].values.tolist()
        for value, own in zip(column, tried, strict=True):
            if isinstance(own, float) and math.isnan(own):
                assert value is None
            else:
                assert (parameter["values"][value] if parameter["kind"] == "text" else value) == (
                    str(own) if parameter["kind"] == "text" else own
                )


def test_optimizers_look_as_in_all_pictures(written, swept):
    shown = read(written).data["sweep"]["optimizers"]
    names = list(dict.fromkeys(swept.dataset["optimizer"].values.tolist()))
    assert [optimizer["name"] for optimizer in shown] == names
    assert [optimizer["color"] for optimizer in shown] == [look["color"] for look in looks(names)]
    many = appearances([f"method {i}" for i in range(60)])
    assert len({json.dumps([look[k] for k in ("color", "dash", "shape")]) for look in many}) == len(many)


def test_curves_are_the_medians_and_thinning_is_said(swept, tmp_path, monkeypatch):
    whole = made(swept, tmp_path)
    (curve,) = whole.data["curves"]
    dataset = swept.dataset
    assert curve["points"] == dataset["step"].values.tolist()
    diverged = (dataset["status"].values == "diverged")[..., None]
    losses = np.where(diverged & np.isnan(dataset["train_loss"].values), np.inf, dataset["train_loss"].values)
    median = np.median(losses, axis=1)
    inside = (median <= curve["worst"]) & (median >= curve["best"])
    np.testing.assert_allclose(np.asarray(curve["values"], float)[inside], median[inside], rtol=1e-3)
    assert (np.asarray(curve["values"], float)[median > curve["worst"]] > curve["worst"]).all()
    assert "recorded points" not in whole.words
    monkeypatch.setattr(curve_data, "MOST_POINTS", 4)
    thinned = made(swept, tmp_path)
    (curve,) = thinned.data["curves"]
    assert len(curve["points"]) == 8  # never fewer
    assert curve["points"][0] == 0
    assert curve["points"][-1] == 20
    assert f"Of the {dataset.sizes['step']} recorded points of training loss, 8 are in the page." in thinned.words


def test_a_page_says_where_charts_draw_a_part(swept, written, tmp_path, monkeypatch):
    assert "at once" not in read(written).words
    monkeypatch.setattr(explore, "MOST_LINES", 5)
    monkeypatch.setattr(explore, "MOST_DRAWN", 4)
    page = made(swept, tmp_path)
    assert "At most 5 lines are drawn at once" in page.words
    assert "At most 4 curves are drawn at once" in page.words
    assert (page.data["most_lines"], page.data["most_drawn"]) == (5, 4)
    assert len(page.data["sweep"]["configs"]["median"]) == swept.dataset.sizes["config"]  # all can still be selected


def test_the_table_for_download_is_that_of_the_results(written, swept):
    data = read(written).data
    assert data["csv"] == written_table(swept).to_csv(index=False)
    recorded = json.loads(data["attributes"])
    assert recorded["space"] == swept.dataset.attrs["space"]
    assert recorded["seeds"] == list(range(SEEDS))


def test_what_is_needed_to_repeat_it_is_there(written, swept):
    words, attrs = read(written).words, swept.dataset.attrs
    versions = json.loads(attrs["versions"])
    for said in (
        "jl.tasks.quadratic(",
        f"jax {versions['jax']}",
        attrs["device"],
        attrs["created"],
        "20 steps",
        "0 to 2",
    ):
        assert said in words
    assert "every combination of the values of learning rate, momentum, nesterov (12 configurations)" in words


def test_charts_are_valid_vega_lite(written):
    alt = pytest.importorskip("altair")
    charts = read(written).data["charts"]
    assert {name.split()[0] for name in charts} == {"sensitivity", "curves", "parallel", "heatmap"}
    for spec in charts.values():
        alt.LayerChart.from_dict(spec, validate=True)


def test_hostile_names_stay_text(tmp_path):
    init = lambda key: jax.random.normal(key, (2,))
    task = jl.Task(HOSTILE, init, lambda params, batch: (params**2).sum(), train=None)
    optimizers = {HOSTILE: lambda learning_rate, *, b: jl.gradient_descent(learning_rate)}
    space = {"learning_rate": [0.1, 0.5], "b": jl.static([HOSTILE, "plain"])}
    results = jl.sweep(optimizers, task, space, steps=4, seeds=2)
    page = made(results, tmp_path, title=HOSTILE)
    assert page.of("img") == []
    assert len(page.raw) == 4  # style, data, library, own script
    assert page.text.count(HOSTILE) >= 3
    assert page.data["sweep"]["optimizers"][0]["name"] == HOSTILE
    assert page.data["sweep"]["parameters"][1]["values"] == sorted([HOSTILE, "plain"])


def test_embedded_json_cannot_end_its_script():
    value = {"</script>": ["<!--", "\u2028", 1.5, None]}
    assert "<" not in embedded(value)
    assert json.loads(embedded(value)) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded(math.nan)


def one_without_a_rate():
    return jl.sweep(lambda decay: jl.momentum(0.1, decay), "quadratic", {"decay": [0.0, 0.5, 0.9]}, steps=8, seeds=2)


def no_hyperparameters():
    return jl.sweep({"fixed": lambda: jl.gradient_descent(0.1)}, "quadratic", {}, steps=8, seeds=2)


def all_diverged():
    return jl.sweep("gradient_descent", "quadratic", {"learning_rate": [1e12, 1e13]}, steps=40, seeds=2)


def one_seed():
    return jl.sweep("gradient_descent", "quadratic", {"learning_rate": RATES}, steps=8, seeds=1)


def of_examples():
    space = {"learning_rate": [0.1, 0.5], "task.batch_size": jl.static([8, 16])}
    return jl.sweep("sgd", "linear_regression", space, steps=jl.examples(64), seeds=2)


def of_accuracy():
    task = dataclasses.replace(jl.tasks.breast_cancer(holdout=True, batch_size=32), main_metric="accuracy")
    return jl.sweep("adam", task, {"learning_rate": [1e-3, 0.1]}, steps=6, seeds=2)


@pytest.mark.parametrize(
    ("sweep", "said", "charts"),
    [
        (one_without_a_rate, "decay 0", {"sensitivity", "curves", "parallel"}),
        (no_hyperparameters, "fixed has the best training loss", {"curves"}),
        (all_diverged, "No configuration has a finite median", {"sensitivity", "curves", "parallel"}),
        (one_seed, "There is one seed, so nothing here tells a difference from luck.", None),
        (of_examples, "64 examples a trial", {"sensitivity", "curves", "parallel", "heatmap"}),
        (of_accuracy, "of which more is better", None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_unusual_sweeps_have_a_page(sweep, said, charts, tmp_path):
    results = sweep()
    page = made(results, tmp_path)
    assert said in page.words
    if charts is not None:
        assert {name.split()[0] for name in page.data["charts"]} == charts


def test_loaded_results_give_the_same_page(swept, written, tmp_path):
    swept.save(tmp_path / "run.zarr")
    loaded = read(pages.Report(jl.load(tmp_path / "run.zarr"))(tmp_path / "page.html"))
    one, other = read(written).data, loaded.data
    assert sorted(p["name"] for p in other["sweep"]["parameters"]) == sorted(
        p["name"] for p in one["sweep"]["parameters"]
    )
    for name in ("median", "low", "high", "rank", "ended"):
        assert other["sweep"]["configs"][name] == one["sweep"]["configs"][name]
    assert other["curves"][0]["values"] == one["curves"][0]["values"]


def test_an_interrupted_sweep_says_where_it_is_compared(swept, tmp_path):
    losses, status = swept.dataset["train_loss"].values.copy(), swept.dataset["status"].values.astype("U12")
    steps = swept.dataset["steps_taken"].values.copy()
    losses[0, 0, 5:], status[0, 0], steps[0, 0] = np.nan, "interrupted", 8
    partial = changed(swept, {"interrupted": 1}, train_loss=losses, steps_taken=steps)
    partial = dataclasses.replace(partial, dataset=partial.dataset.assign(status=(("config", "seed"), status)))
    page = made(partial, tmp_path)
    assert "The sweep has not ended. Compared at step 8 of 20 steps" in page.words
    assert "training loss at step 8" in page.data["sweep"]["metric"]["title"]


def test_the_leaderboard_says_in_which_order_it_is(swept, written, tmp_path):
    sorts = lambda page: [a["aria-sort"] for a in page.of("th") if "aria-sort" in a]
    assert sorts(read(written)) == ["ascending"]
    greater = changed(swept, {"directions": json.dumps({"train_loss": "max"})})
    assert sorts(made(greater, tmp_path)) == ["descending"]


def test_a_diagnosis_is_shown_where_there_is_one(swept, tmp_path):
    @dataclasses.dataclass
    class Found:
        says: str
        advice: str
        level: str

    class Diagnosed(type(swept)):
        def diagnose(self):
            return [Found("The learning rate is <too> large.", "Lower it.", "warning"), "A second sentence."]

    results = Diagnosed(swept.dataset, swept.task, swept.final_params)
    page = made(results, tmp_path)
    assert "The learning rate is <too> large. Lower it. A second sentence." in page.words.replace("  ", " ")
    assert {"class": "warning"} in page.of("li")
    assert ("section", {"id": "diagnosis", "aria-labelledby": "diagnosis-title"}) in page.elements


def test_a_page_replaces_a_page_and_nothing_else(swept, tmp_path, monkeypatch):
    report = pages.Report(swept)
    path = report(tmp_path / "page.html", title="First")
    assert report(str(path), title="Second") == path
    assert "<h1>Second</h1>" in path.read_text()
    other = tmp_path / "notes.html"
    other.write_text("<p>Mine</p>")
    for wrong, what in (
        (tmp_path, "is a folder"),
        (other, "is not a page"),
        (tmp_path / "none" / "page.html", "does not exist"),
    ):
        with pytest.raises(ValueError, match=what):
            report(wrong)
    assert other.read_text() == "<p>Mine</p>"
    with pytest.raises(TypeError, match="path must be"):
        report(3)
    with pytest.raises(TypeError, match="title must be"):
        report(path, title=3)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        report(path, title="Third")
    assert "<h1>Second</h1>" in path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.html", "page.html"]
