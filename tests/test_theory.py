"""`jaxopt-lab verify theory`: its figures hold, and each check fails where an optimizer is not what it should be.

The quick checks run every time; `pytest -m thorough` runs all of them.
"""

import functools
import inspect
import json
from pathlib import Path

import jax
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.verify import findings_table as table
from jaxopt_lab.verify import theory
from jaxopt_lab.verify.finding import Finding

COMMITTED = Path(inspect.getfile(theory)).parent / "TABLE.md"
QUICK = ("stability", "rates", "worst_case", "stationary", "adam_limits", "quasi_newton", "tutorial")


def off(factory, name, factor):
    """Return the optimizer with one of its hyperparameters multiplied."""

    @functools.wraps(factory)
    def made(*args, **kwargs):
        bound = inspect.signature(factory).bind(*args, **kwargs)
        bound.apply_defaults()
        bound.arguments[name] *= factor
        return factory(*bound.args, **bound.kwargs)

    return made


def with_eps(learning_rate, b1=0.9, b2=0.999, eps=0.0):
    return jl.adam(learning_rate, b1, b2, 1e-8)


def along_the_gradient(learning_rate, *, linesearch=None, memory_size=10):
    return jl.gradient_descent(learning_rate)


def keeping_b1(method):
    return lambda learning_rate, b1, b2: method(learning_rate, b1=b1, b2=b2)


WRONG = [
    ("stability", {"gd": off(jl.gradient_descent, "learning_rate", 1.0001)}),
    ("stability", {"heavy_ball": off(jl.momentum, "momentum", 0.999)}),
    ("rates", {"gd": off(jl.gradient_descent, "learning_rate", 0.99)}),
    ("rates", {"heavy_ball": off(jl.momentum, "momentum", 0.99)}),
    ("worst_case", {"gd": off(jl.gradient_descent, "learning_rate", 0.999)}),
    ("stationary", {"heavy_ball": off(jl.momentum, "momentum", 0.97)}),
    ("adam_limits", {"method": with_eps}),
    ("adam_limits", {"signs": off(jl.sign_sgd, "learning_rate", 1 + 1e-12)}),
    ("quasi_newton", {"method": along_the_gradient}),
    ("tutorial", {"gd": off(jl.gradient_descent, "learning_rate", 1e-3)}),
    ("noisy_quadratic", {"method": off(jl.sgd, "learning_rate", 0.5)}),
    ("counterexample", {"forgetful": keeping_b1(jl.amsgrad)}),
    ("counterexample", {"remembering": keeping_b1(jl.adam)}),
    ("generalisation", {"method": off(jl.gradient_descent, "learning_rate", 100.0)}),
    ("edge_of_stability", {"gd": off(jl.gradient_descent, "learning_rate", 0.9)}),
    ("deepobs", {"gd": off(jl.gradient_descent, "learning_rate", 0.9)}),
    ("deepobs", {"heavy_ball": off(jl.momentum, "momentum", 0.99)}),
    ("certified", {"heavy_ball": off(jl.momentum, "learning_rate", 0.01)}),
]
marked = lambda name, *rest: pytest.param(name, *rest, marks=() if name in QUICK else pytest.mark.thorough)


@pytest.mark.parametrize("name", [marked(name) for name in theory.CHECKS])
def test_theory_holds(name, float64):
    findings = theory.CHECKS[name]()
    assert findings
    assert [finding for finding in findings if not finding.passed] == []


@pytest.mark.parametrize(("name", "wrong"), [marked(*case) for case in WRONG])
def test_a_wrong_optimizer_is_seen(name, wrong, float64):
    assert not all(finding.passed for finding in theory.CHECKS[name](**wrong))


def test_every_check_is_shown_to_fail():
    assert {name for name, _ in WRONG} == set(theory.CHECKS)


def test_a_figure_that_is_not_a_number_fails():
    finding = Finding("x", "y", 1.0, float("nan"), 1.0, "why", "source")
    assert not finding.passed
    assert table.plain("c", finding)["measured"] is None


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["verify", "theory", *map(str, arguments)], env={"COLUMNS": "160"})


def test_the_command(tmp_path):
    found = invoke("worst_case", "adam_limits", "--out", tmp_path / "t.md")
    assert found.exit_code == 0, found.output
    assert "6 of 6 figures within their bounds" in found.output
    assert "L R^2/(4N+2)" in found.output
    assert (tmp_path / "t.md").read_text().count("Drori & Teboulle 2014") == 3
    as_data = json.loads(invoke("worst_case", "--json").stdout)
    assert [row["expected"] for row in as_data] == pytest.approx([3.0, 18 / 42, 18 / 402])
    assert all(row["passed"] and row["check"] == "worst_case" for row in as_data)
    unknown = invoke("wurst_case")
    assert unknown.exit_code == 2
    assert "no check wurst_case" in unknown.output


def test_a_figure_beyond_its_bound_ends_with_status_1(monkeypatch):
    monkeypatch.setitem(theory.CHECKS, "tutorial", lambda: [Finding("x", "2/L", 2.0, 2.1, 1e-3, "why", "source")])
    found = invoke("tutorial")
    assert found.exit_code == 1
    assert "FAILS" in found.output
    assert invoke("tutorial", "--json").exit_code == 1


def test_the_committed_table_has_every_check():
    """A snapshot with figures of another machine; all within their bounds."""
    text = COMMITTED.read_text("utf-8")
    assert ": fails**" not in text
    for finding in theory.CHECKS["worst_case"]():
        assert finding.what in text


def test_precision_is_left_as_it_was():
    before = jax.config.jax_enable_x64
    list(theory.measured(["worst_case"]))
    assert jax.config.jax_enable_x64 == before
