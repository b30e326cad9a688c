"""Searches with a run folder: however they end, the same call gives the same suggestions and results."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from test_search import SPACE, TASK, Narrowing, assert_same, rates, searched

import jaxopt_lab as jl

PROGRAM = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_search import Narrowing, searched
from jaxopt_lab.store.run import Run

where, kind, count, saves, save = {where!r}, {kind!r}, {count}, [], Run.save

def kill_at(kind_now, count_now):
    if (kind, count) == (kind_now, count_now):
        os.kill(os.getpid(), signal.SIGKILL)

class Killed(Narrowing):
    def tell(self, *told):
        super().tell(*told)
        kill_at("tell", len(self.log))  # between two rounds

def saving(*args):
    save(*args)
    saves.append(args)
    kill_at("save", len(saves))  # in the middle of a round

Run.save = saving
searched(method=Killed(), out=where, checkpoint=0, **{options!r})
"""
OPTIONS = {"budget": 12, "batch": 4, "steps": 40, "seeds": 2}  # with 20 evaluations: as many saves of each chunk


def test_it_survives_being_killed(tmp_path):
    """In a round, between two, and in a later one; the results are those of a search that no one killed."""
    for kind, count in (("save", 5), ("tell", 1), ("save", 7), ("tell", 2)):
        given = {"where": str(tmp_path / "run"), "kind": kind, "count": count, "options": OPTIONS}
        code = PROGRAM.format(path=[os.path.dirname(__file__), *sys.path], **given)
        environment = {**os.environ, "JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # as `conftest` sets it
        command = [sys.executable, "-c", code]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == -9, ended.stderr
        if kind == "tell":
            assert jl.load(tmp_path / "run", TASK).dataset.sizes["config"] == 4 * count
    found, whole = (
        searched(method=Narrowing(), out=tmp_path / "run", **OPTIONS),
        searched(method=Narrowing(), **OPTIONS),
    )
    assert_same(whole, found)
    assert_same(whole, jl.load(tmp_path / "run", TASK))


def test_a_round_is_a_run_folder_of_its_own(tmp_path):
    found = searched(out=tmp_path / "run")
    assert sorted(os.listdir(tmp_path / "run" / "more")) == ["0001", "0002"]
    assert_same(found, jl.load(tmp_path / "run", TASK))
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 20
    for part in (tmp_path / "run", *(tmp_path / "run" / "more").iterdir()):
        assert json.loads((part / "manifest.json").read_text())["run"]["complete"]


def test_a_larger_budget_goes_on(tmp_path):
    searched(method=Narrowing(), budget=8, out=tmp_path / "run")
    more = searched(method=Narrowing(), budget=12, out=tmp_path / "run")
    assert_same(more, searched(method=Narrowing(), budget=12))


def test_a_method_that_suggests_others_is_refused(tmp_path):
    searched(out=tmp_path / "run")
    for changes in ({"key": 1}, {"method": "sobol"}, {"batch": 5}, {"space": {"learning_rate": jl.log(1e-3, 2.0)}}):
        with pytest.raises(jl.RunError, match="holds a different run"):
            searched(out=tmp_path / "run", **changes)


def test_an_interrupted_search_resumes(tmp_path):
    def stop(progress):
        if progress.trials_done >= 12:
            raise KeyboardInterrupt

    searched(method=Narrowing(), budget=16, batch=4, out=tmp_path / "run", progress=stop)
    assert_same(
        searched(method=Narrowing(), budget=16, batch=4, out=tmp_path / "run"),
        searched(method=Narrowing(), budget=16, batch=4),
    )


def test_a_search_with_a_rule_resumes_and_loads(tmp_path):
    options = {"stop": jl.halving(2, min_steps=3), "budget": 8, "method": Narrowing()}
    found = searched(out=tmp_path / "run", **options)
    assert_same(found, searched(**options))
    assert_same(found, searched(out=tmp_path / "run", **options))
    loaded = jl.load(tmp_path / "run", TASK)
    assert_same(found, loaded)
    assert loaded.dataset.attrs["rungs"] == found.dataset.attrs["rungs"]


def test_seeds_can_be_added_later(tmp_path):
    found = searched(out=tmp_path / "run")
    more = jl.extend(tmp_path / "run", seeds=3, task=TASK)
    assert more.dataset["seed"].values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(rates(more), rates(found))
    swept = jl.sweep(jl.sgd, TASK, SPACE | {"learning_rate": rates(found)}, steps=12, seeds=3)
    np.testing.assert_allclose(more.dataset["train_loss"], swept.dataset["train_loss"], rtol=1e-5)
