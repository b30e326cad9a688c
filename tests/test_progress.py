"""Progress: plain lines where there is no terminal, a bar where there is one, and always the final values."""

import io
import re

import pytest
from rich.console import Console

from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.formats import compact
from jaxopt_lab.report.progress import shown


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
