"""Following a run: what is read of it in each state, when following ends, and the sensitivity in one line."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab.cli import watch as module
from jaxopt_lab.cli.runs import Stored
from jaxopt_lab.cli.watch import Reader, follow, watch
from jaxopt_lab.errors import RunError
from jaxopt_lab.report.sparklines import BLOCKS, CELLS, sparkline
from jaxopt_lab.report.watch import Counts, Watched, display, plain_line, sensitivities
from jaxopt_lab.store.budget import Budget
from jaxopt_lab.store.folder import Folder

RATES = [0.01, 0.1, 1.0, 1e12]
SPACE = {"gradient_descent": {"learning_rate": RATES}, "sign_sgd": {"learning_rate": [0.01, 0.1]}}
OPTIONS = {"steps": 40, "seeds": 2, "chunk": 4}


def sweep(where, **options):
    return jl.sweep(list(SPACE), "quadratic", SPACE, out=where, **OPTIONS, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that was interrupted, and a copy of it that was resumed to its end; nobody may change them."""
    folder = tmp_path_factory.mktemp("watched")

    def interrupt(progress):
        if progress.trials_done:
            raise KeyboardInterrupt

    spending = Budget.spending

    @contextlib.contextmanager
    def slowly(self):
        """Save slowly, so that the progress is told before all trials are done."""
        time.sleep(0.4)
        with spending(self):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Budget, "spending", slowly)
        found = sweep(folder / "half", checkpoint=0, progress=interrupt)
    assert found.dataset.attrs["interrupted"]
    shutil.copytree(folder / "half", folder / "whole")
    sweep(folder / "whole")
    return folder


@pytest.fixture
def half(runs, tmp_path):
    return shutil.copytree(runs / "half", tmp_path / "half")


@pytest.fixture(scope="module")
def dataset(runs):
    return jl.load(runs / "whole").dataset


def alive(folder, since=0.0):
    """Let a process hold the folder, whose last sign of life was so many seconds ago."""
    owner = {"host": "elsewhere", "process": 7, "beat": time.time() - since, "token": "x"}
    (folder / "owner.json").write_text(json.dumps(owner))


def printed(tasks, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(display(tasks, width))
    return out.getvalue()


def invoke(*args):
    app = typer.Typer()
    app.command()(watch)
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "100"})


def snapshot(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_complete_run_is_printed_and_only_read(runs):
    before = snapshot(runs / "whole")
    for args in (["--once"], []):
        result = invoke(runs / "whole", *args)
        assert result.exit_code == 0, result.output
        assert "whole: complete, 12/12 trials done, 2 diverged, 100%" in result.output
        assert "Compared after 40 steps." in result.output
        row = next(line for line in result.output.splitlines() if line.startswith("gradient_descent"))
        assert re.search(rf"0\.01 [{BLOCKS}]{{3}}x 1e\+12", row)
    assert snapshot(runs / "whole") == before


def test_a_run_that_nobody_runs_ends_the_following(half):
    result = invoke(half)
    assert result.exit_code == 1
    assert "half: not running, " in result.output
    assert f"jaxopt-lab resume {half}" in result.output
    (seen,) = Reader(Folder(half)).read()
    counts = Counts.of(seen.dataset)
    assert 0 < counts.done < counts.trials == 12
    assert counts.done / 12 <= counts.share < 1


def test_following_until_the_run_is_complete(half):
    alive(half)
    out, states = io.StringIO(), []

    def sleep(seconds):
        assert seconds == 3
        states.append([seen.state for seen in Reader(Folder(half)).read()])
        if len(states) == 2:
            (half / "owner.json").unlink()
            sweep(half)

    (seen,) = follow(Reader(Folder(half)), Console(file=out, width=90), 3, sleep)
    assert seen.state == "complete"
    assert states == [["running"]] * 2
    lines = out.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["half: running", "half: complete"]  # each change once
    assert "12/12 trials done, 2 diverged, 100%" in lines[1]


def test_a_terminal_shows_one_display(half):
    alive(half)
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, force_interactive=True, _environ={"TERM": "xterm"})
    follow(Reader(Folder(half)), console, 1, lambda _: (half / "owner.json").unlink())
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "half: running" in text
    assert text.rindex("half: not running") > text.rindex("half: running")
    assert "Ctrl-C ends this display, not the run." in text
    assert max(len(line) for part in text.splitlines() for line in part.split("\r")) <= 80


def test_a_process_without_a_sign_of_life(half):
    alive(half, since=600)
    (seen,) = Reader(Folder(half)).read()
    assert (seen.state, seen.note) == ("silent", "no sign of life for 10 min: it may have died")


def test_results_that_are_being_written_stay_those_before(half, monkeypatch):
    alive(half)
    reader = Reader(Folder(half))
    (before,) = reader.read()

    def unreadable(_):
        raise RunError("they are being written")

    monkeypatch.setattr(module, "read_results", unreadable)
    (seen,) = reader.read()
    assert seen == before
    assert Reader(Folder(half)).read()[0].note == "no results yet"
    monkeypatch.setattr(module, "read_manifest", unreadable)
    assert reader.read()[0].note == "it cannot be read just now: they are being written"
    with pytest.raises(RunError):
        Reader(Folder(half)).read()


def test_the_tasks_of_a_spec(runs, tmp_path):
    text = "steps = 40\n[tasks.quadratic]\n[tasks.beale]\n[optimizers.sgd]\n"
    Stored(text, "x.toml", {}).write(Folder(tmp_path))
    shutil.copytree(runs / "whole", tmp_path / "quadratic")
    reader = Reader(Folder(tmp_path))
    states = lambda: {seen.name: seen.state for seen in reader.read()}
    assert states() == {"quadratic": "complete", "beale": "not running"}
    alive(tmp_path, since=600)  # the spec's own lock has no further signs of life
    assert states() == {"quadratic": "complete", "beale": "waiting"}
    shutil.copytree(runs / "half", tmp_path / "beale")
    assert states() == {"quadratic": "complete", "beale": "running"}
    shutil.rmtree(tmp_path / "beale")
    shutil.copytree(runs / "whole", tmp_path / "beale")
    assert states() == {"quadratic": "complete", "beale": "complete"}
    assert plain_line(reader.read()[1]).startswith("beale: complete, 12/12")


def test_a_run_that_is_being_extended(runs, half, tmp_path):
    whole = shutil.copytree(runs / "whole", tmp_path / "whole")
    shutil.copytree(half, whole / "more" / "0001")
    alive(whole / "more" / "0001")
    (seen,) = Reader(Folder(whole)).read()
    assert seen.state == "running"
    assert seen.note == "trials are being added: these are the results before"
    assert seen.dataset.sizes["config"] == 6


def test_a_run_at_a_url_and_saved_results(runs):
    remote = Folder("memory://watched/run")
    for path in (runs / "whole").rglob("*"):
        if path.is_file():
            remote.write(str(path.relative_to(runs / "whole")), path.read_bytes())
    assert "run: complete, 12/12" in invoke("memory://watched/run").output
    assert "results.zarr: complete, 12/12" in invoke("memory://watched/run/results.zarr").output


def test_it_uses_no_accelerator(runs):
    """With no platform that JAX could start, anything that ran on a device would raise an error."""
    code = "import typer; from jaxopt_lab.cli.watch import watch; typer.run(watch)"
    environment = {**os.environ, "JAX_PLATFORMS": "nowhere"}
    command = [sys.executable, "-c", code, str(runs / "whole"), "--once"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "12/12 trials done" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], "There is no nowhere."),
        (["."], "is not a results folder"),
        ([".", "--every", "0"], "--every must be at least 0.1 seconds, got 0."),
        ([".", "--every", "nan"], "--every must be at least"),
        (["nope://x"], "cannot be a run folder"),
    ],
)
def test_what_cannot_be_followed(args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*args)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_a_sparkline():
    assert sparkline(np.arange(8), low=0, high=8) == BLOCKS
    assert sparkline([-5, 0.5, 99, np.nan, np.nan], ["", "", "", "x", "·"]) == "▁▅█x·"
    assert sparkline([3.0], low=3, high=3) == "▅"


def test_sensitivities_have_the_best_at_each_rate(dataset):
    lines, low, high = sensitivities(dataset, "train_loss")
    medians = np.median(dataset["train_loss"].values[..., -1], axis=1)
    blocks = lines["gradient_descent"].split(" ")[1]
    assert blocks[3] == "x"
    assert blocks[int(np.argmin(medians[:3]))] == min(blocks[:3])
    order = np.argsort(medians[:3])
    assert "".join(blocks[i] for i in order) == "".join(sorted(blocks[:3]))
    assert len(set(blocks[:3])) > 1
    assert low <= min(medians) < high
    both = blocks[:3] + lines["sign_sgd"].split(" ")[1]
    assert both[int(np.argmin([*medians[:3], *medians[4:]]))] == BLOCKS[0]  # the best of all: they share a scale


def test_rates_that_are_stopped_or_not_begun_have_not_diverged(dataset):
    changed = dataset.copy(deep=True)
    changed["status"] = changed["status"].astype(object)
    changed["status"].values[0] = "stopped"
    changed["status"].values[1] = ["diverged", "stopped"]
    assert sensitivities(changed, "train_loss").lines["gradient_descent"].split(" ")[1][:2] == "··"


def many(dataset, rates, scores):
    """Return a dataset of one optimizer with these rates, and these final training losses."""
    rows = dataset.isel(config=[0] * len(rates)).copy(deep=True)
    rows = rows.assign_coords(config=range(len(rates)), learning_rate=("config", np.asarray(rates)))
    rows["train_loss"].values[..., -1] = np.asarray(scores, float)[:, None]
    return rows


def test_many_rates_share_cells_with_the_best_of_each(dataset):
    rates, scores = np.geomspace(1e-4, 1.0, 5 * CELLS), np.tile([9.0, 9.0, 1.0, 9.0, 9.0], CELLS)
    scores[-5:] = 2.0
    low, blocks, high = sensitivities(many(dataset, rates, scores), "train_loss").lines["gradient_descent"].split(" ")
    assert (low, high) == ("0.0001", "1")
    assert len(blocks) == CELLS
    assert blocks[:-1] == blocks[0] * (CELLS - 1)
    assert blocks[-1] > blocks[0]


def test_rates_in_one_cell_leave_others_empty(dataset):
    rates = [1e-6, *np.linspace(0.9, 1.0, CELLS)]
    line = sensitivities(many(dataset, rates, [1.0] * len(rates)), "train_loss").lines["gradient_descent"]
    assert re.fullmatch(rf"1e-06 [{BLOCKS}] {{{CELLS - 2}}}[{BLOCKS}] 1", line)


def test_schedules_as_rates_keep_their_order(dataset):
    line = sensitivities(many(dataset, ["warm", "cold"], [1.0, 2.0]), "train_loss").lines["gradient_descent"]
    assert re.fullmatch(rf"cold [{BLOCKS}]{{2}} warm", line)


def test_names_are_text_to_the_terminal(dataset):
    hostile = dataset.assign_coords(optimizer=("config", np.asarray(["[red]\x1b[0m"] * 6)))
    text = printed([Watched("[b]task\x1b[2J", "running", hostile, "[i]note")])
    assert "[b]task\\x1b[2J: running" in text
    assert "([i]note)" in text
    assert "[red]\\x1b[0m" in text
    assert "\x1b" not in text


def test_without_learning_rates_there_are_no_sparklines(dataset):
    text = printed([Watched("x", "running", dataset.drop_vars("learning_rate")), Watched("y", "waiting")])
    assert "rate" not in text
    assert "y: waiting" in text
    assert "gradient_descent" in text


def test_a_terminal_without_blocks_has_other_characters(runs):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    follow(Reader(Folder(runs / "whole")), Console(file=out, width=90), 1)
    out.flush()
    assert re.search(r"0\.01 [.:\-=+*#@]{3}x 1e\+12", raw.getvalue().decode("ascii"))
