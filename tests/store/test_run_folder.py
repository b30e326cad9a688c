"""A sweep with a run folder gives the same results bit for bit, whatever happens on the way."""

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from swept import OPTIONS, SPACE, TASK, sweep

import jaxopt_lab as jl
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import parse
from jaxopt_lab.store.run import Run

UNIT = 12 * 2048  # trial-steps of a chunk
ALL = 8 * UNIT


def broken(out, saves=4, **changes):
    """Run a sweep that Ctrl-C interrupts when that much has been saved."""
    count, save = itertools.count(1), Run.save

    def counting(self, *args):
        save(self, *args)
        if next(count) == saves:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.3)  # until the main thread has seen it, so that it does not come too late

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", counting)
        results = sweep(out, **changes)
    assert results.dataset.attrs["interrupted"]
    return results


def trial_steps(out, **changes):
    """The sweep's results, and how many trial-steps they took now."""
    made = [0]
    return sweep(out, progress=lambda p: made.append(p.trial_steps), **changes), made[-1]


def assert_equal(found, expected):
    """To the last bit: every array, every parameter."""
    assert list(found.dataset.data_vars) == list(expected.dataset.data_vars)
    assert set(found.dataset.coords) == set(expected.dataset.coords)
    for name in expected.dataset.variables:
        np.testing.assert_array_equal(found.dataset[name].values, expected.dataset[name].values, err_msg=name)
    assert len(found.final_params) == len(expected.final_params)
    for (a, p), (b, q) in zip(found.final_params, expected.final_params, strict=True):
        np.testing.assert_array_equal(a, b)
        jax.tree.map(np.testing.assert_array_equal, p, q)


@pytest.fixture(scope="module")
def undisturbed():
    return sweep()


@pytest.fixture(scope="module")
def halved():
    return sweep(stop=jl.halving(4, min_steps=256))


def notes(results):
    return json.loads(results.dataset.attrs.get("notes", "[]"))


def manifest(folder):
    return parse((folder / "manifest.json").read_bytes())


def test_a_run_in_a_folder_is_the_run_without_one(tmp_path, undisturbed):
    made = sweep(tmp_path / "run")
    assert_equal(made, undisturbed)
    assert_equal(jl.load(tmp_path / "run"), undisturbed)
    again, steps = trial_steps(tmp_path / "run")
    assert_equal(again, undisturbed)
    assert steps == 0  # it was loaded
    np.testing.assert_array_equal(
        xr.open_zarr(tmp_path / "run" / "results.zarr", consolidated=False).train_loss, undisturbed.dataset.train_loss
    )
    table = pd.read_parquet(tmp_path / "run" / "table.parquet")
    pd.testing.assert_frame_equal(table, undisturbed.table())


@pytest.mark.parametrize(("checkpoint", "saves", "kept"), [(None, 7, 2 * UNIT), (0, 20, 18 * UNIT / 32)])
def test_an_interrupted_run_goes_on(tmp_path, undisturbed, checkpoint, saves, kept):
    part = broken(tmp_path / "run", saves, checkpoint=checkpoint)
    assert (part.dataset.status == "interrupted").any()
    assert not manifest(tmp_path / "run").complete
    assert set(np.unique(jl.load(tmp_path / "run").dataset.status)) <= {"interrupted", "completed"}
    again, steps = trial_steps(tmp_path / "run", checkpoint=checkpoint)
    assert_equal(again, undisturbed)
    assert 0 < steps <= ALL - kept  # what was done is not done again


def test_an_interrupted_race_goes_on(tmp_path, halved):
    rule = {"stop": jl.halving(4, min_steps=256)}
    for _ in range(2):
        broken(tmp_path / "run", **rule)
    assert_equal(sweep(tmp_path / "run", **rule), halved)
    assert json.loads(jl.load(tmp_path / "run").dataset.attrs["rungs"]) == json.loads(halved.dataset.attrs["rungs"])


def test_a_folder_can_be_anywhere(undisturbed):
    name = f"memory://{random.random()}/run"
    broken(name)
    assert_equal(sweep(name), undisturbed)
    assert_equal(jl.load(name), undisturbed)


# Killed

PROGRAM = """if True:
    import sys
    sys.path.insert(0, {tests!r})
    import jaxopt_lab as jl
    from swept import sweep
    out, seen = {out!r}, open({seen!r}, "a", buffering=1)
    sweep(out, stop=jl.halving(4, min_steps=256), checkpoint=0, progress=lambda p: seen.write(f"{{p.trial_steps}}\\n"))
"""


def test_killed_five_times(tmp_path, halved):
    """With SIGKILL at random times. Segments reported as done by then are not repeated, except one."""
    out, seen, chance = tmp_path / "run", tmp_path / "seen", random.Random(1)
    program = PROGRAM.format(tests=str(Path(__file__).parent), out=str(out), seen=str(seen))
    environment = os.environ | {"JAXOPT_LAB_CACHE": str(tmp_path / "cache")}
    kills = finished = 0
    while not finished:
        seen.write_text("")
        before = committed(out)
        with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
            while process.poll() is None and committed(out) == before:
                time.sleep(0.005)
            if kills < 5:
                time.sleep(chance.uniform(0, 0.2))
                process.kill()
                kills += process.wait() == -signal.SIGKILL
            finished = process.wait() == 0
        made = [int(line) for line in seen.read_text().split()]
        if made and not finished:  # a progress report may be a tenth of a second old, and a segment behind it
            running = 2 * 12 * 64  # on two cores, of twelve trials, of at most so many steps
            assert committed(out) - before >= made[-1] - running
    assert kills == 5
    assert_equal(jl.load(out), halved)


def committed(folder):
    """Trial-steps that the manifest points to."""
    with contextlib.suppress(FileNotFoundError):
        found, total = manifest(folder), 0
        rungs = [0, 256, 1024]
        for unit, entry in found.units.items():
            rung = int(unit.split("-")[1])
            total += 12 * (min(entry.step, [256, 1024, 2048][rung]) - rungs[rung])
        return total
    return 0


# What a file system does


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("checkpoint", [None, 0])
def test_a_disk_that_refuses(tmp_path, monkeypatch, undisturbed, code, checkpoint):
    real, writes = os.fsync, []

    def refuse(descriptor):
        writes.append(descriptor)
        if len(writes) > 30:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(jl.RunError, match=f"{os.strerror(code)}. What was saved before is safe"):
        sweep(tmp_path / "run", checkpoint=checkpoint)
    monkeypatch.setattr(os, "fsync", real)
    assert_equal(sweep(tmp_path / "run"), undisturbed)


@pytest.mark.parametrize("how", ["truncated", "altered", "gone"])
def test_a_damaged_pack_is_named_and_its_work_done_again(tmp_path, undisturbed, how):
    broken(tmp_path / "run", 200, checkpoint=0)
    pack = max((tmp_path / "run" / "packs").iterdir(), key=lambda path: int(path.name))
    harm(pack, how)
    again, steps = trial_steps(tmp_path / "run")
    assert_equal(again, undisturbed)
    assert any(note.startswith("Damaged, so run again: ") and str(pack) in note for note in notes(again))
    assert steps <= ALL - 198 * UNIT / 32 + UNIT  # all else was not


@pytest.mark.parametrize("how", ["truncated", "altered", "gone"])
def test_damaged_results_are_named_and_mended(tmp_path, undisturbed, how):
    sweep(tmp_path / "run")
    file = tmp_path / "run" / "results.zarr" / "train_loss" / "0.0.0"
    harm(file, how)
    with pytest.raises(jl.RunError, match=f"Damaged: {file}. Run the same sweep again"):
        jl.load(tmp_path / "run")
    again, steps = trial_steps(tmp_path / "run")
    assert_equal(again, undisturbed)
    assert notes(again) == [f"Damaged, so written again: {file}."]
    assert steps == 0  # from the packs
    assert_equal(jl.load(tmp_path / "run"), undisturbed)


def harm(file, how):
    content = file.read_bytes()
    middle = len(content) // 2
    if how == "gone":
        file.unlink()
    else:
        cut = content[:middle]
        file.write_bytes(cut if how == "truncated" else cut + bytes([content[middle] ^ 1]) + content[middle + 1 :])


def test_results_that_were_half_written(tmp_path, undisturbed):
    """As if the process was killed while it wrote them: they are written again."""
    broken(tmp_path / "run")
    (tmp_path / "run" / "results.zarr" / "train_loss" / ".zattrs").unlink()
    assert_equal(sweep(tmp_path / "run"), undisturbed)


@pytest.mark.parametrize("how", ["truncated", "altered"])
def test_a_damaged_manifest_is_refused(tmp_path, how):
    broken(tmp_path / "run")
    harm(tmp_path / "run" / "manifest.json", how)
    with pytest.raises(jl.RunError, match=r"manifest.json is damaged or not a manifest .* Move the folder away"):
        sweep(tmp_path / "run")


# Whose folder it is


def test_two_at_once(tmp_path):
    refusals = []

    def meanwhile(progress):
        if not refusals:
            with pytest.raises(
                jl.RunError, match=f"in use by process {os.getpid()} on {socket.gethostname()}"
            ) as error:
                sweep(tmp_path / "run")
            refusals.append(error)

    sweep(tmp_path / "run", progress=meanwhile)
    assert refusals


@pytest.mark.parametrize("where", ["local", "remote"])
def test_an_owner_that_died_holds_nothing(tmp_path, where):
    name = str(tmp_path / "run") if where == "local" else f"memory://{random.random()}/run"
    broken(name)
    owner = {"host": "elsewhere", "process": 7, "beat": time.time() - 1000, "token": "x"}
    Folder(name).write("owner.json", json.dumps(owner).encode())
    assert "Resuming the run of process 7 on elsewhere, which did not end cleanly." in notes(sweep(name))


def test_an_owner_far_away_that_lives_is_respected():
    name = f"memory://{random.random()}/run"
    owner = {"host": "elsewhere", "process": 7, "beat": time.time() - 30, "token": "x"}
    Folder(name).write("owner.json", json.dumps(owner).encode())
    with pytest.raises(jl.RunError, match=r"in use by process 7 on elsewhere.*loses its lock after 120 s"):
        sweep(name)


def test_another_sweep_is_refused(tmp_path):
    broken(tmp_path / "run")
    for changes, said in [
        ({"steps": 1024}, "steps: 2048 in the folder, 1024 now"),
        ({"seeds": 4}, r"seeds: \[0, 1, 2\] in the folder, \[0, 1, 2, 3\] now"),
        ({"target": 0.5}, "target: absent in the folder, 0.5 now"),
        ({"stop": jl.plateau(256)}, "stop: absent in the folder, .Plateau"),
        ({"record": 16}, "recorded steps: '257 from 0 to 2048"),
        ({"optimizers": (jl.sgd, jl.adam)}, "optimizers, momentum: "),
        ({"optimizers": (jl.sgd, named("momentum", jl.adam))}, "momentum, mathematics of a step, 0: changed"),
    ]:
        with pytest.raises(jl.RunError, match=f"holds a different run: .*{said}"):
            sweep(tmp_path / "run", **changes)
    task = jl.tasks.breast_cancer(**TASK)
    inputs, targets = task.train
    other = dataclasses.replace(task, train=(2 * inputs, targets))
    with pytest.raises(jl.RunError, match=r"task, 0, train data: changed\. Choose another folder"):
        jl.sweep([jl.sgd, jl.momentum], other, SPACE, out=tmp_path / "run", **OPTIONS)
    with pytest.raises(jl.RunError, match=r"optimizers, sgd, space, learning_rate, 15: '1.0' in the folder, '2.0' now"):
        jl.sweep(
            [jl.sgd, jl.momentum],
            task,
            {"learning_rate": [*jl.log(1e-3, 1.0, 16).points()[:-1], 2.0]},
            out=tmp_path / "run",
            **OPTIONS,
        )


def named(name, factory):
    def make(learning_rate):
        return factory(learning_rate)

    make.__name__ = name
    return make


def test_other_versions_are_refused_unless_allowed(tmp_path, undisturbed, monkeypatch):
    broken(tmp_path / "run")
    from jaxopt_lab.sweep import durable

    monkeypatch.setattr(durable, "environment", lambda: {**manifest(tmp_path / "run").environment, "jax": "0.99"})
    with pytest.raises(jl.RunError, match=r"other versions or on another device: jax: '.*' in the folder, '0.99' now"):
        sweep(tmp_path / "run")
    assert_equal(sweep(tmp_path / "run", allow_different_version=True), undisturbed)
    assert manifest(tmp_path / "run").environment["jax"] == "0.99"


def test_a_strange_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(jl.RunError, match="is not a run folder: it holds 'mine'"):
        sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_checkpoint_needs_a_folder():
    with pytest.raises(ValueError, match="name the folder with out="):
        sweep(checkpoint=1.0)
    with pytest.raises(ValueError, match="checkpoint must be >= 0"):
        sweep("x", checkpoint=-1.0)


# Trials that fail


def test_what_is_there_is_shown_while_it_runs(tmp_path, float64):
    """A chunk of many segments: loading the folder meanwhile gives partial results that are some seconds old."""
    seen, out = [], tmp_path / "run"

    def look(progress):
        if progress.seconds > 60 or seen:
            raise KeyboardInterrupt
        with contextlib.suppress(jl.RunError):  # nothing yet
            found = jl.load(out)
            if np.isfinite(found.dataset.validation_loss.values).sum() > 2:
                seen.append(found)

    space, options = {"learning_rate": [1e-3]}, {"steps": 10**7, "evaluate": 500}
    ended = jl.sweep(jl.adam, "digits_mlp", space, out=out, progress=look, **options)
    (results,) = seen
    assert results.dataset.status.values.item() == "running"
    assert 0 < results.dataset.steps_taken.values.item() < 10**7
    assert results.dataset.attrs["problem"] == ended.dataset.attrs["problem"]  # in the sweep's own precision


def test_all_diverge(tmp_path):
    task = jl.tasks.linear_regression()
    options = {"steps": 300, "chunk": 4}
    space = {"learning_rate": jl.linear(50.0, 90.0, 8)}
    plain = jl.sweep(jl.sgd, task, space, **options)
    assert (plain.dataset.status == "diverged").all()
    assert_equal(jl.sweep(jl.sgd, task, space, out=tmp_path / "run", **options), plain)
    assert_equal(jl.load(tmp_path / "run", task), plain)


def test_a_loss_that_raises_takes_nobody_with_it(tmp_path, capfd):
    """A callback of the loss fails for large parameters, which one of the optimizers reaches."""

    def check(w):
        if abs(float(w[0])) > 10:
            raise RuntimeError("the simulator has crashed")
        return np.float32(0)

    def loss(w, _):
        watched = jax.pure_callback(
            check, jax.ShapeDtypeStruct((), np.float32), jax.lax.stop_gradient(w), vmap_method="sequential"
        )
        return (w[0] ** 2) + watched

    task = jl.Task("simulated", lambda key: np.ones(1, np.float32), loss, train=None)
    space = {"calm": {"learning_rate": [0.1, 0.2]}, "wild": {"learning_rate": [5.0, 6.0]}}
    with jax.enable_x64(False):
        results = jl.sweep({"calm": jl.sgd, "wild": jl.sgd}, task, space, steps=20, out=tmp_path / "run")
        assert results.dataset.status.values.ravel().tolist() == ["completed"] * 2 + ["failed"] * 2
        (note,) = notes(results)  # of two chunks
        assert note.startswith("wild on simulated: trials failed: ")
        assert results.best().optimizer == "calm"
        mixed = {"learning_rate": [0.1, 5.0, 0.2, 0.3, 0.4]}  # of one chunk, the others of which are run again
        results = jl.sweep(jl.sgd, task, mixed, steps=20, seeds=2, chunk=10, out=tmp_path / "mixed")
        assert results.dataset.status.values.tolist() == [["failed" if i == 1 else "completed"] * 2 for i in range(5)]
        calm = jl.sweep(jl.sgd, task, {"learning_rate": [0.1, 0.2, 0.3, 0.4]}, steps=20, seeds=2)
        np.testing.assert_array_equal(results.dataset.train_loss[[0, 2, 3, 4]], calm.dataset.train_loss)
        with pytest.raises(jax.errors.JaxRuntimeError, match="the simulator has crashed"):
            jl.sweep({"wild": jl.sgd}, task, {"learning_rate": [5.0]}, steps=20)
    capfd.readouterr()
