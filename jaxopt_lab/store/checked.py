"""Checks of untrusted results, before another library reads them and before they are used."""

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab import formats
from jaxopt_lab.checking import is_nested
from jaxopt_lab.engine.devices import host_free_bytes
from jaxopt_lab.store.axes import COUNTED, unit_of
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.tasks.direction import MAX, MIN

if TYPE_CHECKING:
    import xarray as xr

DTYPE = re.compile(r"[<|](?:b1|[iuf][1248]|c8|c16|U[1-9][0-9]{0,6})")  # results hold numbers and text only
MOST_CHUNKS = 2**16  # of all arrays together
MOST_CHUNK_BYTES = 2**31 - 1  # the compressor's limit
METADATA = (".zarray", ".zattrs", ".zgroup")
TEXTS = ("task", "task_function", "task_arguments", "space", "structural", "dtype", "created", "strategies")
OPTIONAL_TEXTS = ("notes", "problem", "rungs", "stop", "main_metric", "directions", "diagnostics")
NUMBERS = ("steps", "interrupted", "compile_seconds", "run_seconds")
COSTS = tuple(unit for unit in COUNTED if unit != "step")
OPTIONAL_NUMBERS = ("minimum", "target", "tolerance", "nonfinite", *COSTS, "stateful", "kept_configs")
DIMS = {
    "config": ("config",),
    "seed": ("seed",),
    "optimizer": ("config",),
    "status": ("config", "seed"),
    "first_bad_step": ("config", "seed"),
    "steps_taken": ("config", "seed"),
}
TEXTUAL = ("optimizer", "status")


def check_arrays(folder: Folder, name: str) -> None:
    """Raise ValueError where the Zarr folder `name` describes an array that results never have, or too large to read.

    Codecs are code that Zarr runs on the bytes of a file, so only our own are accepted.
    """
    chunks = total = 0
    for file in folder.files(name):
        if (kind := file.rpartition("/")[2]) not in METADATA:
            continue
        try:
            found = json.loads(folder.read(file))
        except RecursionError:
            found = None
        if not isinstance(found, dict) or is_nested(found):
            raise ValueError(f"{file} is damaged")
        if kind == ".zarray":
            count, size = _claimed(file, found)
            chunks, total = chunks + count, total + size
    if chunks > MOST_CHUNKS or total > host_free_bytes():
        raise ValueError(
            f"its arrays claim {formats.size(total, places=0)} in {chunks:,} chunks, more than can be read"
        )


def _claimed(file: str, array: dict[str, Any]) -> tuple[int, int]:
    """Return how many chunks and bytes the array's metadata claims."""
    match array:
        case {
            "shape": list(shape),
            "chunks": list(pieces),
            "dtype": str(dtype),
            "compressor": None | {"id": "blosc"},
            "filters": None,
        } if DTYPE.fullmatch(dtype) and len(shape) == len(pieces) <= 32:
            if all(type(n) is int and 0 <= n < 2**40 for n in shape) and all(
                type(n) is int and 0 < n < 2**40 for n in pieces
            ):
                itemsize = np.dtype(dtype).itemsize
                if math.prod(pieces) * itemsize <= MOST_CHUNK_BYTES:
                    count = math.prod(math.ceil(n / piece) for n, piece in zip(shape, pieces, strict=True))
                    return count, math.prod(shape) * itemsize
    raise ValueError(f"{file} describes an array that results do not have")


def check_dataset(dataset: "xr.Dataset") -> None:
    """Raise ValueError where a dataset lacks something that a sweep's dataset has, or has it with another type."""
    unit = unit_of(dataset)
    rungs = f"rung_{unit}"
    wanted = {**DIMS, unit: (unit,), f"eval_{unit}": (f"eval_{unit}",), "train_loss": ("config", "seed", unit)}
    for name, dims in wanted.items():
        if name not in dataset.variables or dataset[name].dims != dims or not dataset[name].size:
            raise ValueError(f"it has no {name} of dims {', '.join(dims)}")
        if (dataset[name].dtype.kind == "U") != (name in TEXTUAL) or dataset[name].dtype.kind not in "iufU":
            raise ValueError(f"its {name} is {dataset[name].dtype}")
    for name, array in dataset.variables.items():
        codes = np.frombuffer(array.values.tobytes() if array.dtype.kind == "U" else b"", np.uint32)
        if ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any():  # out of range, or surrogates
            raise ValueError(f"its {name} is not valid text")
    for name in ("config", "seed", unit, f"eval_{unit}"):
        if (
            dataset[name].dtype.kind not in ("iuf" if name.endswith(COSTS) else "iu")
            or not dataset.get_index(name).is_unique
        ):
            raise ValueError(f"its {name} are not distinct numbers")
    for name, array in dataset.data_vars.items():
        if array.dims not in [("config", "seed", *more) for more in ((), (unit,), (f"eval_{unit}",), (rungs,))]:
            raise ValueError(f"its {name} has dims {array.dims}")
        if str(name) not in TEXTUAL and array.dtype.kind not in "iuf":
            raise ValueError(f"its {name} is {array.dtype}")
    for name, coordinate in dataset.coords.items():
        dims, kinds = (("config",), "iufUb") if name != rungs else ((rungs,), "iu")
        if name not in wanted and (coordinate.dims != dims or coordinate.dtype.kind not in kinds):
            raise ValueError(f"its {name} is {coordinate.dtype} of dims {coordinate.dims}")
    for names, kinds, optional in (
        (TEXTS, str, False),
        (OPTIONAL_TEXTS, str, True),
        (NUMBERS, int | float, False),
        (OPTIONAL_NUMBERS, int | float, True),
    ):
        for name in names:
            if not (optional and name not in dataset.attrs) and not isinstance(dataset.attrs.get(name), kinds):
                raise ValueError(f"its attribute {name} is {dataset.attrs.get(name)!r:.80}")
    tables = {
        name: json.loads(dataset.attrs.get(name, "{}")) for name in ("space", "structural", "directions", "diagnostics")
    }
    for name, table in tables.items():
        if not isinstance(table, dict) or is_nested(table):
            raise ValueError(f"its attribute {name} is not a table")
    if not set(tables["directions"]) <= set(dataset.data_vars) or not set(tables["directions"].values()) <= {MAX, MIN}:
        raise ValueError("its attribute directions does not match its metrics")
    if not all(type(stride) is int and stride > 0 for stride in tables["diagnostics"].values()):
        raise ValueError("its attribute diagnostics is not a table of strides")
    main = dataset.attrs.get("main_metric", "train_loss")
    if main not in dataset.data_vars or len(dataset[main].dims) != 3:
        raise ValueError(f"its attribute main_metric is {main!r:.80}")
    for columns in tables["structural"].values():
        lists = list(columns.values()) if isinstance(columns, dict) else [None]
        if not all(isinstance(pairs, list) and all(map(_is_pair, pairs)) for pairs in lists):
            raise ValueError("its attribute structural is not a table of values")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def check_params(dataset: "xr.Dataset", seeds: int) -> None:
    """Raise ValueError where a dataset cannot hold the final parameters of trials with `seeds` seeds."""
    if dataset["config"].dims != ("config",) or dataset["config"].dtype.kind not in "iu":
        raise ValueError("its parameters do not name their configurations")
    for name, array in dataset.data_vars.items():
        if array.dims[:2] != ("config", "seed") or array.sizes["seed"] != seeds or array.dtype.kind not in "iufc":
            raise ValueError(f"its parameters {name} are {array.dtype} of dims {array.dims}")
