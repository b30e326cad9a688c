"""`jaxopt-lab init`: the spec that it writes, and what it refuses."""

import re

import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.cli.init import spec_text
from jaxopt_lab.cli.spec import parse

OPTIONS = (
    "stop = { halving",
    "stop = { hyper",
    "stop = { plateau",
    "target",
    "tolerance",
    "record",
    "evaluate",
    "memory",
)


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_it_writes_runs(tmp_path):
    done = invoke("init", "--optimizer", "sgd", "--task", "quadratic")
    assert done.exit_code == 0, done.output
    assert done.stdout == "Wrote sweep.toml. Next: jaxopt-lab run sweep.toml --plan\n"
    ran = invoke("run", "sweep.toml", "--steps", 2, "--seeds", 1, "--out", "run", "--quiet")
    assert ran.exit_code == 0, ran.output
    assert jl.load(tmp_path / "run" / "quadratic").dataset.sizes["config"] == 16


def test_without_options_it_is_two_optimizers_on_the_digits(tmp_path):
    assert invoke("init", "new.toml").exit_code == 0
    spec = parse((tmp_path / "new.toml").read_text(), "new.toml")
    assert (spec.name, list(spec.tasks), list(spec.spaces)) == ("new", ["digits_mlp"], ["adam", "momentum"])
    assert spec.options["steps"] == 1000  # the task's usual budget
    assert spec.confirm == {"seeds": 20, "top": 3}


def test_ranges_are_the_priors():
    spec = parse(spec_text("x.toml", ["lion"], ["quadratic"]), "x.toml")
    drawn = jl.random(jl.prior("lion"), 16, key=0)
    assert spec.spaces["lion"].columns == drawn.columns


@pytest.mark.parametrize("line", OPTIONS)
def test_options_in_comments_are_options(line):
    text = spec_text("x.toml", ["adam"], ["quadratic"])
    assert f"\n# {line}" in text
    (option, *_) = line.split()
    assert option in parse(text.replace(f"\n# {line}", f"\n{line}"), "x.toml").options


def test_hyperparameters_and_arguments_in_comments_are_some():
    head, space, rest = spec_text("x.toml", list(jl.OPTIMIZERS), ["linear_regression"]).partition("[space]")
    head, tasks, arguments = head.partition("[tasks.linear_regression]")
    without = lambda text: re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    spec = parse(head + tasks + without(arguments) + space + without(rest), "x.toml")
    assert {"learning_rate", "b1", "b2", "eps", "eps_root", "moment_dtype"} == set(spec.spaces["adam"].columns)


def test_one_optimizer_needs_no_verdict():
    assert parse(spec_text("x.toml", ["adam"], ["quadratic"]), "x.toml").confirm is None


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "sweep.toml").write_text("precious")
    refused = invoke("init")
    assert refused.exit_code == 2
    assert refused.stderr == "error: sweep.toml already exists. Nothing is overwritten: choose another name.\n"
    assert (tmp_path / "sweep.toml").read_text() == "precious"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--optimizer", "adma"], "Unknown optimizer 'adma'. Did you mean"),
        (["--task", "digts"], "Unknown task 'digts'."),
        ([".toml"], "name must be a string that can name a folder"),
        (["no/such/folder.toml"], "Cannot write no/such/folder.toml: No such file or directory."),
    ],
)
def test_what_cannot_be_written(args, words, tmp_path):
    refused = invoke("init", *args)
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
