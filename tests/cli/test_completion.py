"""Completion in a shell."""

import pytest
from typer.testing import CliRunner

from jaxopt_lab import cli

VARIABLE = "_JAXOPT_LAB_COMPLETE"  # set by the scripts that `jaxopt-lab --show-completion` prints
QUESTIONS = {  # what is typed, and the words that a shell then offers; the last word is incomplete
    "re": {"report", "resume"},
    "compare adabe": {"adabelief"},
    "compare adam --task digits_m": {"digits_mlp"},
    "compare adam --task digits_mlp --reference mu": {"muon"},
    "verify optimizers soph": {"sophia"},
    "list ": {"optimizers", "tasks"},
    "init --optimizer adamw": {"adamw"},
    "run --no-c": {"--no-cache"},
    "run sweep": set(),  # the shell completes names of files
}


@pytest.mark.parametrize(("words", "offered"), QUESTIONS.items(), ids=QUESTIONS)
def test_words_are_completed(words, offered, monkeypatch, capsys):
    given = f"jaxopt-lab {words}"
    monkeypatch.setenv(VARIABLE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", given)
    monkeypatch.setenv("COMP_CWORD", str(given.count(" ")))
    with pytest.raises(SystemExit) as ended:
        cli.app(prog_name="jaxopt-lab")
    assert ended.value.code == 0
    assert set(capsys.readouterr().out.split()) == offered


def test_the_script_for_a_shell_asks_the_program(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = CliRunner().invoke(cli.app, ["--show-completion", "bash"], prog_name="jaxopt-lab")
    assert shown.exit_code == 0
    assert f"{VARIABLE}=complete_bash" in shown.stdout
    assert "complete -o default -F _jaxopt_lab_completion jaxopt-lab" in shown.stdout
