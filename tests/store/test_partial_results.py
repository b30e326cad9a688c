"""Partial results that are read while they are written are those of one write."""

import threading
import time

import numpy as np
import pytest
import xarray as xr

from jaxopt_lab.store import zarr as store
from jaxopt_lab.store.folder import Folder


def dataset(value):
    """Three arrays that all hold the same number."""
    values = {name: (("config", "seed"), np.full((2, 3), float(value))) for name in ("train_loss", "status", "rung")}
    return xr.Dataset(values, {"config": np.arange(2), "seed": np.arange(3)}, {"view": value})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "check_arrays", lambda *_: None)  # they are not a sweep's
    monkeypatch.setattr(store, "check_dataset", lambda *_: None)
    return Folder(tmp_path)


def values(found):
    return {float(array.values[0, 0]) for array in found.data_vars.values()} | {found.attrs["view"]}


def test_a_read_waits_for_the_end_of_a_write(folder):
    """The writer stops after each array, where a reader would otherwise find two writes mixed."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    begun, slow = threading.Event(), {}

    class Slow(dict):
        def items(self):
            for name, array in super().items():
                yield name, array
                begun.set()
                time.sleep(0.2)

    def write():
        store.write_values(
            type("Dataset", (), {"attrs": slow["attrs"], "data_vars": slow["vars"]})(), folder, "results.zarr"
        )

    second = dataset(2)
    slow = {"attrs": second.attrs, "vars": Slow(second.data_vars)}
    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(10)
    found, _ = store.read(folder.local)
    writer.join()
    assert values(found) == {2}
    assert set(found.attrs) == {"view"}


@pytest.fixture
def at_reads(monkeypatch):
    """Makes things happen while the folder is read: functions by the number of the read."""
    opened, reads = xr.open_zarr, []

    def install(happening):
        def interleaved(*args, **kwargs):
            found = opened(*args, **kwargs)
            reads.append(found)
            if len(reads) in happening:
                found["train_loss"].load()
                happening[len(reads)]()
            return found

        monkeypatch.setattr(xr, "open_zarr", interleaved)
        return reads

    return install


def test_a_write_during_a_read_is_seen(folder, at_reads):
    """The arrays were read before and after a whole write: they are read again."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    reads = at_reads({1: lambda: store.write_values(dataset(2), folder, "results.zarr")})
    assert values(store.read(folder.local)[0]) == {2}
    assert len(reads) == 2


def test_a_write_that_begins_during_a_read_is_waited_for(folder, at_reads, monkeypatch):
    """It has replaced the arrays when the reader looks again, and ends two reads later."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    ends = store._end_write
    monkeypatch.setattr(store, "_end_write", lambda root: None)
    begin = lambda: store.write_values(dataset(2), folder, "results.zarr")
    at_reads({1: begin, 3: lambda: ends(store._open(folder.url("results.zarr"), "r+"))})
    assert values(store.read(folder.local)[0]) == {2}


def test_a_writer_that_was_killed(folder, monkeypatch):
    """What it left is read, with a warning that arrays may be of two writes."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    store._open(folder.url("results.zarr"), "r+").attrs.update({store.WRITING: "x"})
    monkeypatch.setattr(store, "PATIENCE_SECONDS", 0.1)
    with pytest.warns(UserWarning, match="some arrays are older than others. Run the same sweep again"):
        found, _ = store.read(folder.local)
    assert values(found) == {1}
