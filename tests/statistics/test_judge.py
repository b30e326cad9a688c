"""`jl.judge`, `jaxopt-lab judge` and `jaxopt-lab verify published`."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.statistics.pairs import holm
from jaxopt_lab.verify import published

RNG = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def drawn_anew(monkeypatch):
    """Let each test draw the same numbers, whichever tests ran before it."""
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(1))


def table(means, tasks=("t",), seeds=10, spread=1.0):
    """Return scores with these means by optimizer, and noise that optimizers of a seed share in part."""
    rows = []
    for task in tasks:
        shared = RNG.normal(size=seeds)
        for name, mean in means.items():
            scores = mean + shared + spread * RNG.normal(size=seeds)
            rows += [(name, task, seed, score, "ignored") for seed, score in enumerate(scores)]
    return pd.DataFrame(rows, columns=["optimizer", "task", "seed", "score", "host"])


def test_each_row_is_a_paired_test():
    runs = table({"a": 0.0, "b": 3.0, "c": 0.1}, tasks=("s", "t"))
    found = jl.judge(runs.sample(frac=1, random_state=0), higher_is_better=True).table()
    assert len(found) == 3 * 2
    wide = runs.pivot(index=["task", "seed"], columns="optimizer", values="score")
    for row in found.itertuples():
        a, b = wide.loc[row.task][row.a], wide.loc[row.task][row.b]
        assert row.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
        assert row.effect == pytest.approx((a - b).mean())
        better = row.a if row.effect > 0 else row.b
        assert row.better == (better if row.p_corrected <= 0.05 else "undecided")
        assert row.verdict == {row.a: "a", row.b: "b"}.get(row.better, "undecided")
    np.testing.assert_allclose(found["p_corrected"], holm(found["p"]))
    assert set(found.loc[found["verdict"] != "undecided", "better"]) == {"b"}


def test_less_may_be_better():
    runs = table({"a": 0.0, "b": 5.0})
    assert jl.judge(runs, higher_is_better=False).table()["verdict"].tolist() == ["a"]
    assert jl.judge(runs, higher_is_better=True).table()["verdict"].tolist() == ["b"]


def test_other_seeds_and_failures():
    runs = table({"a": 0.0, "b": 1.0}, tasks=("s", "t"))
    runs.loc[(runs["optimizer"] == "a") & (runs["task"] == "s"), "seed"] += 100
    runs.loc[(runs["optimizer"] == "b") & (runs["task"] == "t") & (runs["seed"] == 3), "score"] = -np.inf
    assert jl.judge(runs, higher_is_better=True).table()["test"].tolist() == ["Welch t", "signed rank"]


def test_counts_and_tasks_as_the_unit():
    runs = table({"a": 2.0, "b": 0.0, "c": 0.0}, tasks=tuple("pqrstuvw"))
    judgement = jl.judge(runs, higher_is_better=True, reference="b")
    counts = judgement.counts().set_index("a")
    assert counts.loc["a", "better"] >= 5
    assert (counts[["better", "undecided", "worse"]].sum(axis=1) == 8).all()
    assert counts.loc["a", "better_uncorrected"] >= counts.loc["a", "better"]
    over = judgement.over_tasks().set_index("a")
    assert over.loc["a", "verdict"] == "a"
    assert over.loc["a", "p"] == pytest.approx(2 / 2**8)
    assert over.loc["c", "verdict"] == "undecided"
    assert "undecided" in repr(judgement)


def test_a_family_of_comparisons_is_rarely_wrong():
    """Four equal optimizers on two tasks: a false verdict in at most 5 % of tables, with the binomial error of 300."""
    wrong = 0
    for _ in range(300):
        rows = jl.judge(table(dict.fromkeys("abcd", 0.0), tasks=("s", "t"), seeds=6), higher_is_better=True).rows
        wrong += (rows["verdict"] != "undecided").any()
    assert wrong / 300 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


GOOD = table({"a": 0.0, "b": 1.0})
BAD = {
    "no column": (GOOD.drop(columns="seed"), ValueError, "no column seed"),
    "a NaN": (GOOD.assign(score=GOOD["score"].where(GOOD["seed"] != 3)), ValueError, "missing or NaN"),
    "text": (GOOD.assign(score="1"), TypeError, "must be numbers"),
    "twice": (pd.concat([GOOD, GOOD]), ValueError, "occurs twice"),
    "one optimizer": (GOOD[GOOD["optimizer"] == "a"], ValueError, "nothing to compare"),
    "one seed": (GOOD[GOOD["seed"] == 0], ValueError, "has one seed"),
    "empty": (GOOD[:0], ValueError, "no rows"),
    "no table": ([1, 2], TypeError, "needs a DataFrame"),
    "no common task": (GOOD.assign(task=GOOD["optimizer"]), ValueError, "no task in common"),
}


@pytest.mark.parametrize(("runs", "error", "says"), BAD.values(), ids=BAD)
def test_tables_are_checked(runs, error, says):
    with pytest.raises(error, match=says):
        jl.judge(runs, higher_is_better=True)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"Unknown reference 'z'"):
        jl.judge(GOOD, higher_is_better=True, reference="z")
    with pytest.raises(TypeError, match="higher_is_better"):
        jl.judge(GOOD, higher_is_better="yes")
    with pytest.raises(ValueError, match="between 0 and 1"):
        jl.judge(GOOD, higher_is_better=True, alpha=1.0)


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


def test_the_command(tmp_path):
    table({"a": 0.0, "[b]": 3.0}, tasks=("s", "t")).to_csv(tmp_path / "runs.csv")
    found = invoke("judge", tmp_path / "runs.csv", "--lower-is-better")
    assert found.exit_code == 0, found.output
    assert "[b]" in found.output
    assert "2 comparisons" in " ".join(found.output.split())
    as_json = invoke("judge", tmp_path / "runs.csv", "--lower-is-better", "--reference", "a", "--json")
    rows = json.loads(as_json.stdout)["table"]
    assert [row["better"] for row in rows] == ["a", "a"]
    assert [row["verdict"] for row in rows] == ["b", "b"]
    for wrong, says in (
        (["judge", tmp_path / "runs.csv"], "--higher-is-better or"),
        (["judge", tmp_path / "no.csv", "--lower-is-better"], "no.csv"),
        (["judge", tmp_path / "runs.csv", "--lower-is-better", "--reference", "z"], "Unknown reference"),
    ):
        refused = invoke(*wrong)
        assert refused.exit_code == 2
        assert says in " ".join(refused.output.split())


def test_published_figures_are_reproduced_and_counted_again():
    findings = published.reproduced()
    assert len(findings) == 6 + 11
    assert [finding for finding in findings if not finding.passed] == []
    counts = published.judged().counts().set_index("a")
    assert len(published.judged().rows) == 15 * 17
    assert counts.loc["muon", ["better", "undecided", "worse"]].tolist() == [7, 10, 0]
    assert counts.loc["adamw-ema", ["better", "undecided", "worse"]].tolist() == [4, 13, 0]
    over = published.judged().over_tasks().set_index("a")
    assert over.index[over["verdict"] != "undecided"].tolist() == ["muon"]


def test_the_command_for_them():
    found = invoke("verify", "published")
    assert found.exit_code == 0, found.output
    assert "corrected by Holm's method for all 255" in " ".join(found.output.split())
    assert all(row["passed"] for row in json.loads(invoke("verify", "published", "--json").stdout))
