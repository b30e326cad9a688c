"""The conformance table: what it says is so, and the committed copy says it."""

import inspect
from pathlib import Path

import numpy as np
import optax
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.verify.optimizers import conformance, table
from jaxopt_lab.verify.optimizers.cases import METHODS
from jaxopt_lab.verify.optimizers.conformance import Figures, describe, state_bytes, traces
from jaxopt_lab.verify.optimizers.conventions import CONVENTIONS, NOT_TRACED, TWINS
from jaxopt_lab.verify.optimizers.golden import ROWS
from jaxopt_lab.verify.optimizers.golden.replay import sources

COMMITTED = Path(inspect.getfile(table)).parent / "TABLE.md"


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["verify", "optimizers", *map(str, arguments)], env={"COLUMNS": "100"})


def test_the_committed_table_is_not_stale():
    """But for its figures, which are another machine's: those are within their bounds."""
    figures, versions = table.read(COMMITTED.read_text("utf-8"))
    rows = [(describe(name), figures[name]) for name in jl.OPTIMIZERS]
    again = "run `jaxopt-lab verify optimizers --out jaxopt_lab/verify/optimizers/TABLE.md` and commit the file"
    assert table.markdown(rows, versions) == COMMITTED.read_text("utf-8"), again
    for said, seen in rows:
        bounds, rounded = METHODS[said.name].bounds, 10 * (1 + 1e-9)
        records = [row.bound for row in ROWS.values() if row.method == said.name]
        assert float(seen.step64) <= rounded * bounds.step64
        assert float(seen.step32) <= rounded * bounds.step32
        assert (seen.recorded == "") == (not records)
        assert not records or float(seen.recorded) <= rounded * max(records)
        assert not seen.missed


def test_command_recomputes_what_is_asked_for(tmp_path):
    done = invoke("sgd", "lion", "--out", tmp_path / "table.md")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 100
    figures, versions = table.read((tmp_path / "table.md").read_text("utf-8"))
    assert list(figures) == ["sgd", "lion"]
    assert versions.endswith(optax.__version__)
    committed, _ = table.read(COMMITTED.read_text("utf-8"))
    for name, seen in figures.items():
        for ours, theirs in zip(seen[:3], committed[name][:3], strict=True):
            assert float(ours) <= max(1e3 * float(theirs), 1e-6 if ours is seen[1] else 1e-13)


def test_a_figure_beyond_its_bound_is_marked_and_fails(monkeypatch):
    beyond = {"adam": Figures(1e-3, 0.0, None, ["step 1.0e-03 in float64"])}
    monkeypatch.setattr(conformance, "measure", lambda names, done: beyond)
    done = invoke("adam")
    assert done.exit_code == 1
    assert "adam !" in done.output
    assert "adam: step 1.0e-03 in float64" in done.output
    row = [(describe("adam"), table.shown(beyond["adam"]))]
    assert "| **adam: beyond its bounds** |" in table.markdown(row, "")
    assert table.read(table.markdown(row, ""))[0] == {"adam": row[0][1]}


def test_command_knows_the_names():
    done = invoke("adan", "madam")
    assert done.exit_code == 2
    assert "no optimizer madam" in done.output


@pytest.mark.parametrize("name", jl.OPTIMIZERS)
def test_every_numeric_hyperparameter_is_traced(name):
    assert traces(name)


def test_rows_are_of_what_there_is():
    assert set(CONVENTIONS) <= set(jl.OPTIMIZERS)
    assert {row.method for row in ROWS.values()} <= set(jl.OPTIMIZERS)
    for method, argument in NOT_TRACED:
        assert inspect.signature(jl.OPTIMIZERS[method]).parameters[argument].kind is inspect.Parameter.KEYWORD_ONLY
    is_number = lambda x: isinstance(x, int | float | tuple | np.integer) and not isinstance(x, bool)
    numbers = {
        (method, p.name)
        for method, factory in jl.OPTIMIZERS.items()
        for p in inspect.signature(factory).parameters.values()
        if p.kind is p.KEYWORD_ONLY and is_number(p.default)
    }
    assert numbers == set(NOT_TRACED)


def test_twins_that_are_not_simply_optaxs_say_how():
    raw = lambda name: getattr(optax, name, None) if callable(getattr(optax, name, None)) else None
    own = lambda name: raw(name) or getattr(optax.contrib, name, None)
    assert set(TWINS) == {name for name, case in METHODS.items() if case.twin not in (own(name), optax.sgd)}


def test_versions_are_those_recorded():
    pytorch = [facts["source"] for source, facts in sources().items() if source.startswith("torch_")]
    assert len(pytorch) > 10
    assert all("2.13.0" in source for source in pytorch)


@pytest.mark.parametrize(
    ("name", "expected"), [("sgd", 0), ("momentum", 4), ("adam", 8), ("adafactor", 8 / 1024), ("lbfgs", 88)]
)
def test_state_is_weighed(name, expected):
    assert state_bytes(name) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("figure", "text"), [(0.0, "0"), (1e-12, "1e-12"), (1.1e-12, "1e-11"), (float("nan"), "nan")])
def test_figures_are_rounded_up(figure, text):
    assert table.power_of_ten(figure) == text
