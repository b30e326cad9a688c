"""Results on disk: one Zarr folder of plain arrays and JSON. Nothing is executed on loading."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxopt_lab.labels import ABSENT, column, coordinate, is_plain, present
from jaxopt_lab.store import manifest as manifests
from jaxopt_lab.store.checked import check_arrays, check_dataset, check_params
from jaxopt_lab.store.errors import RunError
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import damaged_files
from jaxopt_lab.store.pack import KINDS
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import random_key

if TYPE_CHECKING:
    import xarray as xr

    from jaxopt_lab.results import Results

FORMAT = "jaxopt_lab results 1"
RESULTS = "results.zarr"  # of a run folder
AS_JSON = {"written_as": "json"}  # the mark of a column whose values are of several types


def save(results: "Results", path: str | Path) -> str | Path:
    """Write results to a new Zarr folder, a local one or at a URL.

    Raises:
        FileExistsError: The path exists.

    """
    folder = Folder(path)
    if folder.exists():
        raise FileExistsError(
            f"{path} exists already and nothing is overwritten. Choose another path, or move it away."
        )
    write(results, folder, "")
    return path


def write(results: "Results", folder: Folder, name: str) -> None:
    """Write or replace the Zarr folder `name`: the dataset at its root, final parameters in params/0, params/1, ..."""
    import xarray as xr

    write_dataset(results.dataset, folder, name)
    for number, (configs, params) in enumerate(results.final_params):
        leaves = jax.tree_util.tree_leaves_with_path(params)
        variables = {
            f"leaf_{i}": (("config", "seed", *(f"leaf_{i}_axis_{a}" for a in range(x.ndim - 2))), _storable(x))
            for i, (_, x) in enumerate(leaves)
        }
        attrs = {"paths": json.dumps([[_entry(e) for e in p] for p, _ in leaves])}
        attrs["dtypes"] = json.dumps([str(x.dtype) for _, x in leaves])
        _write(xr.Dataset(variables, {"config": configs}, attrs), folder.url(name), f"params/{number}")


def write_dataset(dataset: "xr.Dataset", folder: Folder, name: str) -> None:
    """The dataset alone. Where it is there already, its values are replaced one by one, whoever reads meanwhile."""
    order = json.dumps([str(name) for name in dataset.data_vars])  # which Zarr does not keep
    _write(_with_texts(dataset).assign_attrs(format=FORMAT, order=order), folder.url(name), None)


def write_values(dataset: "xr.Dataset", folder: Folder, name: str) -> None:
    """The values and attributes of a dataset that is there already, a third of the time that writing it anew takes."""
    import zarr

    root = zarr.open_group(folder.url(name), mode="r+", zarr_format=2, use_consolidated=False)
    root.attrs.update(dataset.attrs)
    for variable, values in dataset.data_vars.items():
        array: Any = root[str(variable)]
        array[...] = values.values


def load(path: str | Path, task: Task | None = None) -> "Results":
    """Read what a sweep has written to its run folder, be it that it still runs, or what `Results.save` wrote.

    Args:
        path: The folder, local or at a URL that fsspec knows.
        task: Of the sweep, where it is not one of `jl.TASKS`: lets `params` give its own tree and `plot.fit` predict.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: What is there is not a results folder.
        RunError: The run folder is damaged, or has no results yet.

    """
    import xarray as xr
    import zarr

    from jaxopt_lab.results import Results

    folder = Folder(path)
    if not folder.exists():
        raise FileNotFoundError(f"There is no {path}.")
    if (manifest := manifests.read(folder)) is not None:
        folder.refuse_links()
        if broken := damaged_files(folder, manifest):
            raise RunError(f"Damaged: {', '.join(broken)}. Run the same sweep again with out={str(path)!r} to mend it.")
        if RESULTS not in folder.names():
            raise RunError(f"{folder} is a run that has no results yet. If it is under way, load it in a few seconds.")
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
        dataset = xr.open_zarr(where, consolidated=False, zarr_format=2).load()
        del dataset.attrs["format"]
        check_dataset(dataset)
        dataset = _with_values(dataset)
        order = [name for name in json.loads(dataset.attrs.pop("order", "[]")) if name in dataset.data_vars]
        order += [name for name in dataset.data_vars if name not in order]
        dataset = xr.Dataset({name: dataset[name] for name in order}, dataset.coords, dataset.attrs)
        task = _registered_task(dataset.attrs) if task is None else task
        root: Any = zarr.open_group(where, mode="r", zarr_format=2, use_consolidated=False)
        groups = sorted(root["params"].group_keys(), key=int) if "params" in root else []
        params = [_load_params(where, group, task, dataset.sizes["seed"]) for group in groups]
    except RunError:
        raise
    except Exception as error:  # whatever is wrong with a stranger's folder, it is not a results folder
        if manifest is not None and not manifest.complete:
            raise RunError(
                f"The results in {folder} cannot be read ({error}). If the run is under way, they are being written: "
                "load them again in a few seconds. Else run the same sweep again, with this folder as out=."
            ) from error
        raise ValueError(f"{where} is not a results folder, as `results.save(path)` writes them: {error}.") from error
    return Results(dataset, task, params)


def _load_params(path: str, group: str, task: Task | None, seeds: int) -> tuple[np.ndarray, Any]:
    import xarray as xr

    stored = xr.open_zarr(path, group=f"params/{group}", consolidated=False, zarr_format=2).load()
    check_params(stored, seeds)
    dtypes = json.loads(stored.attrs["dtypes"])
    leaves = [stored[f"leaf_{i}"].values.astype(KINDS[dtype]) for i, dtype in enumerate(dtypes)]
    return stored["config"].values, _tree(json.loads(stored.attrs["paths"]), leaves, task)


def _write(dataset: "xr.Dataset", path: str, group: str | None) -> None:
    # Format 2 has a settled way to store text; format 3 has none yet.
    dataset.to_zarr(path, group=group, mode="a", zarr_format=2, consolidated=False)


def _with_texts(dataset: "xr.Dataset") -> "xr.Dataset":
    """Columns of values of several types as JSON, "" where there is none."""
    mixed = {name: coord for name, coord in dataset.coords.items() if coord.dtype == object}
    for name, coord in mixed.items():
        there = present(coord.values)
        written = [json.dumps(value) if has else "" for value, has in zip(coord.values, there, strict=True)]
        dataset = dataset.assign_coords({name: ("config", np.asarray(written), AS_JSON)})
    return dataset


def _with_values(dataset: "xr.Dataset") -> "xr.Dataset":
    """What `_with_texts` wrote. Raises ValueError where that cannot be."""
    for name, coord in dataset.coords.items():
        if coord.attrs == AS_JSON:
            values = [json.loads(text) if text else ABSENT for text in coord.values.tolist()]
            if not all(is_plain(value) or value is ABSENT for value in values):
                raise ValueError(f"its {name} has values that are none of a hyperparameter")
            dataset = dataset.assign_coords({name: coordinate("config", column(values))})
    return dataset


def _registered_task(attrs: dict[str, Any]) -> Task | None:
    make = TASKS.get(attrs.get("task_function", ""))
    try:
        return make(**json.loads(attrs["task_arguments"])) if make else None
    except (KeyError, TypeError, ValueError):  # made by another version, with other arguments
        return None


def _storable(x: np.ndarray) -> np.ndarray:
    """Zarr has no bfloat16: float32 holds it exactly."""
    return x.astype(np.float32) if x.dtype.kind == "V" or str(x.dtype) == "bfloat16" else x


def _entry(entry: Any) -> str | int:
    """The name or position of one step of a tree's path."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            value = getattr(entry, attribute)
            return value if isinstance(value, int) else str(value)
    return str(entry)


def _tree(paths: list[list[str | int]], leaves: list[np.ndarray], task: Task | None) -> Any:
    """The parameters' own tree where the task is at hand; else dicts for names and lists for positions."""
    if task is not None:
        structure = jax.tree.structure(jax.eval_shape(task.init, random_key(0)))
        if structure.num_leaves == len(leaves):
            return jax.tree.unflatten(structure, leaves)
    if paths == [[]]:
        return leaves[0]
    return _nested([(path, leaf) for path, leaf in zip(paths, leaves, strict=True)])


def _nested(items: list[tuple[list[str | int], np.ndarray]]) -> Any:
    if not items[0][0]:
        return items[0][1]
    branches: dict[str | int, list] = {}
    for (first, *rest), leaf in items:
        branches.setdefault(first, []).append((rest, leaf))
    nested = {name: _nested(branch) for name, branch in branches.items()}
    return list(nested.values()) if all(isinstance(name, int) for name in nested) else nested
