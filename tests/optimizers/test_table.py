"""The conformance table: what it says is so, and the committed copy says it."""

import functools
import inspect
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.verify.optimizers import conformance, table, wrappers
from jaxopt_lab.verify.optimizers.case import Case
from jaxopt_lab.verify.optimizers.cases import CASES, METHODS
from jaxopt_lab.verify.optimizers.conformance import Figures, describe, state_bytes, traces
from jaxopt_lab.verify.optimizers.golden import ROWS
from jaxopt_lab.verify.optimizers.golden.replay import sources
from jaxopt_lab.verify.optimizers.golden.wrappers import ROWS as OF_WRAPPERS
from jaxopt_lab.verify.optimizers.problems import PROBLEMS
from jaxopt_lab.verify.optimizers.walks import walked

COMMITTED = Path(inspect.getfile(table)).parent / "TABLE.md"


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["verify", "optimizers", *map(str, arguments)], env={"COLUMNS": "100"})


def test_the_committed_table_is_not_stale():
    """Except for its figures, which come from another machine: those are within their bounds.

    The table is a snapshot. A method that was added since is not in it yet.
    """
    figures, versions = table.read(COMMITTED.read_text("utf-8"))
    of_wrappers = table.read_wrappers(COMMITTED.read_text("utf-8"))
    rows = [(describe(name), figures[name]) for name in jl.OPTIMIZERS if name in figures]
    around = [(wrappers.describe(name), of_wrappers[name]) for name in wrappers.WRAPPERS if name in of_wrappers]
    assert (len(rows), len(around)) == (len(figures), len(of_wrappers))
    again = "run `jaxopt-lab verify optimizers --out jaxopt_lab/verify/optimizers/TABLE.md` and commit the file"
    assert table.markdown(rows, versions, around) == COMMITTED.read_text("utf-8"), again
    for said, seen in rows:
        bounds, rounded = METHODS[said.name].bounds, 10 * (1 + 1e-9)
        records = [row.bound for row in ROWS.values() if row.method == said.name]
        if METHODS[said.name].twin:
            assert float(seen.step64) <= rounded * bounds.step64
            assert float(seen.step32) <= rounded * bounds.step32
        else:
            assert (seen.step64, seen.step32) == ("", "")
        assert (seen.recorded == "") == (not records)
        assert not records or float(seen.recorded) <= rounded * max(records)
        assert not seen.missed
    for said, seen in around:
        records = [row.bound for row in OF_WRAPPERS.values() if row.method == said.name]
        assert (seen.recorded == "") == (not records)
        assert not records or float(seen.recorded) <= 10 * (1 + 1e-9) * max(records)
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


def test_wrappers_have_a_section_of_their_own(tmp_path):
    done = invoke("sgd", "lookahead", "grokfast_ema", "--out", tmp_path / "table.md")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "table.md").read_text("utf-8")
    assert list(table.read(text)[0]) == ["sgd"]
    found = table.read_wrappers(text)
    assert found.keys() == {"lookahead", "grokfast_ema"}
    assert 0 < float(found["lookahead"].recorded) <= 1e-12
    assert found["grokfast_ema"].recorded == ""
    assert "derived" in done.output


def test_command_knows_the_names():
    done = invoke("adan", "madam")
    assert done.exit_code == 2
    assert "no optimizer madam" in done.output


@pytest.mark.parametrize("name", jl.OPTIMIZERS)
def test_every_numeric_hyperparameter_is_traced(name):
    assert traces(name)


@pytest.mark.parametrize("name", jl.OPTIMIZERS)
def test_a_number_that_is_not_traced_says_why(name):
    is_number = lambda x: isinstance(x, int | float | tuple | np.integer) and not isinstance(x, bool)
    parameters = inspect.signature(jl.OPTIMIZERS[name]).parameters.values()
    numbers = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and is_number(p.default)}
    assert numbers == set(METHODS[name].not_traced)


@pytest.mark.parametrize("name", jl.OPTIMIZERS)
def test_every_method_has_a_witness_that_exists(name):
    case, said = METHODS[name], describe(name)
    records = [record for record, row in ROWS.items() if row.method == name]
    optaxs = [witness for witness in said.witnesses if "optax" in witness]
    assert said.witnesses, "a method without a twin in Optax needs a golden record"
    assert len(optaxs) == (case.twin is not None)
    for address in (optax_name.split(" ")[0] for optax_name in optaxs if optax_name.startswith("optax")):
        assert callable(functools.reduce(getattr, address.split(".")[1:], optax))
    assert all(any(record in witness for witness in said.witnesses) for record in records)


def test_a_method_without_a_twin_is_held_against_its_records(monkeypatch):
    alone = METHODS["lion"]._replace(twin=None)
    monkeypatch.setitem(METHODS, "lion", alone)
    said, figures = describe("lion"), Figures(None, None, 1e-14, [])
    assert not any("optax" in witness for witness in said.witnesses)
    row = [(said, table.shown(figures))]
    assert table.read(table.markdown(row, ""))[0] == {"lion": row[0][1]}
    assert walked([alone], PROBLEMS["mlp"], "float64")[0].beyond(alone.bounds, "float64") == {}
    wrong = alone._replace(
        ours=lambda learning_rate: jl.lion(learning_rate * (1 + isinstance(learning_rate, jax.Array)))
    )
    assert walked([wrong], PROBLEMS["mlp"], "float64")[0].beyond(alone.bounds, "float64") != {}


def test_twins_that_are_not_simply_optaxs_say_how():
    simply = [*vars(optax).values(), *vars(optax.contrib).values()]
    plain = lambda case: any(case.twin is function for function in simply)
    for name, case in METHODS.items():
        if case.twin:
            assert bool(case.mended) == (not plain(case)), name
        else:
            assert not case.mended, name


def test_what_is_true_of_a_method_is_in_its_first_row():
    empty = Case(jl.sgd, None, {})
    of_method = lambda case: case[case._fields.index("mended") :]
    assert all(of_method(case) == of_method(empty) for name, case in CASES.items() if name not in METHODS)


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
