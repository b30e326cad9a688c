"""Reading results from a run folder, or from a folder that `Results.save` wrote."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxopt_lab.results.concat import joined
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import read as read_manifest
from jaxopt_lab.store.zarr import Params, read
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import random_key

PARTS = "more"  # the folder inside a run folder for what extends it, and for the further rounds of a search
PART = re.compile("[0-9]{4}")


def load(path: str | Path, task: Task | None = None) -> Results:
    """Load results from a run folder, of a finished or running sweep, or from a folder that `Results.save` wrote.

    Of a run that `jl.extend` has extended, and of a search, these are all trials.

    Args:
        path: The folder, local or at a URL that fsspec supports.
        task: The sweep's task, where it is not one of `jl.TASKS`: `params` then returns the task's own tree, and
            `plot.fit` can predict.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: The path is not a results folder.
        RunError: The run folder is damaged, or has no results yet.

    """
    return joined([load_alone(path, task), *(load_alone(part, task) for part in parts_of(path))])


def parts_of(path: str | Path) -> list[str]:
    """Return the complete run folders inside a run folder that hold what `jl.extend` has added, or further rounds."""
    folder = Folder(path)
    found = [f"{PARTS}/{name}" for name in sorted(folder.names(PARTS)) if PART.fullmatch(name)]
    manifests = [(part, read_manifest(Folder(folder.url(part)))) for part in found]
    return [folder.url(part) for part, manifest in manifests if manifest is not None and manifest.complete]


def load_alone(path: str | Path, task: Task | None = None) -> Results:
    """Load results without the trials that `jl.extend` has added: see `load`."""
    dataset, stored = read(path)
    task = _registered_task(dataset.attrs) if task is None else task
    return Results(dataset, task, [(params.configs, _tree(params, task)) for params in stored])


def _registered_task(attrs: dict[str, Any]) -> Task | None:
    make = TASKS.get(attrs.get("task_function", ""))
    try:
        return make(**json.loads(attrs["task_arguments"])) if make else None
    except (KeyError, TypeError, ValueError):  # made by another version, with other arguments
        return None


def _tree(params: Params, task: Task | None) -> Any:
    """Rebuild the parameters' tree: the task's own where it is known, else dicts for names and lists for positions."""
    _, paths, leaves = params
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
