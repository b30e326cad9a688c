"""Datasets and parameters on disk: one Zarr folder of plain arrays and JSON. Loading executes nothing."""

import json
import time
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from jaxopt_lab.errors import RunError
from jaxopt_lab.labels import ABSENT, column, coordinate, is_plain, present
from jaxopt_lab.store import manifest as manifests
from jaxopt_lab.store.checked import check_arrays, check_dataset, check_params
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import damaged_files
from jaxopt_lab.store.pack import KINDS

if TYPE_CHECKING:
    import xarray as xr

FORMAT = "jaxopt_lab results 1"
RESULTS = "results.zarr"  # of a run folder
AS_JSON = {"written_as": "json"}  # marks a column whose values are of several types
WRITING, WRITTEN = "writing", "written"  # attributes: which write is under way, and which was the last
PATIENCE_SECONDS = 10.0  # that a reader waits for the end of a write; one takes a fraction of a second


class Params(NamedTuple):
    """Final parameters of some configurations, as they were read.

    Attributes:
        configs: The configurations' numbers.
        paths: The path of each leaf in its tree: names and positions.
        leaves: Arrays with leading axes (configurations, seeds).

    """

    configs: np.ndarray
    paths: list[list[str | int]]
    leaves: list[np.ndarray]


def save(dataset: "xr.Dataset", params: list[tuple[np.ndarray, Any]], path: str | Path) -> str | Path:
    """Write a dataset and final parameters to a new Zarr folder, a local one or at a URL.

    Raises:
        FileExistsError: The path exists.

    """
    folder = Folder(path)
    if folder.exists():
        raise FileExistsError(
            f"{path} already exists, and nothing is overwritten. Choose another path, or move it away."
        )
    write(dataset, params, folder, "")
    return path


def write(dataset: "xr.Dataset", params: list[tuple[np.ndarray, Any]], folder: Folder, name: str) -> None:
    """Write or replace the Zarr folder `name`: the dataset at its root, final parameters in params/0, params/1, ..."""
    import xarray as xr

    write_dataset(dataset, folder, name)
    for number, (configs, tree) in enumerate(params):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        variables = {
            f"leaf_{i}": (("config", "seed", *(f"leaf_{i}_axis_{a}" for a in range(x.ndim - 2))), _storable(x))
            for i, (_, x) in enumerate(leaves)
        }
        attrs = {"paths": json.dumps([path_of(p) for p, _ in leaves])}
        attrs["dtypes"] = json.dumps([str(x.dtype) for _, x in leaves])
        _write(xr.Dataset(variables, {"config": configs}, attrs), folder.url(name), f"params/{number}")


def write_dataset(dataset: "xr.Dataset", folder: Folder, name: str) -> None:
    """Write the dataset alone. Where one exists, its arrays are replaced one by one, even while someone reads it."""
    order = json.dumps([str(name) for name in dataset.data_vars])  # Zarr does not keep the order
    attrs = {"format": FORMAT, "order": order, WRITING: uuid.uuid4().hex}
    _write(_with_texts(dataset).assign_attrs(attrs), folder.url(name), None)
    _end_write(_open(folder.url(name), "r+"))


def write_values(dataset: "xr.Dataset", folder: Folder, name: str) -> None:
    """Overwrite the values and attributes of an existing dataset, in a third of the time of `write_dataset`."""
    root = _open(folder.url(name), "r+")
    root.attrs.update({**dataset.attrs, WRITING: uuid.uuid4().hex})
    for variable, values in dataset.data_vars.items():
        root[str(variable)][...] = values.values
    _end_write(root)


def _open(path: str, mode: Literal["r", "r+"]) -> Any:
    import zarr

    return zarr.open_group(path, mode=mode, zarr_format=2, use_consolidated=False)


def _end_write(root: Any) -> None:
    """Let readers know that all arrays are of one write."""
    attrs = dict(root.attrs)
    stamp = attrs.pop(WRITING)
    root.attrs.put(attrs | {WRITTEN: stamp})


def read(path: str | Path) -> "tuple[xr.Dataset, list[Params]]":
    """Read the dataset and the final parameters of a run folder, or of a folder that `save` wrote.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: The path is not a results folder.
        RunError: The run folder is damaged, or has no results yet.

    """
    import xarray as xr

    folder = Folder(path)
    if not folder.exists():
        raise FileNotFoundError(f"There is no {path}.")
    if (manifest := manifests.read(folder)) is not None:
        folder.refuse_links()
        if broken := damaged_files(folder, manifest):
            raise RunError(f"Damaged: {', '.join(broken)}. Run the same sweep again with out={str(path)!r} to fix it.")
        if RESULTS not in folder.names():
            raise RunError(f"The run in {folder} has no results yet. If it is running, load it in a few seconds.")
    name = RESULTS if RESULTS in folder.names() else ""
    where = folder.url(name)
    try:
        if folder.local is not None and not folder.local.is_dir():
            raise ValueError("it is a file")
        found = json.loads(folder.read(f"{name}/.zattrs".removeprefix("/")))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        folder.refuse_links(name)
        check_arrays(folder, name)
        dataset = _read_one_write(where)
        del dataset.attrs["format"]
        check_dataset(dataset)
        dataset = _with_values(dataset)
        order = [name for name in json.loads(dataset.attrs.pop("order", "[]")) if name in dataset.data_vars]
        order += [name for name in dataset.data_vars if name not in order]
        dataset = xr.Dataset({name: dataset[name] for name in order}, dataset.coords, dataset.attrs)
        root = _open(where, "r")
        groups = sorted(root["params"].group_keys(), key=int) if "params" in root else []
        params = [_read_params(where, group, dataset.sizes["seed"]) for group in groups]
    except RunError:
        raise
    except Exception as error:  # whatever is wrong with an untrusted folder, it is not a results folder
        if manifest is not None and not manifest.complete:
            raise RunError(
                f"The results in {folder} cannot be read ({error}). If the run is active, they are being written: "
                "load them again in a few seconds. Otherwise run the same sweep again, with this folder as out=."
            ) from error
        raise ValueError(f"{where} is not a results folder as `results.save(path)` writes it: {error}.") from error
    return dataset, params


def _read_one_write(path: str) -> "xr.Dataset":
    """Read the dataset when all of its arrays are of one write; a write under way is waited for.

    Warns:
        UserWarning: The writer has not finished: it was killed, or it is very slow.

    """
    import xarray as xr

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        dataset = xr.open_zarr(path, consolidated=False, zarr_format=2).load()
        writing, written = (dataset.attrs.pop(name, None) for name in (WRITING, WRITTEN))
        after = _open(path, "r").attrs  # a write that began meanwhile has a mark of its own until its end
        if writing is None and WRITING not in after and after.get(WRITTEN) == written:
            return dataset
        if time.monotonic() > deadline:
            warnings.warn(
                f"The results in {path} were being written when their writer stopped: some arrays are older than "
                "others. Run the same sweep again to bring them up to date.",
                stacklevel=4,
            )
            return dataset
        time.sleep(0.05)


def _read_params(path: str, group: str, seeds: int) -> Params:
    import xarray as xr

    stored = xr.open_zarr(path, group=f"params/{group}", consolidated=False, zarr_format=2).load()
    check_params(stored, seeds)
    dtypes = json.loads(stored.attrs["dtypes"])
    leaves = [stored[f"leaf_{i}"].values.astype(KINDS[dtype]) for i, dtype in enumerate(dtypes)]
    return Params(stored["config"].values, json.loads(stored.attrs["paths"]), leaves)


def _write(dataset: "xr.Dataset", path: str, group: str | None) -> None:
    # Zarr format 2 has a stable way to store text; format 3 has none yet.
    dataset.to_zarr(path, group=group, mode="a", zarr_format=2, consolidated=False)


def _with_texts(dataset: "xr.Dataset") -> "xr.Dataset":
    """Convert columns with values of several types to JSON texts, "" where a value is absent."""
    mixed = {name: coord for name, coord in dataset.coords.items() if coord.dtype == object}
    for name, coord in mixed.items():
        there = present(coord.values)
        written = [json.dumps(value) if has else "" for value, has in zip(coord.values, there, strict=True)]
        dataset = dataset.assign_coords({name: ("config", np.asarray(written), AS_JSON)})
    return dataset


def _with_values(dataset: "xr.Dataset") -> "xr.Dataset":
    """Invert `_with_texts`. Raises ValueError where a value cannot be a hyperparameter's."""
    for name, coord in dataset.coords.items():
        if coord.attrs == AS_JSON:
            values = [json.loads(text) if text else ABSENT for text in coord.values.tolist()]
            if not all(is_plain(value) or value is ABSENT for value in values):
                raise ValueError(f"its {name} has values that a hyperparameter cannot have")
            dataset = dataset.assign_coords({name: coordinate("config", column(values))})
    return dataset


def _storable(x: np.ndarray) -> np.ndarray:
    """Convert bfloat16, which Zarr lacks, to float32, which holds it exactly."""
    return x.astype(np.float32) if x.dtype.kind == "V" or str(x.dtype) == "bfloat16" else x


def path_of(path: tuple[Any, ...]) -> list[str | int]:
    """Return the names and positions of a leaf's path in its tree, as they are stored."""
    return [_entry(entry) for entry in path]


def _entry(entry: Any) -> str | int:
    """Return the name or position of one entry of a tree's path."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            value = getattr(entry, attribute)
            return value if isinstance(value, int) else str(value)
    return str(entry)
