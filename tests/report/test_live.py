"""A sweep that is watched while it runs: sparklines on a terminal, and one output in a notebook."""

import io
import json
import re
import sys
import types

import nbclient
import nbformat
import numpy as np
import pytest
from rich.console import Console

import jaxopt_lab as jl
from jaxopt_lab.engine import standing
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.engine.standing import Rates, Sensitivity
from jaxopt_lab.report import notebook
from jaxopt_lab.report.progress import shown
from jaxopt_lab.report.sparklines import BLOCKS, of_progress
from jaxopt_lab.sweep.planning import plan_sweep

HOSTILE = "<img src=x onerror=alert(1)>[red]"
SPACE = {"sgd": {"learning_rate": [0.01, 0.1, 1e12]}, "adam": {"learning_rate": [0.01, 0.1]}}
OPTIONS = {"steps": 40, "seeds": 3}


def rates(medians, lost=None):
    medians = np.asarray(medians, float)
    lost = np.zeros(len(medians), bool) if lost is None else np.asarray(lost)
    return Rates(np.geomspace(1e-3, 1.0, len(medians)), medians, lost)


def at(seconds=1.0, found=None, **values):
    found = {HOSTILE: rates([4.0, 1.0, np.inf, np.nan], [False, False, True, False])} if found is None else found
    start = {"trials": 12, "programs": 2, "trial_steps_planned": 1000, "trial_steps": 250, "best": {HOSTILE: 0.9}}
    return Progress(**{**start, **values}, seconds=seconds, sensitivity=lambda: Sensitivity(found, 3.0, False))


def on_terminal(progress, height=24, **options):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, **{"encoding": "utf-8", **options})
    forced = {"force_terminal": True, "force_interactive": True, "_environ": {"TERM": "xterm"}}
    with shown("task", Console(file=out, width=80, height=height, **forced)) as report:
        report(progress)
    out.flush()
    text = raw.getvalue().decode(out.encoding)
    return list(dict.fromkeys(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()))  # it is drawn twice


def test_the_sensitivity_in_the_end_is_that_of_the_results():
    seen = []
    dataset = jl.sweep(list(SPACE), "quadratic", SPACE, **OPTIONS, progress=seen.append).dataset
    found, final = seen[-1].sensitivity(), dataset["train_loss"].values[..., -1]
    for name, own in found.optimizers.items():
        rows = dataset["optimizer"].values == name
        lost = (dataset["status"].values[rows] == "diverged").all(axis=1)
        assert own.rates.tolist() == dataset["learning_rate"].values[rows].tolist()
        assert own.diverged.tolist() == lost.tolist()
        np.testing.assert_array_equal(own.medians[~lost], np.median(final[rows], axis=1)[~lost])
        assert np.isinf(own.medians[lost]).all()
    assert found.start == np.median(dataset["train_loss"].values[..., 0])
    assert not found.greater


def test_the_median_is_of_the_seeds_that_have_a_value():
    plan = plan_sweep(["adam"], "quadratic", {"learning_rate": [0.1, 0.2, 0.3, 0.4]}, steps=2, seeds=4)
    own, running = standing.Standing(plan), np.zeros((4, 4), int)
    own.latest[:] = [[1, 2, 4, 8], [3, np.nan, 1, 7], [np.nan, 5, np.nan, 6], [np.nan] * 4]
    running[2, 1] = standing.Status.DIVERGED
    np.testing.assert_array_equal(
        own.sensitivity(running, own.latest).optimizers["adam"].medians, [3.0, 3.0, np.inf, np.nan]
    )


def test_stopped_trials_have_no_score_and_have_not_diverged():
    seen, rule = [], jl.halving(2, min_steps=10)
    dataset = jl.sweep("adam", "quadratic", SPACE["adam"], **OPTIONS, stop=rule, progress=seen.append).dataset
    stopped = (dataset["status"].values == "stopped").all(axis=1)
    own = seen[-1].sensitivity().optimizers["adam"]
    assert stopped.any()
    assert np.isinf(own.medians).tolist() == stopped.tolist()
    assert not own.diverged.any()


def test_an_optimizer_without_a_learning_rate_has_no_sparkline():
    seen, space = [], {"adam": {"b1": [0.5, 0.9], "learning_rate": 0.1}, "sgd": {}}
    optimizers = {"adam": jl.adam, "sgd": lambda: jl.sgd(0.1)}
    jl.sweep(optimizers, "quadratic", space, **OPTIONS, progress=seen.append)
    assert "sgd" not in seen[-1].sensitivity().optimizers


def test_nothing_is_drawn_before_anything_is_known():
    assert of_progress(Sensitivity({"adam": rates([np.nan, np.nan])}, np.nan, False)) is None
    assert of_progress(Sensitivity({}, np.nan, False)) is None
    assert of_progress(Sensitivity({"adam": rates([np.inf], [True])}, 1.0, False)).lines == {"adam": "0.001 x"}


def test_greater_values_are_higher():
    found = Sensitivity({"adam": rates([0.2, 0.9])}, 0.1, True)
    first, second = of_progress(found).lines["adam"].split(" ")[1]
    assert first < second == BLOCKS[-1]


def test_a_terminal_shows_a_sparkline_for_each_optimizer():
    lines = on_terminal(at())
    (row,) = [line for line in lines if line.startswith("<img")]
    assert re.search(rf"  0\.900  0\.001 [{BLOCKS}]{{2}}x· 1 *$", row)
    assert row.startswith("<img src=x onerror=alert(")
    (head,) = [line for line in lines if line.startswith("optimizer")]
    assert re.search(r"  train loss  ▁ 1\.00, █ 4\.\d\d, x diverged", head)
    assert max(map(len, lines)) <= 80


def test_a_low_terminal_shows_the_best_few():
    names = [f"optimizer{i}" for i in range(30)]
    progress = at(found={name: rates([1.0, 2.0]) for name in names}, best=dict.fromkeys(names, 1.0))
    rows = lambda height: [line for line in on_terminal(progress, height) if re.match(r"optimizer\d", line)]
    assert [line.split()[0] for line in rows(12)] == names[:3]
    assert len(rows(50)) == 10


def test_a_terminal_without_blocks_has_other_characters():
    lines = on_terminal(at(best={"é": 1.0}, found={"é" * 60: rates([4.0, 1.0, np.nan])}), encoding="ascii")
    (row,) = [line for line in lines if "0.001" in line]
    assert re.search(r"0\.001 [.:\-=+*#@]{2}\? 1", row)
    assert row.startswith("\\xe9")


def test_sensitivities_are_looked_at_once_a_second(monkeypatch):
    clock, spent, calls = iter(np.arange(10.0, 20.0, 0.1)), iter([0.0, 0.001, 1.0, 1.08, 2.0, 2.0]), []
    times = {"perf_counter": lambda: next(clock), "thread_time": lambda: next(spent)}
    monkeypatch.setattr(standing, "time", types.SimpleNamespace(**times))
    progress = at()
    look = progress.sensitivity
    progress.sensitivity = lambda: calls.append(1) or look()
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=True, _environ={"TERM": "xterm"})
    with shown("task", console) as report:
        for _ in range(80):
            report(progress)
    assert len(calls) == 2  # at 10 s and at 11 s; that takes 0.08 s, so the next would be at 19 s
    plain = []
    progress.sensitivity = lambda: plain.append(1) or look()
    with shown("task", Console(file=io.StringIO())) as report:
        report(progress)
    assert plain == []


class Notebook:
    """IPython as far as the display uses it, in a kernel."""

    def __init__(self):
        self.outputs = []
        self.display = types.SimpleNamespace(display=self.made)

    def get_ipython(self):
        return types.SimpleNamespace(kernel=object())

    def made(self, frame, display_id):
        assert display_id is True
        self.outputs.append([frame])
        return types.SimpleNamespace(update=self.outputs[-1].append)


@pytest.fixture
def ipython(monkeypatch):
    fake = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", fake)
    return fake


def test_a_notebook_has_one_output_that_ends_as_words(ipython, capsys):
    with shown("task") as report:
        for seconds in (0.0, 0.1, 0.2, 0.6, 0.7, 1.2):
            report(at(seconds, notes=["memory <ran> out"]))
    (frames,) = ipython.outputs
    first, *_, last = frames
    assert len(frames) == 4  # at 0.0, 0.6 and 1.2 s, and in the end
    assert "<progress" in first._repr_html_()
    assert f"{HOSTILE.replace('<', '&lt;').replace('>', '&gt;')}</td>" in first._repr_html_()
    assert re.search(rf"<code [^>]*>0\.001 [{BLOCKS}]{{2}}x· 1</code>", first._repr_html_())
    assert "<progress" not in last._repr_html_()
    assert "0:01 in total; best train loss" in last._repr_html_()
    assert "memory &lt;ran&gt; out" in last._repr_html_()
    assert repr(last).startswith("memory <ran> out\ntask: 0/12 trials")
    for frame in frames:
        assert "<img" not in frame._repr_html_()
    assert capsys.readouterr() == ("", "")


def test_an_error_leaves_no_bar(ipython):
    def failing():
        with shown() as report:
            report(at())
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        failing()
    assert "<progress" not in ipython.outputs[0][-1]._repr_html_()


def test_a_shell_on_a_terminal_is_no_notebook(ipython, monkeypatch):
    ipython.get_ipython = lambda: types.SimpleNamespace()
    assert notebook.output() is None
    ipython.get_ipython = lambda: None
    assert notebook.output() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.output() is None


def test_a_notebook_stores_one_small_output(tmp_path):
    code = """import jaxopt_lab as jl
space = {"learning_rate": [0.01, 0.1, 1e12]}
results = jl.sweep(["adam", "sgd"], "quadratic", space, steps=40, seeds=2, progress=True)"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = book.cells[0].outputs
    assert output.output_type == "display_data"
    assert set(output.data) == {"text/html", "text/plain"}
    assert "12/12 trials, 4 diverged" in output.data["text/plain"]
    assert "best train loss: " in output.data["text/html"]
    assert len(json.dumps(output.data)) < 1000
