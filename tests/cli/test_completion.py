"""Completion in a shell: the program's own words, without importing JAX."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import jaxopt_lab_start as start
from jaxopt_lab import cli
from jaxopt_lab.cli import commands

WORDS = [
    "",
    "re",
    "--",
    "compare ada",
    "compare adam --task dig",
    "compare adam --ta",
    "compare adam --task digits_mlp --reference m",
    "verify optimizers so",
    "verify theory w",
    "verify published --",
    "list ",
    "init --optimizer ada",
    "run --no",
    "run sweep",  # the shell completes names of files
]


def answer(main, words, monkeypatch, capsys, shell="bash"):
    """Return what the program answers to a shell; the last word is incomplete."""
    given = f"jaxopt-lab {words}"
    monkeypatch.setenv(start.VARIABLE, f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", given)
    monkeypatch.setenv("COMP_CWORD", str(given.count(" ")))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", given)
    monkeypatch.setattr(sys, "argv", ["jaxopt-lab"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return sorted(filter(None, capsys.readouterr().out.splitlines()))  # as a shell shows them


@pytest.mark.parametrize("words", WORDS)
def test_it_completes_as_the_program_itself_would(words, monkeypatch, capsys):
    light = answer(start.main, words, monkeypatch, capsys)
    assert light == answer(lambda: cli.app(prog_name="jaxopt-lab"), words, monkeypatch, capsys)
    assert all(word.startswith(words.split(" ")[-1]) for word in light)
    assert bool(light) == (words != "run sweep")


@pytest.mark.parametrize("shell", ["zsh", "powershell"])
def test_other_shells_show_what_each_word_means(shell, monkeypatch, capsys):
    (line,) = [x for x in answer(start.main, "exte", monkeypatch, capsys, shell) if "extend" in x]
    assert "Add seeds or steps to a complete run" in line


def test_the_commands_are_the_programs():
    """If it fails, run: python -m jaxopt_lab.cli.commands."""
    assert commands.FILE.read_text("utf-8") == commands.text()


@pytest.mark.parametrize("kind", start.DEFINITIONS)
def test_names_are_those_of_the_registries(kind):
    assert sorted(start.names(kind)) == sorted(commands.NAMES[kind])


def test_it_imports_nothing_of_the_package():
    program = (
        "import jaxopt_lab_start, sys\ntry: jaxopt_lab_start.main()\n"
        "finally: sys.exit('jax' in sys.modules or 'jaxopt_lab' in sys.modules)"
    )
    question = {start.VARIABLE: "complete_bash", "COMP_WORDS": "jaxopt-lab compare ada", "COMP_CWORD": "2"}
    root = Path(start.__file__).parent
    done = subprocess.run([sys.executable, "-c", program], env=question, cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"adam\n" in done.stdout


def test_the_script_for_a_shell_asks_the_program(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(cli.app, ["--show-completion", "bash"], prog_name="jaxopt-lab")
    assert shown.exit_code == 0
    assert f"{start.VARIABLE}=complete_bash" in shown.stdout
    assert "complete -o default -F _jaxopt_lab_completion jaxopt-lab" in shown.stdout
