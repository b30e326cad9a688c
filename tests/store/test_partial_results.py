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


def test_a_write_during_a_read_is_seen(folder, monkeypatch):
    """The arrays were read before and after a whole write: they are read again."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    opened, reads = xr.open_zarr, []

    def interleaved(*args, **kwargs):
        found = opened(*args, **kwargs)
        reads.append(found)
        if len(reads) == 1:
            found["train_loss"].load()
            store.write_values(dataset(2), folder, "results.zarr")
        return found

    monkeypatch.setattr(xr, "open_zarr", interleaved)
    assert values(store.read(folder.local)[0]) == {2}
    assert len(reads) == 2


def test_a_write_that_begins_during_a_read_is_waited_for(folder, monkeypatch):
    """It has replaced one array of two when the reader looks again, and ends later."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    opened, reads, ends = xr.open_zarr, [], store._end_write
    monkeypatch.setattr(store, "_end_write", lambda root: None)

    def interleaved(*args, **kwargs):
        found = opened(*args, **kwargs)
        reads.append(found)
        if len(reads) == 1:
            found["train_loss"].load()
            store.write_values(dataset(2), folder, "results.zarr")
        if len(reads) == 3:
            ends(store._open(folder.url("results.zarr"), "r+"))
        return found

    monkeypatch.setattr(xr, "open_zarr", interleaved)
    assert values(store.read(folder.local)[0]) == {2}


def test_a_writer_that_was_killed(folder, monkeypatch):
    """What it left is read, with a warning that arrays may be of two writes."""
    store.write_dataset(dataset(1), folder, "results.zarr")
    store._open(folder.url("results.zarr"), "r+").attrs.update({store.WRITING: "x"})
    monkeypatch.setattr(store, "PATIENCE_SECONDS", 0.1)
    with pytest.warns(UserWarning, match="some arrays are older than others. Run the same sweep again"):
        found, _ = store.read(folder.local)
    assert values(found) == {1}
