"""Searches with a run folder: however they end, the same call gives the same suggestions and results."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from test_search import SPACE, TASK, Narrowing, assert_same, rates, searched

import jaxopt_lab as jl

PROGRAM = """
import os, signal, sys
sys.path[:0] = {path!r}
from test_search import Narrowing, searched

where, kind, count = {where!r}, {kind!r}, {count}

class Killed(Narrowing):
    def tell(self, *told):
        super().tell(*told)
        if kind == "tell" and len(self.log) == count:  # between two rounds
            os.kill(os.getpid(), signal.SIGKILL)

def progress(p):
    if kind == "steps" and p.trial_steps >= count:  # in the middle of a round
        os.kill(os.getpid(), signal.SIGKILL)

searched(method=Killed(), out=where, checkpoint=0, progress=progress, **{options!r})
print("complete")
"""
OPTIONS = {"budget": 12, "batch": 4, "steps": 900, "seeds": 2}


def started(where, kind="", count=0):
    """Run the search in a process of its own, which kills itself there; return its exit status."""
    path = [os.path.dirname(__file__), *sys.path]
    code = PROGRAM.format(path=path, where=str(where), kind=kind, count=count, options=OPTIONS)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_it_survives_being_killed(tmp_path):
    """In the first round, between rounds, and in later rounds; the results are those of a search without a folder."""
    kills = [("steps", 512), ("tell", 1), ("steps", 9_000), ("tell", 2), ("steps", 16_000)]
    for kind, count in kills:
        ended = started(tmp_path / "run", kind, count)
        assert ended.returncode == -9, ended.stderr
    ended = started(tmp_path / "run")
    assert ended.stdout == "complete\n", ended.stderr
    whole = searched(method=Narrowing(), **OPTIONS)
    assert_same(whole, jl.load(tmp_path / "run", TASK))
    assert_same(whole, searched(method=Narrowing(), out=tmp_path / "run", **OPTIONS))


def test_a_round_is_a_run_folder_of_its_own(tmp_path):
    found = searched(out=tmp_path / "run")
    assert sorted(os.listdir(tmp_path / "run" / "more")) == ["0001", "0002"]
    assert_same(found, jl.load(tmp_path / "run", TASK))
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
