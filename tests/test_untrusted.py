"""Untrusted input: a spec, a manifest, a pack or a folder is read or refused, without side effects."""

import dataclasses
import io
import json
import os
import pickle
import sys
import time

import guarded
import hostile
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

import jaxopt_lab as jl
from jaxopt_lab import cli
from jaxopt_lab.cli import runs, spec
from jaxopt_lab.engine import rules
from jaxopt_lab.report.board import board
from jaxopt_lab.store import pack
from jaxopt_lab.store.checked import check_dataset
from jaxopt_lab.store.folder import DEEPEST, Folder
from jaxopt_lab.store.lock import Lock
from jaxopt_lab.store.manifest import MANIFEST, digest, parse
from jaxopt_lab.sweep.space import configurations

SOME = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
DRAWN = settings(max_examples=200, **SOME)
pytestmark = pytest.mark.usefixtures("no_programs")  # which are written to disk


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return guarded.Stage(tmp_path_factory.mktemp("stage"))


# Random input


@DRAWN
@given(text=hostile.specs())
def test_specs(stage, text):
    stage.read_spec(text)


@settings(max_examples=10, **SOME)
@given(text=hostile.specs())
def test_specs_to_the_end(stage, text):
    stage.read_spec(text, whole=True)


@DRAWN
@given(data=st.data())
def test_manifests(stage, data):
    stage.read_manifest(data.draw(hostile.manifests(stage.manifest)))


@DRAWN
@given(data=st.data())
def test_packs(stage, data):
    stage.read_pack(data.draw(hostile.packs(stage.pack)))


@settings(max_examples=60, **SOME)
@given(data=st.data())
def test_folders(stage, data):
    folder = stage.fresh(data.draw(st.sampled_from((stage.saved, stage.broken, stage.complete))))
    data.draw(hostile.spoil(folder, stage.outside))
    stage.read_folder(folder)


def test_the_guard_sees(stage, tmp_path):
    def disguised():
        try:
            raise MemoryError
        except MemoryError as error:
            raise ValueError from error

    for act, seen in (
        (lambda: (tmp_path / "x").write_text(""), "written"),
        (lambda: os.rename(tmp_path / "x", tmp_path / "y"), "written"),
        (lambda: os.system("true"), "os.system"),
        (lambda: pickle.loads(pickle.dumps(np.float32(1))), "pickle.find_class"),
        (lambda: __import__("no_such_module_of_anybody"), "No module named"),
        (disguised, "memory ran out"),
        (lambda: 1 / 0, "division by zero"),
    ):
        with pytest.raises((AssertionError, ImportError, ZeroDivisionError), match=seen):
            stage.guard.outcome(act, ValueError)


# Nothing untrusted is executed


def test_resuming_imports_nothing(tmp_path, monkeypatch):
    """A function is imported for a spec that the user runs, never for a stored one."""
    ran = tmp_path / "ran"
    code = f"from pathlib import Path\nfrom jaxopt_lab import sgd as f\nPath({str(ran)!r}).touch()\n"
    (tmp_path / "of_a_stranger.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    text = 'steps = 2\n[tasks.quadratic]\n[space]\nlearning_rate = 0.1\n[optimizers."of_a_stranger:f"]\n'
    (tmp_path / "run").mkdir()
    runs.Stored(text, "spec.toml", {}).write(Folder(tmp_path / "run"))
    done = CliRunner().invoke(cli.app, ["resume", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "'of_a_stranger:f' would be imported, which a run folder may not cause. Run the spec itself" in done.stderr
    assert not ran.exists()
    assert "of_a_stranger" not in sys.modules
    spec.parse(text, "spec.toml")
    assert ran.exists()


@pytest.mark.parametrize("name", ["optimizer", "config", "train_loss"])
@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_no_codec_but_ours_is_run(stage, monkeypatch, name, place):
    """Pickle is one of the codecs that an array can ask for."""
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    folder = stage.fresh(stage.saved)
    described = json.loads((folder / name / ".zarray").read_text())
    described |= {"dtype": "|O", "fill_value": "", "compressor": None, "filters": [{"id": "vlen-utf8"}]}
    if place == "filters":
        described["filters"].append({"id": "pickle", "protocol": 5})
    else:
        described["compressor"] = {"id": "pickle", "protocol": 5}
    (folder / name / ".zarray").write_text(json.dumps(described))
    for file in folder.joinpath(name).glob("[0-9]*"):
        file.write_bytes(pickle.dumps(Mine()))
    with pytest.raises(ValueError, match=f"{name}/.zarray describes an array that results do not have"):
        jl.load(folder)
    assert not Mine.ran


class Mine:
    ran = False

    def __reduce__(self):
        return setattr, (Mine, "ran", True)


@pytest.mark.filterwarnings("ignore:Object at zarr.json")
@pytest.mark.parametrize("inherited", [{"zarr.json": {"zarr_format": 3, "node_type": "group"}}, {".zmetadata": {}}])
def test_other_descriptions_of_the_same_arrays_are_not_read(stage, inherited):
    folder = stage.fresh(stage.saved)
    for name, content in inherited.items():
        (folder / name).write_text(json.dumps(content))
    assert jl.load(folder).dataset.identical(jl.load(stage.saved).dataset)


# Nothing leads out of a folder


@pytest.mark.parametrize("kind", ["link out", "link to a device", "link to itself", "link to a folder", "pipe", "huge"])
@pytest.mark.parametrize("file", ["manifest.json", "owner.json", "packs", "results.zarr/train_loss/0.0.0", "run.json"])
def test_links_pipes_and_files_without_an_end(stage, kind, file):
    folder = stage.fresh(stage.broken)
    hostile.replace(stage.chunk(folder) if file == "packs" else folder / file, kind, stage.outside)
    assert stage.read_folder(folder) == "refused"


def test_a_folder_deeper_than_ours(stage):
    folder = stage.fresh(stage.broken)
    folder.joinpath(*"d" * (DEEPEST + 1)).mkdir(parents=True)
    with pytest.raises(jl.RunError, match="is a folder, which a run folder never holds"):
        jl.load(folder)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\0", "..", "\ud800"])
def test_names_that_lead_elsewhere(stage, name):
    run = json.loads(stage.manifest)["run"] | {"files": {name: "0" * 64}}
    with pytest.raises(ValueError, match="it names"):
        parse(hostile.sealed(run))
    with pytest.raises(ValueError, match="cannot name a file of a run folder"):
        Folder(stage.inside).read(name)


def test_hyperparameters_with_names_of_paths():
    make = lambda **_: jl.sgd(0.1)
    with pytest.raises(ValueError, match=r"'\.\./x' cannot be a hyperparameter's name"):
        jl.sweep({"mine": make}, "quadratic", {"../x": [0.1]}, steps=1)


# Nothing is trusted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [10**6, 10**6, 10**6]}, "more than can be read"),
        ({"shape": [10**6, 1, 1], "chunks": [1, 1, 1]}, "in 1,000,0.. chunks, more than can be read"),
        ({"chunks": [10**6, 10**6, 1]}, "train_loss/.zarray describes an array"),
        ({"dtype": "<U9999999999"}, "train_loss/.zarray describes an array"),
        ({"shape": [2, 1, -3]}, "train_loss/.zarray describes an array"),
        ({"shape": [2, 1, True]}, "train_loss/.zarray describes an array"),
    ],
)
def test_arrays_that_claim_much(stage, changes, said):
    folder = stage.fresh(stage.saved)
    file = folder / "train_loss" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=said):
        jl.load(folder)


def test_text_that_is_none(stage):
    """Four bytes per character that are not a code point."""
    folder = stage.fresh(stage.saved)
    file = folder / "optimizer" / ".zarray"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {"compressor": None}))
    size = int(described["dtype"].removeprefix("<U"))
    for number in (0xD800, 0x7F570000):
        (folder / "optimizer" / "0").write_bytes(number.to_bytes(4, "little") * size * described["chunks"][0])
        with pytest.raises(ValueError, match="its optimizer is not valid text"):
            jl.load(folder)


@pytest.mark.parametrize("name", ["config", "seed", "step", "eval_step"])
def test_numbers_that_do_not_differ(stage, name):
    dataset = xr.open_zarr(stage.saved, consolidated=False).load()
    check_dataset(dataset)
    with pytest.raises(ValueError, match=f"its {name} are not distinct numbers"):
        check_dataset(dataset.isel({name: [0, 0]}))


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("main_metric", "validation_lss", "its attribute main_metric is 'validation_lss'"),
        ("main_metric", "status", "its attribute main_metric is 'status'"),
        ("main_metric", 3, "its attribute main_metric is 3"),
        ("directions", "[]", "its attribute directions is not a table"),
        ("directions", '{"train_loss": "up"}', "directions does not match its metrics"),
        ("directions", '{"test_f9": "max"}', "directions does not match its metrics"),
        ("structural", '{"sgd": {"a": [3]}}', "structural is not a table of values"),
        ("structural", '{"sgd": 3}', "structural is not a table of values"),
    ],
)
def test_attributes_that_results_do_not_have(stage, attribute, value, said):
    dataset = xr.open_zarr(stage.saved, consolidated=False).load()
    with pytest.raises(ValueError, match=said):
        check_dataset(dataset.assign_attrs({attribute: value}))


@pytest.mark.parametrize("text", ["[1]", "{}", "NaN", "1e999", "[" * 100_000, "nul", "1" * 5000, "'x'"])
def test_values_of_several_types_that_are_none(stage, tmp_path, text):
    dataset = jl.load(stage.saved).dataset
    marked = xr.Variable("config", [text[:6000]] * dataset.sizes["config"], {"written_as": "json"})
    path = tmp_path / "results"
    dataclasses.replace(jl.load(stage.saved), dataset=dataset.assign_coords(strange=marked)).save(path)
    with pytest.raises(ValueError, match="is not a results folder"):
        jl.load(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ([["x", "float32", [2**39, 2**39]]], "is cut off"),
        ([["x", "bfloat16", [2**39] * 100_000]], "has an entry"),
        ([["x", "(1,", [1]]], "has an entry"),
        ([["x", "object", [1]]], "has an entry"),
        ([["x", "float32", [True]]], "has an entry"),
        ({}, "is not a list"),
    ],
)
def test_headers_of_packs(header, said):
    began = time.process_time()
    with pytest.raises(ValueError, match=said):
        pack.unpacked(headed(json.dumps(header).encode()))
    assert time.process_time() - began < 5  # a product of so many numbers takes longer


@pytest.mark.parametrize("depth", [500, 900, 2000, 5000, 9000, 20_000, 100_000])
def test_headers_of_packs_that_are_lists_of_lists(depth):
    """Which of them Python reads at all depends on its version."""
    with pytest.raises(ValueError, match=r"nested too deeply|has an entry \[\[\[\["):
        pack.unpacked(headed(b"[" * depth + b"]" * depth))


def headed(header):
    return len(header).to_bytes(8, "little") + header + bytes(4)


def test_a_unit_whose_arrays_are_misnamed():
    with pytest.raises(ValueError, match="it has no state/0"):
        pack.listed({"state/x": np.zeros(1)}, "state/")


def test_statuses_that_are_none(stage):
    """In a pack whose checksum is correct."""
    folder = stage.fresh(stage.broken)
    run, chunk = json.loads(stage.manifest)["run"], stage.chunk(folder)
    unit, (step, (number, offset, length, _), state) = next(iter(run["units"].items()))
    content = chunk.read_bytes()
    arrays = pack.unpacked(content[offset : offset + length])
    arrays["results/ends/status"][:] = 77
    piece = pack.packed(arrays)
    chunk.write_bytes(content[:offset] + piece + content[offset + length :])
    run["units"][unit] = [step, [number, offset, length, digest(piece)], state]
    (folder / MANIFEST).write_bytes(hostile.sealed(run))
    again = stage.sweep(folder)
    assert "its trials have an invalid status" in again.dataset.attrs["notes"]
    np.testing.assert_array_equal(again.dataset.status, jl.load(stage.saved).dataset.status)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"next_pack": 0}, "its next pack already exists"),
        ({"next_pack": True}, "it is incomplete"),
        ({"identity": {"x": float("nan")}}, "not JSON compliant"),
        ({"identity": hostile.deep(60)}, "nested too deeply"),
    ],
)
def test_manifests_that_could_not_be_written_again(stage, changes, said):
    with pytest.raises(ValueError, match=said):
        parse(hostile.sealed(json.loads(stage.manifest)["run"] | changes))


def test_packs_with_strange_names(stage):
    folder = stage.fresh(stage.broken)
    for name in ("\u00b2", "x", "-1"):  # a digit to `str.isdigit`, no number to `int`
        (folder / "packs" / name).mkdir()
    assert stage.read_folder(folder) == "success"


@pytest.mark.parametrize(
    "owner", [b"[" * 5000, b'{"host":"x","process":1,"beat":' + b"9" * 400 + b',"token":"x"}', b"\xff"]
)
def test_owners_that_are_none(owner):
    folder = Folder(f"memory://{time.time_ns()}/run")
    folder.write("owner.json", owner)
    assert Lock(folder).acquire() is None


def test_an_owner_says_nothing_to_the_terminal():
    folder = Folder(f"memory://{time.time_ns()}/run")
    folder.write("owner.json", json.dumps({"host": "\x1b[2Jx", "process": 1, "beat": 1.0, "token": "x"}).encode())
    assert Lock(folder).acquire() == r"Resuming the run of process 1 on \x1b[2Jx, which did not end cleanly."


@pytest.mark.parametrize(
    "stored",
    [
        {"given": {"chunk": 1}},
        {"given": {"steps": "x"}},
        {"given": {"steps": True}},
        {"text": 1},
        {"format": "x"},
        [],
        None,
    ],
)
def test_damaged_runs(tmp_path, stored):
    whole = {"format": runs.FORMAT, "text": "", "source": "x", "given": {"steps": 1}}
    (tmp_path / "run.json").write_text(json.dumps(whole | stored if isinstance(stored, dict) else stored))
    with pytest.raises(jl.RunError, match=r"run\.json is damaged or not a record of a run"):
        runs.stored(Folder(tmp_path))


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x = " + "9" * 5000, "x = 0x" + "f" * 9000, "x = ["])
def test_a_stored_spec_that_cannot_be_compared(text):
    mine = runs.Stored("steps = 1", "x", {})
    assert runs._changes(runs.Stored(text, "x", {}), mine) == ["its text can no longer be read"]


# Specs that would take forever, or all memory

TINY = "steps = 9\n[tasks.quadratic]\n[optimizers.sgd]\nlearning_rate = 0.1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("x = " + "{a=" * 5000, "nested too deeply"),
        ("a." * 50_000 + "b = 1", "nested too deeply"),
        ("[" + "'a'. " * 50_000 + "b]", "nested too deeply"),
        ("x = " + "9" * 5000, "Exceeds the limit"),
        ("name = 0x" + "f" * 9000 + "\n" + TINY, "Exceeds the limit"),
        ("#" * 2**21, "longer than 1,048,576 characters"),
        ("seeds = 2147483647\n" + TINY, "seeds must be at most 4194304"),
        ("record = 1\n" + TINY.replace("9", "2147483647", 1), "one every 1, must be at most 4194304"),
        ("stop = { plateau = { patience = 1 } }\n" + TINY.replace("9", "2147483647", 1), "must be at most 4194304"),
        ("stop = { hyperband = { eta = 1.000001, min_steps = 1 } }\n" + TINY, "must be at most 1000"),
        (TINY.replace("0.1", "{ log = [1e-9, 1.0, 2147483647] }"), "must be at most 4194304"),
        (TINY.replace("0.1", "{ linear = [-1e308, 1e308, 3] }"), "wider than any number"),
        (
            TINY.replace("0.1", "{ log = [1e-9, 1, 3000] }\nmomentum = { log = [1e-9, 1, 3000] }"),
            "Unknown|configurations",
        ),
        ("sample = { sobol = 2147483647 }\n" + TINY, "must be at most 4194304"),
        (
            TINY.replace("quadratic", "digits_mlp").replace("[opt", "depth = 999999999\n[opt"),
            "depth must be at most 100",
        ),
        (TINY.replace("quadratic", "breast_cancer").replace("[opt", "l2 = 1e-300\n[opt"), "No minimum was found"),
        (TINY.replace("sgd", "'" + "m" * 300 + ":f'"), "cannot be imported"),
    ],
)
def test_specs_that_ask_for_too_much(text, said):
    with pytest.raises(spec.SpecError, match=said):
        spec.parse(text, "spec.toml")


def test_products_that_are_too_large():
    many = list(range(1, 3001))
    with pytest.raises(ValueError, match="has 9,000,000 configurations, more than 4,194,304"):
        configurations({"a": many, "b": many})


def test_an_eta_next_to_1_ends():
    assert rules._rungs(1, 1.0000000000000002, 10, 2**31 - 1).tolist() == list(range(1, 10))


# Pages and terminals


def test_names_are_shown_and_not_obeyed(stage):
    name = "<script>alert(1)</script>[red]\x1b]0;x\x07"
    loaded = jl.load(stage.saved)
    dataset = loaded.dataset.assign_attrs(task=name).rename({"test_r2": f"test_{name}r2"})
    dataset = dataset.assign_coords(optimizer=("config", [name] * dataset.sizes["config"]))
    results = dataclasses.replace(loaded, dataset=dataset)
    page = results._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;[red]") == 3  # of the task, the optimizer and the metric
    printed = io.StringIO()
    Console(file=printed, width=300).print(board(results, 300))
    assert "\x1b" not in printed.getvalue()
    assert r"<script>alert(1)</script>[red]\x1b]0;x\x07" in printed.getvalue()
