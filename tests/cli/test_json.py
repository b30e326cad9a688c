"""`--json`: valid JSON without NaN, and nothing else on standard output."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.cli.data import plain


def invoke(*args):
    return CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "80"})


def read(*args):
    """Return what a command prints as JSON, which has no NaN and no infinity."""
    done = invoke(*args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_every_value_becomes_json():
    value = {1: (np.float32(0.5), np.int64(3), np.bool_(True), None, "x"), "b": [math.nan, -math.inf, np.nan], "c": len}
    assert plain(value) == {"1": [0.5, 3, True, None, "x"], "b": [None, None, None], "c": str(len)}


def test_list_optimizers():
    known = {row["name"]: row for row in read("list", "optimizers")}
    assert list(known) == list(jl.OPTIMIZERS)
    arguments = {argument["name"]: argument for argument in known["adam"]["hyperparameters"]}
    assert known["adam"]["summary"].startswith("Adam (Kingma & Ba 2015")
    assert (arguments["learning_rate"]["required"], arguments["learning_rate"]["default"]) == (True, None)
    assert arguments["b1"]["default"] == 0.9
    assert arguments["b1"]["prior"] == jl.PRIORS[jl.adam]["b1"]._asdict()
    assert arguments["moment_dtype"]["prior"] is None


def test_list_tasks():
    known = {row["name"]: row for row in read("list", "tasks")}
    assert list(known) == list(jl.TASKS)
    assert (known["digits_mlp"]["kind"], known["digits_mlp"]["steps"]) == ("network", 1000)
    assert {"name": "batch_size", "required": False, "default": 64} in known["digits_mlp"]["arguments"]


def test_show(tmp_path):
    with np.errstate(all="ignore"):
        results = jl.sweep({"a": jl.sgd, "[b]": jl.sgd}, "quadratic", {"learning_rate": [0.1, 1e9]}, steps=100)
        bad = jl.sweep({"c": jl.sgd}, jl.tasks.rosenbrock(), {"learning_rate": [1e9]}, steps=50)
    results.save(tmp_path / "run" / "quadratic" / "results.zarr")
    bad.save(tmp_path / "run" / "rosenbrock" / "results.zarr")
    first, second, diverged = read("show", tmp_path / "run")
    assert {first["optimizer"], second["optimizer"]} == {"a", "[b]"}
    board = results.leaderboard().iloc[0]
    assert (first["task"], first["train_loss"], first["diverged"]) == ("quadratic", board["train_loss"], 0.5)
    assert (diverged["task"], diverged["train_loss"], diverged["diverged"]) == ("rosenbrock", None, 1.0)


def test_judge(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"optimizer": name, "task": task, "seed": seed, "score": rng.normal() + (5 if name == "b" else 0)}
        for name in "abc"
        for task in "st"
        for seed in range(6)
    ]
    rows[0]["score"] = math.inf
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv")
    found = read("judge", tmp_path / "scores.csv", "--lower-is-better")
    assert len(found["table"]) == len(found["words"]) == 6
    assert found["table"][0]["high"] is None
    decided = next(n for n, row in enumerate(found["table"]) if (row["task"], row["a"], row["b"]) == ("t", "a", "b"))
    assert found["table"][decided]["better"] == "a"
    assert found["words"][decided].startswith("t: a is better than b (p = ")
    undecided = next(n for n, row in enumerate(found["table"]) if row["verdict"] == "undecided")
    assert "undecided (p = " in found["words"][undecided]
    assert "Holm's method over 6 comparisons" in found["methods"]


def test_plan(tmp_path):
    spec = tmp_path / "x.toml"
    spec.write_text("steps = 10\n[tasks.quadratic]\n[optimizers.sgd]\nlearning_rate = [0.1, 0.2]\n")
    (plan,) = read("run", spec, "--plan")
    assert (plan["task"], plan["trials"], plan["trial_steps"]) == ("quadratic", 2, 20)
    assert plan["groups"][0]["optimizer"] == "sgd"
    assert plan["seconds"] > 0
    refused = invoke("run", spec, "--json")
    assert refused.exit_code == 2
    assert "--json is for --plan" in refused.stderr
