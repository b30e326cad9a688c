"""Exports: tables with their values and types, LaTeX that escapes, and event files as TensorBoard reads them."""

import builtins
import re

import numpy as np
import pandas as pd
import pytest

import jaxopt_lab as jl
from jaxopt_lab.formats import number
from jaxopt_lab.report.exports import escaped, to_csv, to_latex, to_parquet
from jaxopt_lab.report.tensorboard import to_tensorboard
from jaxopt_lab.results.score import curves

HOSTILE = "[50%] $_{a}$ & \\b~^#"
SPACES = {
    "gradient_descent": {"learning_rate": [0.01, 0.1, 1e6]},
    HOSTILE: {"learning_rate": [0.01, 0.1], "momentum": [0.5], "nesterov": jl.static([True, False])},
}


@pytest.fixture(scope="module")
def swept():
    optimizers = {"gradient_descent": jl.gradient_descent, HOSTILE: jl.momentum}
    return jl.sweep(optimizers, "linear_regression", SPACES, steps=12, seeds=3, record=3, evaluate=4)


@pytest.fixture(scope="module")
def one_seed(swept):
    return jl.Results(swept.dataset.isel(seed=[0]), None, [])


def changed(results, **values):
    """Return results with other values of some curves at the last step: a list of one value per configuration."""
    dataset = results.dataset.copy(deep=True)
    for name, new in values.items():
        dataset[name].values[..., -1] = np.asarray(new, float)[:, None]
    return jl.Results(dataset, None, [])


def body(latex):
    """Return the rows of a table below its header, as lists of cells."""
    rows = latex.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    return [re.split(r"(?<!\\) & ", row.removesuffix(r" \\")) for row in rows]


def test_a_table_of_trials_as_csv_and_parquet(swept, tmp_path):
    assert to_csv(swept, tmp_path / "x.csv") == tmp_path / "x.csv"
    to_parquet(swept, f"file://{tmp_path}/x.parquet")
    table, csv, parquet = swept.table(), pd.read_csv(tmp_path / "x.csv"), pd.read_parquet(tmp_path / "x.parquet")
    assert list(csv) == list(parquet) == list(table)
    assert len(csv) == len(parquet) == 7 * 3
    np.testing.assert_allclose(csv["validation_loss"], table["validation_loss"], rtol=1e-6)
    np.testing.assert_array_equal(parquet["validation_loss"], table["validation_loss"])
    assert parquet["validation_loss"].dtype == swept.dataset["validation_loss"].dtype
    assert parquet["seed"].dtype.kind == "i"
    assert set(parquet["optimizer"]) == {"gradient_descent", HOSTILE}
    assert parquet["nesterov"].dropna().map(str).value_counts().to_dict() == {"True": 6, "False": 6}


def test_a_table_is_replaced_and_its_folder_created(swept, tmp_path):
    (tmp_path / "x.csv").write_text("before" * 10_000)
    to_csv(swept, tmp_path / "x.csv")
    assert len(pd.read_csv(tmp_path / "x.csv")) == 21
    to_csv(swept, tmp_path / "new" / "x.csv")
    assert (tmp_path / "new" / "x.csv").read_bytes() == (tmp_path / "x.csv").read_bytes()
    with pytest.raises(IsADirectoryError):
        to_csv(swept, tmp_path / "new")
    with pytest.raises(TypeError, match="path must be"):
        to_parquet(swept, 3)


def test_latex_has_the_leaderboard(swept):
    latex, board = to_latex(swept), swept.leaderboard()
    rows = body(latex)
    assert [row[0] for row in rows] == [escaped(name) for name in board["optimizer"]]
    low, high = (number(board[f"validation_loss{end}"][0]) for end in ("_q25", "_q75"))
    assert rows[0][2] == rf"$\mathbf{{{number(board['validation_loss'][0])}}}$ (${low}$--${high}$)"
    assert rows[1][2].startswith(f"${number(board['validation_loss'][1])}$ (")
    assert r"validation loss $\downarrow$ & test loss $\downarrow$ & test r2 $\uparrow$" in latex
    assert rows[1][-2] == rf"{100 * board['diverged'][1]:.0f}\,\%"
    assert latex.startswith("% linear\x5fregression: best configuration of each optimizer by validation_loss, medians")
    assert "\\begin{table}" not in latex


def test_the_best_is_bold_by_the_direction_of_its_column(swept):
    rows = body(to_latex(swept, ["optimizer", "validation_loss", "test_r2", "test_loss"], metric="test_r2"))
    board = swept.leaderboard("test_r2")
    for column, best in ((1, "idxmin"), (2, "idxmax"), (3, "idxmin")):
        name = ("validation_loss", "test_r2", "test_loss")[column - 1]
        bold = [r"\mathbf" in row[column] for row in rows]
        printed = [number(x) for x in board[name]]
        assert bold == [text == printed[getattr(board[name], best)()] for text in printed]


def test_equal_as_printed_is_equally_bold_and_nothing_finite_is_not(one_seed):
    tied = changed(one_seed, validation_loss=[1, 1.00001, 1, 1.00002, 2, 2, 2], test_loss=[np.inf] * 7)
    rows = body(to_latex(tied, ["optimizer", "validation_loss", "test_loss"]))
    assert [row[1:] for row in rows] == [[r"$\mathbf{1.00}$", "--"]] * 2


def test_numbers_are_powers_of_ten_and_hyperparameters_columns(one_seed):
    small = changed(one_seed, validation_loss=[1.234e-7, 1, 1, 1, 2, 2, 2])
    rows = body(to_latex(small, ["validation_loss", "learning_rate", "momentum", "nesterov", "config"]))
    assert rows[0] == [r"$\mathbf{1.23\times 10^{-7}}$", "$0.0100$", "--", "--", "0"]
    assert rows[1] == ["$1.00$", "$0.0100$", "$0.500$", "True", "3"]


def test_a_caption_makes_a_float(swept):
    latex = to_latex(swept, caption=r"Losses at $\beta_1$", label="tab:x_1")
    assert latex.startswith("\\begin{table}\n\\centering\n\\caption{Losses at $\\beta_1$}\n\\label{tab:x_1}\n")
    assert latex.endswith("\\end{tabular}\n\\end{table}\n")


def test_text_is_escaped():
    assert escaped(HOSTILE) == (r"{[}50\%{]} \$\_\{a\}\$ \& \textbackslash{}b\textasciitilde{}\textasciicircum{}\#")
    assert escaped("a\n\x1b[0m--<b>") == r"a \textbackslash{}x1b{[}0m-{}-\textless{}b\textgreater{}"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"columns": ["lerning_rate"]}, ValueError, "Did you mean 'learning_rate'"),
        ({"columns": "optimizer"}, TypeError, "columns must be a list"),
        ({"columns": []}, ValueError, "columns is empty"),
        ({"metric": "accuracy"}, ValueError, "Unknown metric 'accuracy'"),
        ({"label": "x"}, ValueError, "Give a caption"),
        ({"caption": 1}, TypeError, "caption must be a text"),
    ],
)
def test_what_a_latex_table_cannot_be(swept, options, error, words):
    with pytest.raises(error, match=words):
        to_latex(swept, **options)


def test_a_partial_comparison_is_said(swept):
    dataset = swept.dataset.copy(deep=True)
    dataset["status"].values[0, 0] = "running"
    dataset["train_loss"].values[0, 0, 2:] = dataset["validation_loss"].values[0, 0, 2:] = np.nan
    for name in curves(dataset):
        dataset[name].values[0, 0, 2:] = np.nan
    with pytest.warns(UserWarning, match="Compared at step 4 of 12 steps"):
        latex = to_latex(jl.Results(dataset, None, []))
    assert "Compared at step 4 of 12 steps" in latex.splitlines()[0]
    assert " & step & " in latex


def events(folder):
    """Yield the events of the one event file of a folder, checking each record's length and checksums."""
    import struct

    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.glob("events.out.tfevents.*")
    content = file.read_bytes()
    masked = lambda data: ((crc32c(data) >> 15 | crc32c(data) << 17) + 0xA282EAD8) & 0xFFFFFFFF
    while content:
        length, check = struct.unpack("<QI", content[:12])
        data, end = content[12 : 12 + length], content[12 + length : 16 + length]
        assert (check, struct.unpack("<I", end)[0]) == (masked(content[:8]), masked(data))
        yield Event.FromString(data)
        content = content[16 + length :]


def plugin(folder):
    """Return the data of the HParams plugin in a folder's events, by tag."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    values = [value for event in events(folder) for value in event.summary.value]
    data = {v.tag: v.metadata.plugin_data.content for v in values if v.metadata.plugin_data.plugin_name == "hparams"}
    return {tag: HParamsPluginData.FromString(content) for tag, content in data.items()}


@pytest.fixture(scope="module")
def exported(swept, tmp_path_factory):
    pytest.importorskip("tensorboardX")
    return to_tensorboard(swept, tmp_path_factory.mktemp("board") / "new", top=7)


def test_the_curves_are_scalars_at_their_steps(swept, exported):
    best = swept.best()
    (run,) = exported.glob(f"{best.config}-*/seed-1")
    found = {}
    for event in events(run):
        for value in event.summary.value:
            if not value.HasField("metadata"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    trial = swept.dataset.sel(config=best.config, seed=1)
    assert set(found) == set(curves(swept.dataset))
    for name, points in found.items():
        steps, values = zip(*points, strict=True)
        assert list(steps) == trial[trial[name].dims[0]].values.tolist()
        np.testing.assert_array_equal(np.float32(values), np.float32(trial[name].values))


def test_configurations_are_groups_of_sessions(swept, exported):
    about = plugin(exported)["_hparams_/experiment"].experiment
    assert about.metric_infos[0].name.tag == "validation_loss"
    assert {h.name: h.type for h in about.hparam_infos} == {
        "optimizer": 1,
        "learning_rate": 3,
        "momentum": 3,
        "nesterov": 2,
    }  # texts are 1, bools 2, numbers 3
    groups = sorted(path for path in exported.iterdir() if path.is_dir())
    assert [path.name[0] for path in groups] == list("0123456")
    for config, group in enumerate(groups):
        starts = [plugin(group / f"seed-{s}")["_hparams_/session_start_info"].session_start_info for s in range(3)]
        assert {start.group_name for start in starts} == {group.name}
        row = swept.dataset.sel(config=config)
        given = {name: getattr(value, value.WhichOneof("kind")) for name, value in starts[0].hparams.items()}
        assert given["optimizer"] == str(row["optimizer"].values)
        assert given["learning_rate"] == float(row["learning_rate"])
        assert ("nesterov" in given) == (given["optimizer"] == HOSTILE)
        assert type(given.get("nesterov", True)) is bool


def test_a_diverged_trial_is_not_hidden(exported):
    run = exported / "2-gradient_descent" / "seed-0"
    assert plugin(run)["_hparams_/session_end_info"].session_end_info.status == 2  # failed
    last = {v.tag: v.simple_value for e in events(run) for v in e.summary.value if not v.HasField("metadata")}
    assert last["train_loss"] == np.inf
    assert np.isnan(last["validation_loss"]) or last["validation_loss"] == np.inf


def test_only_the_best_are_written_and_nothing_twice(swept, tmp_path):
    pytest.importorskip("tensorboardX")
    to_tensorboard(swept, tmp_path, top=1)
    (group,) = (path.name for path in tmp_path.iterdir() if path.is_dir())
    assert group.startswith(f"{swept.best().config}-")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        to_tensorboard(swept, tmp_path)


def test_what_cannot_be_for_tensorboard(swept, tmp_path, monkeypatch):
    for path, options, error, words in [
        (3, {}, TypeError, "path must be"),
        ("s3://x/y", {}, ValueError, "local folder"),
        (tmp_path, {"top": 0}, ValueError, "top must be at least 1"),
    ]:
        with pytest.raises(error, match=words):
            to_tensorboard(swept, path, **options)
    with pytest.raises(ValueError, match="whole numbers"):
        to_tensorboard(swept.by("seconds"), tmp_path)
    load = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("tensorboardX"):
            raise ModuleNotFoundError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'jaxopt_lab\[tensorboard\]'"):
        to_tensorboard(swept, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_best_as_text_and_as_a_table():
    best = jl.Best(
        config=3,
        optimizer="<b>adam</b>",
        hyperparameters={"learning_rate": 0.1234567, "kind": "a&b"},
        metric="validation_loss",
        value=0.25,
        values=(0.25, np.inf, 0.125),
        step=1000,
        steps=(1000,) * 3,
        on_edge=("learning_rate",),
    )
    assert str(best) == (
        "<b>adam</b> (configuration 3): learning_rate=0.123457, kind=a&b\n"
        "validation_loss=0.250, the median over 3 seeds: 0.250, -, 0.125 (step=1,000)\n"
        "At an end of the range that was tried: learning_rate."
    )
    html = best._repr_html_()
    assert "&lt;b&gt;adam&lt;/b&gt; (configuration 3)" in html
    assert "<th>kind</th><td>a&amp;b</td>" in html
    assert "<th>learning_rate</th><td>0.123457 (at an end of the range that was tried)</td>" in html
    assert "<th>validation_loss</th><td>0.250</td>" in html
    assert "<b>" not in html


def test_the_best_over_many_seeds_at_their_own_steps():
    steps = (-1, *range(20, 130, 10))
    best = jl.Best(0, "sgd", {}, "test_loss", 1.0, (1.0,) * 12, 500, steps, ())
    assert str(best) == (
        "sgd (configuration 0)\n"
        f"test_loss=1.00, the median over 12 seeds: {', '.join(['1.00'] * 10)}, ... "
        "(steps=-, 20, 30, 40, 50, 60, 70, 80, 90, 100, ...)"
    )
