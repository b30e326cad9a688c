"""Each command's `--help` ends with examples that work; the exit statuses are those that the program's help lists."""

import importlib
import re
import shlex
import signal

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.cli.examples import EXAMPLES
from jaxopt_lab.cli.failing import STATUSES

PROGRAM = typer.main.get_command(cli.app)
VERDICTS = importlib.import_module("jaxopt_lab.cli.verdicts")


def walk(command, path=""):
    """Yield each command with the words that call it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{path} {name}".strip())


COMMANDS = dict(walk(PROGRAM))


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "80"})


def parsed(line):
    """Parse a command line without running it; return the words that call its command."""
    program, *args = shlex.split(line)
    assert program == "jaxopt-lab"
    command, context, path = PROGRAM, PROGRAM.make_context(program, args), []
    while hasattr(command, "commands"):
        name, command, args = command.resolve_command(context, [*context._protected_args, *context.args])
        path.append(name)
        context = command.make_context(name, args, parent=context)
    return " ".join(path)


@pytest.mark.parametrize("path", COMMANDS)
def test_help_ends_with_examples_that_parse(path):
    lines = [line.strip() for line in invoke(*path.split(), "--help").stdout.splitlines()]
    after = lines[lines.index("Examples:") + 1 :]
    examples = after[: after.index("")]
    assert examples  # each on a line of its own, and whole
    for example in examples:
        assert parsed(example).startswith(path)


def test_there_are_examples_of_commands_alone():
    assert EXAMPLES.keys() == COMMANDS.keys()


def test_a_wrong_example_would_be_found():
    with pytest.raises(Exception, match="nosuch"):
        parsed("jaxopt-lab run --nosuch")
    with pytest.raises(Exception, match="nosuch"):
        parsed("jaxopt-lab verify nosuch")


def test_the_programs_help_lists_the_exit_statuses():
    after = invoke("--help").stdout.partition("Exit status:")[2]
    listed = re.findall(r"^ {3}(\d+) ", after, re.MULTILINE)
    assert [int(status) for status in listed] == list(STATUSES) == [0, 1, 2, 130, 128 + signal.SIGTERM]


@pytest.fixture
def scores(tmp_path):
    """A table of equal scores, which decide nothing."""
    path = tmp_path / "scores.csv"
    rows = [{"optimizer": x, "task": "t", "seed": seed, "score": seed % 3} for x in "ab" for seed in range(6)]
    pd.DataFrame(rows).to_csv(path)
    return path


def test_an_undecided_comparison_is_no_failure(scores):
    done = invoke("judge", scores, "--lower-is-better")
    assert "undecided" in done.stdout
    assert done.exit_code == 0


def test_a_usage_error_has_status_2(scores):
    assert invoke("judge", scores, "--nosuch").exit_code == 2
    assert invoke("nosuch").exit_code == 2
    assert invoke("judge").exit_code == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_comparison(monkeypatch, number, status):
    monkeypatch.setattr(jl, "compare", lambda *args, **kwargs: signal.raise_signal(number))
    done = invoke("compare", "sgd", "adam", "--task", "quadratic", "--quiet")
    assert done.exit_code == status
    assert done.stderr == "Interrupted: the same command with --out resumes.\n"


def test_an_interruption_of_any_other_command(monkeypatch, scores):
    monkeypatch.setattr(jl, "judge", lambda *args, **kwargs: signal.raise_signal(signal.SIGINT))
    assert invoke("judge", scores, "--lower-is-better").exit_code == 130


def test_a_table_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxopt_lab.verify.theory.measured", lambda names: iter([]))
    refused = invoke("verify", "theory", "worst_case", "--out", tmp_path / "no" / "table.md")
    assert refused.exit_code == 2
    assert refused.stderr.endswith("table.md: No such file or directory.\n")
