"""Progress: plain lines where there is no terminal, a bar where there is one, and always the final values."""

import dataclasses
import functools
import io
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import jaxopt_lab as jl
from jaxopt_lab.engine import standing
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.formats import compact
from jaxopt_lab.report.progress import shown
from jaxopt_lab.sweep.planning import plan_sweep


def lines_of(reports, label="task"):
    """What `shown` prints where there is no terminal."""
    out = io.StringIO()
    with shown(label, Console(file=out, width=40)) as report:
        for progress in reports:
            report(progress)
    return out.getvalue().splitlines()


def at(seconds, **values):
    start = {"trials": 10, "programs": 2, "trial_steps_planned": 1000}
    return Progress(**{**start, **values}, seconds=seconds)


def test_a_plain_line_every_five_seconds_and_a_final_one():
    lines = lines_of([at(s / 10, trial_steps=s) for s in range(121)])
    assert len(lines) == 3  # at 5 s, at 10 s, and at the end (12 s); longer than the console and yet not wrapped
    assert lines[0] == "task: 0/10 trials, 0 diverged, 0/2 compiled, 10 trial-steps/s, 1:35 left"
    assert lines[-1] == "task: 0/10 trials, 0 diverged, 0/2 compiled, 10 trial-steps/s, 0:12 in total"


def test_the_final_line_has_what_came_after_the_last_report():
    progress = at(1.0)
    out = io.StringIO()
    with shown(console=Console(file=out)) as report:
        report(progress)
        progress.trials_done, progress.diverged, progress.programs_compiled, progress.trial_steps = 10, 3, 2, 1000
    assert out.getvalue() == "10/10 trials, 3 diverged, 2/2 compiled, 1.00k trial-steps/s, 0:01 in total\n"


def test_nothing_reported_is_nothing_printed():
    assert lines_of([]) == []


def test_the_rate_is_of_the_last_seconds():
    slow = [at(s, trial_steps=s, trial_steps_planned=10_000) for s in range(30)]
    fast = [at(30 + s, trial_steps=30 + 100 * s, trial_steps_planned=10_000) for s in range(20)]
    assert "100 trial-steps/s, 1:25 left" in lines_of(slow + fast)[-2]


def test_the_plan_may_shrink_to_nothing():
    lines = lines_of([at(6.0, trial_steps=100), at(12.0, trial_steps=200, trial_steps_planned=0, trials_done=10)])
    assert "10/10 trials" in lines[-2]
    assert "0:00 left" in lines[-2]


def test_notes_are_printed_once_each():
    """The sweep's progress is one object, whose notes grow."""
    progress, out = at(1.0), io.StringIO()
    with shown("task", Console(file=out, width=40)) as report:
        for note in ("memory ran out; going on with 4 [b]trials[/]", "and again", None):
            progress.notes += [note] if note else []
            report(progress)
            report(progress)
    *notes, last = out.getvalue().splitlines()
    assert notes == ["task: memory ran out; going on with 4 [b]trials[/]", "task: and again"]
    assert last.endswith("in total")


def test_markup_in_a_label_is_text():
    assert lines_of([at(1.0)], "[bold]x[/]")[-1].startswith("[bold]x[/]: ")


def test_the_callers_error_comes_through():
    def interrupted():
        with shown("x", Console(file=io.StringIO())) as report:
            report(at(1.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_bar_on_a_terminal(width):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, force_interactive=True, _environ={"TERM": "xterm"})
    with shown("[task]", console) as report:
        report(at(1.0, trial_steps=250, trials_done=2))
        report(at(2.0, trial_steps=500, trial_steps_planned=400, trials_done=10))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "[task] ━" in text
    assert "2/10 trials, 0 diverged" in text
    assert text.rstrip().endswith("250 trial-steps/s, 0:02 in total")
    assert all(len(line) <= width for part in text.splitlines()[:-1] for line in part.split("\r"))


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (9.4, "9"), (999, "999"), (999.6, "1.00k"), (1234, "1.23k"), (99_960, "100k"), (12_345_678, "12.3M")],
)
def test_compact(number, words):
    assert compact(number) == words


BEST = {"adamw": 0.12345, "adam": 0.2, "sgd": 1.5, "lion": 2e-7, "nadam_with_a_long_name_of_its_own": -3.0}


def test_a_plain_line_has_the_best_few_optimizers():
    lines = lines_of([at(6.0, metric="validation_loss", best=BEST), at(7.0, metric="validation_loss", best={"sgd": 1})])
    assert lines[0].endswith("left; best validation loss: adamw 0.123, adam 0.200, sgd 1.50, 2 more")
    assert lines[1].endswith("in total; best validation loss: sgd 1.00")


@pytest.mark.parametrize(("width", "count"), [(60, 3), (80, 4), (120, 5)])
def test_as_many_of_the_best_optimizers_as_fit_a_terminal(width, count):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, force_interactive=True, _environ={"TERM": "xterm"})
    with shown(console=console) as report:
        report(at(1.0, best=BEST))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    lines = [line for line in text.splitlines() if "best train loss" in line]
    assert len(lines) == 3  # twice below the bar, then in the end
    for line in lines:
        assert sum(f" {name} " in line for name in BEST) == count
        assert len(line) <= width
        assert line.endswith(" more") == (count < len(BEST))


@functools.cache
def task(**changes):
    """Return a classification of points, which a large learning rate lets diverge; sweeps of one share programs."""
    draw = lambda seed, n: np.random.default_rng(seed).normal(size=(n, 3))
    points = {"train": draw(0, 24), "validation": draw(1, 40)}
    data = {split: (x, np.where(x @ [1.0, -2.0, 0.5] > 0, 1.0, -1.0)) for split, x in points.items()}
    loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    accuracy = lambda w, batch: jnp.mean(jnp.sign(batch[0] @ w) == batch[1])
    given = {**data, "metrics": {"accuracy": accuracy}, "batch_size": 8}
    return jl.Task("points", lambda key: jax.random.normal(key, (3,)), loss, **{**given, **changes})


def best_in(dataset):
    """The best of each optimizer, by its trials' last values one after the other."""
    metric, best = dataset.attrs["main_metric"], {}
    better = max if metric.endswith("accuracy") else min
    for config, name in enumerate(dataset["optimizer"].values.tolist()):
        for seed in range(dataset.sizes["seed"]):
            status = str(dataset["status"].values[config, seed])
            curve = dataset[metric].values[config, seed]
            known = curve[~np.isnan(curve)] if status == "interrupted" else curve
            if status in ("diverged", "failed", "stopped") or not len(known) or not np.isfinite(known[-1]):
                continue
            best[name] = better(best.get(name, known[-1]), known[-1])
    return best


SPACES = {
    "sgd": {"learning_rate": [0.01, 0.1, 50.0]},
    "adam": {"learning_rate": [0.01, 0.1]},
    "wild": {"learning_rate": [1e3]},  # each of its trials diverges
}
OPTIMIZERS = {"sgd": jl.sgd, "adam": jl.adam, "wild": jl.sgd}
SWEEPS = {
    "validation loss": ({}, {}),
    "accuracy": ({"main_metric": "accuracy"}, {"evaluate": 7}),
    "training loss": ({"validation": None}, {"record": 7}),
    "training loss that is hardly recorded": ({"validation": None}, {"record": 300, "evaluate": 25}),
    "examples": ({}, {"steps": jl.examples(2400)}),
    "target": ({"validation": None}, {"target": 0.3, "record": 11}),
    "tolerance": ({}, {"tolerance": 1e-3}),
    "halving by the training loss": (
        {"main_metric": "accuracy"},
        {"stop": jl.halving(2, min_steps=20, metric="train_loss")},
    ),
    "hyperband": ({"validation": None}, {"stop": jl.hyperband(2, min_steps=20)}),
    "plateau": ({}, {"stop": jl.plateau(20)}),
}


@pytest.mark.parametrize(("changes", "options"), SWEEPS.values(), ids=SWEEPS)
def test_the_best_in_the_end_are_those_of_the_results(changes, options, monkeypatch, float64):
    monkeypatch.setattr(standing, "EVERY", 0.0)
    monkeypatch.setattr(standing, "SHARE", 1e9)
    seen = []
    dataset = jl.sweep(
        OPTIMIZERS,
        task(**changes),
        SPACES,
        **{"steps": 300, "seeds": 2, "diverged_above": 1e4, "strategy": "scan", **options},
        progress=lambda p: seen.append(dataclasses.replace(p)),
    ).dataset
    last, metric = seen[-1], dataset.attrs["main_metric"]
    assert last.metric == metric
    assert last.best == best_in(dataset)
    assert {"sgd", "adam"} <= set(last.best)
    assert (dataset["status"] == "diverged").any()
    assert list(last.best.values()) == sorted(last.best.values(), reverse=metric.endswith("accuracy"))
    for progress in seen:  # what was the best at some time is in a curve
        for name, value in progress.best.items():
            assert value in dataset[metric].values[dataset["optimizer"].values == name]


def test_the_best_of_a_run_that_is_interrupted_and_resumed(tmp_path, monkeypatch, float64):
    """At each end it is that of the results so far, and in the end that of a run without interruption."""
    interrupt, last = iter([False, False, True] * 3 + [False] * 10_000), []

    def report(progress):
        last[:] = [progress]
        if progress.trial_steps and next(interrupt):
            raise KeyboardInterrupt

    options = {"steps": 5000, "seeds": 2, "stop": jl.halving(2, min_steps=1000)}
    ends = 0
    for _ in range(4):
        found = jl.sweep(OPTIMIZERS, task(), SPACES, out=tmp_path / "run", checkpoint=0, progress=report, **options)
        assert last[0].best == best_in(found.dataset)
        ends += found.dataset.attrs["interrupted"]
        if not found.dataset.attrs["interrupted"]:
            break
    assert ends > 0
    assert last[0].best == best_in(jl.sweep(OPTIMIZERS, task(), SPACES, **options).dataset)


def test_trials_that_fail_are_not_the_best(float64):
    def refuse(w):
        if w > 1.5:
            raise ArithmeticError("no such number here")

    def loss(w, _):
        jax.debug.callback(refuse, w)
        return (w - 2) ** 2

    made, last = jl.Task("refusing", lambda key: jnp.ones([]), loss, train=None), []
    dataset = jl.sweep(jl.sgd, made, {"learning_rate": [0.01, 0.1]}, steps=20, progress=last.append).dataset
    assert dataset["status"].values.ravel().tolist() == ["completed", "failed"]
    assert last[-1].best == best_in(dataset)


def test_the_best_are_found_seldom_where_that_takes_long(monkeypatch):
    """At most once a second, and for a hundredth of the time."""
    plan = plan_sweep([jl.sgd, jl.adam], "quadratic", {"learning_rate": [0.1, 0.2]}, steps=2, seeds=2)
    own, status = standing.Standing(plan), np.zeros((4, 2), int)
    clock, spent = iter([10.0, 10.9, 11.1, 60.0, 62.0]), iter([0.0, 0.001, 1.0, 1.5, 2.0, 2.0])
    times = {"perf_counter": lambda: next(clock), "thread_time": lambda: next(spent)}  # of 1 ms, half a second, none
    monkeypatch.setattr(standing, "time", types.SimpleNamespace(**times))
    found = []
    for latest in (4.0, 3.0, 2.0, 1.0, 0.0):
        own.latest[:] = latest
        found.append(own.best(status)["sgd"])
    assert found == [4.0, 4.0, 2.0, 2.0, 0.0]  # at 10, 10.9, 11.1, 60 and 62 s
