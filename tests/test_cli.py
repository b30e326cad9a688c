"""The command line: what it prints and writes, and its errors."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.cli import sweeps
from jaxopt_lab.formats import number
from jaxopt_lab.store.run import Run
from jaxopt_lab.tasks.about import KINDS

SPEC = """\
name = "tiny"
steps = 10
seeds = 2
[tasks.quadratic]
[tasks.linear_regression]
batch_size = 10
[space]
learning_rate = { log = [1e-2, 100.0, 3] }
[optimizers.sgd]
[optimizers.adam]
"""


CONFIRMED = SPEC.replace("seeds = 2\n", "seeds = 2\nconfirm = { seeds = 3 }\n")
LONG = f"record = 1\n{SPEC.replace('steps = 10', 'steps = 200_000')}"

APP = importlib.import_module("jaxopt_lab.cli.app")  # the package's attribute is the Typer object


def invoke(*args, columns=100):
    return CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": str(columns)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: what it printed, and its folder."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(CONFIRMED)
    result = invoke("run", folder / "tiny.toml", "--out", folder / "run")
    assert result.exit_code == 0, result.output
    return result, folder / "run"


def test_everything_is_written_and_can_be_read(finished):
    result, folder = finished
    kept = {"results.zarr", "manifest.json", "packs", "lock", "table.parquet"}
    results = kept | {"table.csv", "sensitivity.png", "curves.png", "page.html"}
    own = {"run.json", "spec.toml", "lock", "leaderboard.csv", "verdict.txt"}
    assert {p.name for p in folder.iterdir()} == own | {"quadratic", "linear_regression"}
    assert {p.name for p in (folder / "quadratic").iterdir()} == results
    assert {p.name for p in (folder / "linear_regression").iterdir()} == results | {"fit.png"}
    assert (folder / "spec.toml").read_text() == CONFIRMED
    for picture in folder.glob("*/*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    for task in ("quadratic", "linear_regression"):
        loaded = jl.load(folder / task / "results.zarr")
        assert dict(loaded.dataset.sizes) | {"config": 6, "seed": 2} == dict(loaded.dataset.sizes)
        assert len(pd.read_csv(folder / task / "table.csv")) == 12
    board = pd.read_csv(folder / "leaderboard.csv")
    assert board["task"].tolist() == ["quadratic"] * 2 + ["linear_regression"] * 2
    written = [path for kind in ("csv", "png", "parquet", "html") for path in folder.glob(f"*/*.{kind}")]
    paths = {str(folder / name) for name in ("spec.toml", "leaderboard.csv", "verdict.txt")} | {*map(str, written)}
    assert paths < set(result.stdout.splitlines())


def test_leaderboards_and_times_are_printed(finished):
    result, folder = finished
    text = " ".join(result.stdout.split())
    assert "quadratic: 12 trials of 10 steps, best train loss first" in text
    assert "linear_regression: 12 trials of 10 steps, best validation loss first" in text
    board = pd.read_csv(folder / "leaderboard.csv")
    best = board[board["task"] == "linear_regression"].iloc[0]
    row = next(line for line in result.stdout.split("linear_regression:")[1].splitlines() if best["optimizer"] in line)
    shown = [row.split()[i] for i in (1, 2, 3, 4)]
    expected = best[["learning_rate", "validation_loss", "test_loss", "test_r2"]]
    np.testing.assert_allclose([float(x) for x in shown], expected.to_numpy(float), rtol=6e-3)
    *_, times = result.stdout.splitlines()
    parts = ["imports", "checks and data", "compiling and running", "fresh seeds", "pictures and writing", "total"]
    assert re.match("Time: " + ", ".join(rf"{part} \d+\.\d s" for part in parts), times)


def test_it_ends_with_a_verdict(finished):
    """In words, by fresh seeds: printed, in a file, and first on the page."""
    result, folder = finished
    said = (folder / "verdict.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in said[:2]] == ["quadratic", "linear_regression"]
    assert "was the best of the sweep. With 3 fresh seeds, its mean test loss is" in said[1]
    assert " ".join(said) in " ".join(result.stdout.split())
    page = (folder / "linear_regression" / "page.html").read_text()
    assert said[1].partition(": ")[2].partition(" With ")[0] in page


def test_the_page_is_opened(finished, monkeypatch):
    _, folder = finished
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    again = invoke("run", folder.parent / "tiny.toml", "--out", folder, "--open")
    assert again.exit_code == 0, again.output
    assert opened == [(folder / "linear_regression" / "page.html").as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert "No browser could be opened" in invoke("run", folder.parent / "tiny.toml", "--out", folder, "--open").stderr


def test_plain_progress_where_there_is_no_terminal(finished):
    lines = finished[0].stderr.splitlines()
    last = [line for line in lines if line.startswith("quadratic: ")][-1]  # on a slow machine others come before it
    assert re.match(r"quadratic: 12/12 trials, \d+ diverged, 2/2 compiled, \S+ trial-steps/s, \d:\d\d in total", last)
    assert lines[-1].startswith("linear_regression: 12/12 trials")
    assert "\x1b" not in finished[0].output


def test_show_prints_the_leaderboards_again(finished):
    result, folder = finished
    shown = invoke("show", folder)
    assert shown.exit_code == 0
    assert shown.stdout.split("Each")[0] == result.stdout.split("Each")[0]
    one = invoke("show", folder / "quadratic" / "results.zarr")
    assert "quadratic: 12 trials" in one.stdout
    assert "linear_regression" not in one.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_the_leaderboard_fits(finished, columns):
    lines = invoke("show", finished[1], columns=columns).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in "".join(lines)
    rows = [line for line in lines if line.startswith(("sgd", "adam"))]
    assert len(rows) == 4
    assert all(("–" in row) == (columns == 120) for row in rows)  # noqa: RUF001  # quartiles beside, or below


def test_markup_in_names_is_text(tmp_path):
    task = jl.Task("[blue]task", init=lambda key: np.zeros(1), loss=lambda w, _: w.sum(), train=None)
    jl.sweep({"[red]x[/]": jl.sgd}, task, {"learning_rate": [0.1]}, steps=2).save(tmp_path / "x")
    shown = invoke("show", tmp_path / "x").stdout
    assert "[red]x[/]" in shown
    assert "[blue]task: 1 trials" in shown


def test_options_instead_of_the_specs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(SPEC.replace("[tasks.linear_regression]\nbatch_size = 10\n", ""))
    result = invoke("run", "tiny.toml", "--steps", 3, "--seeds", 1, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"tiny-\d{8}-\d{6}", folder.name)
    loaded = jl.load(folder / "quadratic" / "results.zarr").dataset
    assert (loaded.attrs["steps"], loaded.sizes["seed"]) == (3, 1)
    assert (folder / "spec.toml").read_text().startswith("# run with --steps 3\n# run with --seeds 1\n")


def test_a_plan_says_what_it_will_take_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(SPEC)
    result = invoke("run", "tiny.toml", "--plan")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("12 trials of 10 steps") == 2
    for task in result.stdout.split("linear_regression: "):
        rows = [line.split() for line in task.splitlines() if line.startswith(("sgd ", "adam "))]
        assert [row[:2] for row in rows] == [["sgd", "6"], ["adam", "6"]]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_programs_are_kept_unless_told_not_to(tmp_path, monkeypatch, no_programs):
    monkeypatch.setenv("JAXOPT_LAB_CACHE", str(tmp_path / "cache"))
    files = lambda: [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    kept = lambda: [path for path in files() if not path.name.startswith("charts-")]  # a page's script
    for seeds, args in ((3, ["--no-cache"]), (5, [])):  # of other shapes: this process remembers its programs
        (tmp_path / "x.toml").write_text(CONFIRMED.replace("seeds = 2\n", f"seeds = {seeds}\nchunk = {3 * seeds}\n"))
        result = invoke("run", tmp_path / "x.toml", "--out", tmp_path / f"run-{seeds}", *args)
        assert result.exit_code == 0, result.output
        assert bool(kept()) == (args == [])


def test_trials_stopped_early_are_counted(tmp_path):
    (tmp_path / "x.toml").write_text(f"stop = {{ halving = {{ eta = 3, min_steps = 2 }} }}\n{SPEC}")
    result = invoke("run", tmp_path / "x.toml", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "12 trials of 10 steps, best train loss first, 6 stopped early" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("spec", "args", "words"),
    [
        (SPEC.replace("sgd", "sdg"), (), ["x.toml:9:", "'sdg'", "Did you mean 'sgd'?"]),
        (SPEC + "[tasks.qadratic]", (), ["x.toml:11:", "'qadratic'", "Did you mean 'quadratic'?"]),
        (SPEC + "lerning_rate = 1", (), ["x.toml:11:", "Did you mean 'learning_rate'?"]),
        (SPEC + "b1 = = 1", (), ["x.toml:11:", "Invalid value"]),
        (SPEC.replace("steps", "stepz"), (), ["x.toml:2:", "'stepz'"]),
        (SPEC.replace("10\n[space]", "'10'\n[space]"), (), ["x.toml:6:", "batch_size must be an integer"]),
        (SPEC, ("--steps", 0), ["--steps must be at least 1, got 0"]),
        (SPEC, ("--memory", 10), ["memory must be at least 1 MiB"]),
        (LONG, ("--memory", 2e6), ["x.toml with memory 2000000: 12 trials do not fit into 2 MiB", "give more memory"]),
        (LONG + "'task.rotation_seed' = 1", ("--plan",), ["x.toml:12:", "structural"]),
        (f"memory = 2_000_000\n{LONG}", ("--plan",), ["x.toml:1: 12 trials do not fit"]),
        (b"\xff\xfe", (), ["not text in UTF-8"]),
        (None, (), ["There is no x.toml"]),
        ("folder", (), ["Is a directory"]),
    ],
)
def test_bad_specs(spec, args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if spec == "folder":
        (tmp_path / "x.toml").mkdir()
    elif spec is not None:
        (tmp_path / "x.toml").write_bytes(spec if isinstance(spec, bytes) else spec.encode())
    result = invoke("run", "x.toml", "--out", "new", *args)
    assert_refused(result, *words)
    assert not (tmp_path / "new").exists()


def assert_refused(result, *words):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_an_existing_output_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("mine", "folder", "link"):
        assert_refused(invoke("run", "--out", tmp_path / name), "exists", "--out")
    assert (tmp_path / "mine").read_text() == "precious"
    assert list((tmp_path / "folder").iterdir()) == []
    (tmp_path / "tiny.toml").write_text(SPEC)
    assert_refused(invoke("run", tmp_path / "tiny.toml", "--out", tmp_path / "mine" / "x"), "Cannot make", "mine")


def test_what_is_not_a_run_cannot_be_shown(tmp_path):
    assert_refused(invoke("show", tmp_path / "nowhere"), "There is no")
    (tmp_path / "x").write_text("no results")
    assert_refused(invoke("show", tmp_path / "x"), "not a results folder", "it is a file")
    (tmp_path / "run" / "task" / "results.zarr").mkdir(parents=True)
    assert_refused(invoke("show", tmp_path / "run"), "results.zarr is not a results folder")


def test_list():
    optimizers = invoke("list", "optimizers").stdout
    assert "momentum(learning_rate, momentum=0.9, nesterov=False, moment_dtype=None)\n    Heavy ball" in optimizers
    assert all(f"{name}(" in optimizers for name in jl.OPTIMIZERS)
    tasks = invoke("list", "tasks").stdout
    assert "  digits_mlp(width=32, depth=1, batch_size=64)\n      Which digit" in tasks
    assert "\n      1,000 steps; validation loss of about" in tasks
    assert all(f"{meaning}:" in tasks for meaning in KINDS.values())
    assert all(f"{name}(" in tasks for name in jl.TASKS)
    assert invoke("list", "things").exit_code == 2


def test_a_start_is_light():
    program = """if True:
        import json, sys
        from typer.testing import CliRunner
        from jaxopt_lab.cli.app import app
        codes = [CliRunner().invoke(app, args).exit_code for args in (["--version"], ["--help"], ["list", "tasks"])]
        heavy = {"sklearn", "xarray", "matplotlib", "pandas", "zarr"}
        print(json.dumps([codes, sorted(heavy & set(sys.modules))]))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[0, 0, 0], []]


EAGER = """if True:
    from jaxopt_lab.report import progress
    progress.PLAIN_EVERY = 0.2  # the first line ends the wait of the test
    import jaxopt_lab.cli.__main__
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.thorough)]
)
def test_an_interrupted_run_keeps_what_there_is(tmp_path, number, status):
    # The quadratic reaches its target at once; the regression cannot, and would go on for hours.
    spec = SPEC.replace("steps = 10", "steps = 5_000_000\ntarget = 1e-3").replace("1e-2, 100.0, 3", "0.3, 0.5, 2")
    (tmp_path / "long.toml").write_text(spec.replace("[tasks.quadratic]", "[tasks.quadratic]\nspectrum = [1.0]"))
    command = [sys.executable, "-c", EAGER, "run", tmp_path / "long.toml", "--out", tmp_path / "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as run:
        stderr = iter(run.stderr or [])
        trains = re.compile("linear_regression: 0/8 trials, 0 diverged, 2/2 compiled, (?!0 trial-steps)")
        next(line for line in stderr if trains.match(line))
        run.send_signal(number)
        *_, interrupted, last = stderr
        stdout = run.stdout.read() if run.stdout else ""
    assert run.returncode == status
    written = [str(tmp_path / "run" / task) for task in ("linear_regression", "quadratic")]
    assert interrupted == f"Interrupted. Written: {', '.join(written)}.\n"
    assert last == f"Resume with: jaxopt-lab resume {tmp_path / 'run'}\n"
    assert "best validation loss first, interrupted" in " ".join(stdout.split())
    whole, part = (jl.load(tmp_path / "run" / t / "results.zarr").dataset for t in ("quadratic", "linear_regression"))
    assert (whole.attrs["interrupted"], part.attrs["interrupted"]) == (0, 1)
    assert set(whole["status"].values.ravel()) == {"reached"}
    assert set(part["status"].values.ravel()) == {"interrupted"}
    assert (tmp_path / "run" / "linear_regression" / "curves.png").exists()
    assert set(pd.read_csv(tmp_path / "run" / "leaderboard.csv")["task"]) == {"quadratic", "linear_regression"}


def only_tables(monkeypatch):
    """Write no pages and no pictures, which take most of the time of a small run."""
    write = lambda results, folder, task, *_: folder.write(f"{task}/table.csv", results.table().to_csv().encode())
    monkeypatch.setattr(sweeps, "write_about", write)


def test_a_broken_run_goes_on(tmp_path, monkeypatch):
    """By `resume` or by the same command, with the same tables as an uninterrupted run."""
    spec = tmp_path / "tiny.toml"
    spec.write_text(SPEC)
    only_tables(monkeypatch)
    assert invoke("run", spec, "--steps", 40, "--out", tmp_path / "whole", "--quiet").exit_code == 0

    def interrupting(self, *args):
        save(self, *args)
        if self.folder.url().endswith("linear_regression") and self.folder.url() not in seen:
            seen.append(self.folder.url())
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)  # until the main thread has seen it

    save, seen = Run.save, []
    monkeypatch.setattr(Run, "save", interrupting)
    for name in ("resumed", "repeated"):
        broken = invoke("run", spec, "--steps", 40, "--out", tmp_path / name, "--quiet")
        assert broken.exit_code == 130
        assert broken.stderr.splitlines()[-1] == f"Resume with: jaxopt-lab resume {tmp_path / name}"
        assert "interrupted" in broken.stdout
    monkeypatch.setattr(Run, "save", save)
    assert_refused(
        invoke("run", spec, "--out", tmp_path / "repeated"), "is the run of another spec: --steps: 40 in the"
    )
    spec.write_text(SPEC.replace("seeds = 2", "seeds = 3"))
    again = invoke("run", spec, "--steps", 40, "--out", tmp_path / "repeated")
    assert_refused(again, "is the run of another spec: seeds: 2 in the folder, 3 now")
    spec.write_text(f"# the same, in other words\n{SPEC}")
    assert invoke("run", spec, "--steps", 40, "--out", tmp_path / "repeated", "--quiet").exit_code == 0
    assert invoke("resume", tmp_path / "resumed", "--quiet").exit_code == 0
    for name in ("resumed", "repeated"):
        for table in ("leaderboard.csv", "quadratic/table.csv", "linear_regression/table.csv"):
            assert (tmp_path / name / table).read_text() == (tmp_path / "whole" / table).read_text()


def test_what_cannot_go_on(tmp_path):
    assert_refused(invoke("resume", tmp_path), "is not the folder of a run", "it has no run.json")
    (tmp_path / "run.json").write_text('{"format": "another"}')
    assert_refused(invoke("resume", tmp_path), "run.json is damaged or not a record of a run")
    assert_refused(invoke("run", "--out", "nosuch://x"), "nosuch://x cannot be a run folder")


def test_a_run_can_be_anywhere(tmp_path):
    (tmp_path / "tiny.toml").write_text(SPEC)
    out = f"memory://{tmp_path.name}/run"
    result = invoke("run", tmp_path / "tiny.toml", "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert f"{out}/quadratic/sensitivity.png" in result.stdout
    shown = invoke("show", out)
    assert shown.stdout.split("Each")[0] == result.stdout.split("Each")[0]


def test_an_interruption_before_anything_is_written(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(jl, "sweep", interrupted)
    (tmp_path / "tiny.toml").write_text(SPEC)
    result = invoke("run", tmp_path / "tiny.toml", "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert result.stderr.startswith("Interrupted. Written: nothing.\nResume with: ")


def test_an_interruption_waits_for_the_end_of_writing():
    done = []

    def interrupted_while_writing():
        with sweeps._interrupts_later():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("written")

    with pytest.raises(KeyboardInterrupt):
        interrupted_while_writing()
    assert done == ["written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_unexpected_error_keeps_its_traceback(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(jl, "sweep", broken)
    (tmp_path / "tiny.toml").write_text(SPEC)
    result = invoke("run", tmp_path / "tiny.toml", "--out", tmp_path / "run")
    assert isinstance(result.exception, RuntimeError)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0743, "0.0743"),
        (10.0, "10.0"),
        (100.0, "100"),
        (1e-5, "1.00e-5"),
        (123456.0, "1.23e5"),
        (0.0, "0.00"),
        (np.inf, "-"),
        (np.nan, "-"),
        ("cosine", "cosine"),
    ],
)
def test_numbers_take_few_characters(value, words):
    assert number(value) == words


def test_list_priors():
    found = invoke("list", "optimizers", "--priors")
    assert found.exit_code == 0
    for name in jl.OPTIMIZERS:
        assert f"{name}\n    " in found.output  # none without
    assert "    b1: 0.5 to 0.999, log in 1 - value (" in found.output
    refused = invoke("list", "tasks", "--priors")
    assert refused.exit_code == 2
