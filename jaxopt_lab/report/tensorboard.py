"""Results as TensorBoard's event files: curves as scalars, and configurations in its HParams dashboard.

The records are written by tensorboardX, which is small and needs neither TensorFlow nor PyTorch.
"""

import datetime
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_count, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.labels import distinct, narrowed, present, texts
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import (
    UNFINISHED,
    curves,
    default_metric,
    greater_is_better,
    hyperparameters,
    median_score,
    metrics,
)

if TYPE_CHECKING:
    import xarray as xr

MISSING = "TensorBoard's files are written by tensorboardX. Install it: pip install 'jaxopt_lab[tensorboard]'."
STRANGE = re.compile(r"[^A-Za-z0-9_.+=,()-]+")  # characters that names of folders do without
FAILED = ("diverged", "failed")
HPARAMS = "hparams"  # the plugin's name
TAG = "_hparams_/{}"  # of its data


def to_tensorboard(results: Results, path: str | Path, top: int = 10) -> Path:
    """Write the best configurations as TensorBoard's event files, and return the folder: `tensorboard --logdir PATH`.

    Each trial is a run, CONFIGURATION-OPTIMIZER/seed-SEED, with every loss and metric at its steps as scalars. In the
    HParams dashboard, each configuration is a session group with its hyperparameters, and its seeds are the group's
    sessions; a metric has there its last value of each seed. A trial that diverged goes on as infinite losses and NaN
    metrics, and is marked as failed. TensorBoard's scalars have single precision.

    Args:
        results: A sweep's results.
        path: A new or empty local folder.
        top: How many configurations to write, of all optimizers, the best first by the median of the task's main metric
            over seeds.

    Raises:
        ImportError: tensorboardX is missing: it is the extra `tensorboard`.
        FileExistsError: The folder is not empty: a second export would add to the curves of the first.
        TypeError: The path or `top` is of the wrong type.
        ValueError: `top` is less than 1, the path is a URL, the main metric has no direction, or curves are by seconds,
            since TensorBoard's steps are whole numbers.

    """
    folder = _checked_folder(path)
    top, dataset = check_count("top", top), results.dataset
    if any(dataset[dataset[name].dims[-1]].dtype.kind == "f" for name in curves(dataset)):
        raise ArgumentValueError(
            "TensorBoard's steps are whole numbers, but these curves are by seconds. Export the results by step, "
            "without results.by('seconds')."
        )
    try:
        import tensorboardX  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(MISSING) from error
    began = datetime.datetime.fromisoformat(dataset.attrs["created"]).timestamp()
    positions = _best(dataset, top)
    columns = {name: _typed(column[positions]) for name, column in _columns(dataset).items()}
    _write(folder, began, [(0, {}, _experiment(dataset, columns))])
    digits = len(str(int(dataset["config"].values.max())))
    for row, position in enumerate(positions.tolist()):
        values = {name: column[row] for name, column in columns.items() if column[row] is not None}
        config, optimizer = int(dataset["config"].values[position]), str(dataset["optimizer"].values[position])
        group = f"{config:0{digits}d}-{STRANGE.sub('_', optimizer)[:60].rstrip('.')}"
        for seed in dataset["seed"].values.tolist():
            trial = dataset.isel(config=position).sel(seed=seed)
            records = _records(trial, curves(dataset), group, values)
            _write(folder / group / f"seed-{seed}", began, records)
    return folder


def _checked_folder(path: str | Path) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"path must be a folder's path, got {quoted(path)}.")
    if "://" in os.fspath(path):
        raise ArgumentValueError(f"TensorBoard's files are written to a local folder, got {quoted(path)}.")
    folder = Path(path)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder. Nothing is overwritten: choose a new one.")
    return folder


def _best(dataset: "xr.Dataset", top: int) -> np.ndarray:
    """Return the positions of the best configurations, best first."""
    metric = default_metric(dataset)
    sign = -1 if greater_is_better(dataset, metric) else 1
    return np.argsort(sign * median_score(dataset, metric), kind="stable")[:top]


def _columns(dataset: "xr.Dataset") -> dict[str, np.ndarray]:
    return {"optimizer": dataset["optimizer"].values, **hyperparameters(dataset)}


def _typed(column: np.ndarray) -> list[Any]:
    """Return a column's values of one type that TensorBoard has: float, bool or text; None where one is absent."""
    has, found = present(column), np.full(len(column), None, object)
    if has.any():
        own = narrowed(column[has])
        if own.dtype.kind in "fiu":
            found[has] = own.astype(float)
        elif own.dtype.kind == "b":
            found[has] = own
        else:
            values, at = distinct(own)
            found[has] = np.asarray(texts(values), object)[at]
    return found.tolist()


def _experiment(dataset: "xr.Dataset", columns: Mapping[str, list[Any]]) -> list[Any]:
    """Describe the hyperparameters and the metrics, the main one first."""
    api: Any = importlib.import_module("tensorboardX.proto.api_pb2")

    types = {float: api.DATA_TYPE_FLOAT64, bool: api.DATA_TYPE_BOOL, str: api.DATA_TYPE_STRING}
    infos = []
    for name, column in columns.items():
        kinds = {types[type(value)] for value in column if value is not None}
        infos += [api.HParamInfo(name=name, type=kind) for kind in kinds]
    names = dict.fromkeys([default_metric(dataset), *metrics(dataset)])
    shown = [api.MetricInfo(name=api.MetricName(tag=name)) for name in names]
    about = api.Experiment(name=str(dataset.attrs["task"]), hparam_infos=infos, metric_infos=shown)
    return [_plugin("experiment", experiment=about)]


def _records(
    trial: "xr.Dataset", names: list[str], group: str, values: Mapping[str, Any]
) -> Iterator[tuple[int, dict, list[Any]]]:
    """Yield the events of a trial: (step, scalars, data of the plugin)."""
    api: Any = importlib.import_module("tensorboardX.proto.api_pb2")
    plugin: Any = importlib.import_module("tensorboardX.proto.plugin_hparams_pb2")

    start, status = plugin.SessionStartInfo(group_name=group), str(trial["status"].values)
    for name, value in values.items():
        kind = {float: "number_value", bool: "bool_value", str: "string_value"}[type(value)]
        setattr(start.hparams[name], kind, value)
    yield 0, {}, [_plugin("session_start_info", session_start_info=start)]
    points: dict[int, dict[str, float]] = {}
    for name in names:
        curve = trial[name].values
        known = ~np.isnan(curve)
        if known.any() and status == "diverged":
            known[:] = True  # its metrics are NaN from there on
        for step, value in zip(trial[trial[name].dims[-1]].values[known].tolist(), curve[known].tolist(), strict=True):
            points.setdefault(step, {})[name] = value
    for step in sorted(points):
        yield step, points[step], []
    if status not in UNFINISHED:
        end = api.STATUS_FAILURE if status in FAILED else api.STATUS_SUCCESS
        yield 0, {}, [_plugin("session_end_info", session_end_info=plugin.SessionEndInfo(status=end))]


def _plugin(tag: str, **data: Any) -> Any:
    """Make a summary value that holds data of the HParams plugin."""
    plugin: Any = importlib.import_module("tensorboardX.proto.plugin_hparams_pb2")
    summary: Any = importlib.import_module("tensorboardX.proto.summary_pb2")

    content = plugin.HParamsPluginData(version=0, **data).SerializeToString()
    about = summary.SummaryMetadata.PluginData(plugin_name=HPARAMS, content=content)
    return summary.Summary.Value(tag=TAG.format(tag), metadata=summary.SummaryMetadata(plugin_data=about))


def _write(folder: Path, began: float, records: Any) -> None:
    """Write an event file: its version, then an event of each record. `began` is the time of them all."""
    from tensorboardX import RecordWriter  # pyright: ignore[reportMissingImports]

    event: Any = importlib.import_module("tensorboardX.proto.event_pb2")
    summary: Any = importlib.import_module("tensorboardX.proto.summary_pb2")

    folder.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(str(folder / f"events.out.tfevents.{began:.0f}.jaxopt_lab"))
    try:
        writer.write(event.Event(wall_time=began, file_version="brain.Event:2").SerializeToString())
        for step, scalars, values in records:
            values = [*values, *(summary.Summary.Value(tag=name, simple_value=x) for name, x in scalars.items())]
            made = event.Event(wall_time=began, step=step, summary=summary.Summary(value=values))
            writer.write(made.SerializeToString())
    finally:
        writer.close()
