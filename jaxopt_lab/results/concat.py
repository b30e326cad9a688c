"""Merging sweeps of one task into one, along configurations, along seeds, or along both."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.labels import ABSENT, column, coordinate, labels
from jaxopt_lab.results.comparable import check_comparable
from jaxopt_lab.results.merged_attributes import SEARCH, attributes
from jaxopt_lab.results.parts import Config, Part, labelled, taken_apart
from jaxopt_lab.results.results import COUNTS, Results
from jaxopt_lab.store.axes import unit_of
from jaxopt_lab.store.zarr import path_of
from jaxopt_lab.tracing.caching import exact

if TYPE_CHECKING:
    import xarray as xr


def concat(results: Iterable[Results]) -> Results:
    """Merge sweeps of one task: along configurations, along seeds, or along both.

    Every configuration must have every seed in the end, whichever sweep each trial comes from: two sweeps of the same
    seeds with other configurations or optimizers, two of the same configurations with other seeds, or four of two
    spaces by two sets of seeds. A configuration is its optimizer's name and the values of all its hyperparameters.

    Configurations are numbered anew in the order in which they first appear, and so are seeds. Where the merged
    configurations of an optimizer form a product again, `grid` works. Final parameters are merged where all trials of
    a configuration have them. An interrupted sweep may be merged; one with a stop rule may not, since its trials were
    compared within their own sweep only.

    Args:
        results: The results of the sweeps, as `jl.sweep` or `jl.load` returned them.

    Returns:
        Results, as of one sweep of all these trials.

    Raises:
        TypeError: `results` is not a list of results.
        ValueError: It is empty; the sweeps differ in something that makes their trials incomparable (the task, the
            budget, the recorded or evaluated points, the mathematics of an optimizer, ...); a sweep had a stop rule; a
            trial is in two sweeps; or a configuration lacks a seed.

    """
    return _merged(_checked(results))


def joined(parts: Sequence[Results]) -> Results:
    """Merge the parts of one run, which are what it began with and what extended it, or the rounds of a search."""
    if len(parts) == 1:
        return parts[0]
    kinds = {space["kind"] for one in parts for space in json.loads(one.dataset.attrs["space"]).values()}
    return _merged(parts, one_search=kinds == {SEARCH})


def _merged(results: Sequence[Results], one_search: bool = False) -> Results:
    parts = [taken_apart(f"results[{i}]", one) for i, one in enumerate(results)]
    check_comparable(parts, one_search)
    places = _placed(parts)
    columns = _columns(parts, places)
    task = next((part.results.task for part in parts if part.results.task is not None), None)
    dataset = _dataset(parts, places, columns)
    return Results(dataset, task, _final_params(parts, places))


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """Where the trials of each sweep are among the merged ones.

    Attributes:
        configs: The merged configurations, in their order.
        seeds: The merged seeds.
        rows, columns: For each sweep, the positions of its configurations and seeds.

    """

    configs: list[Config]
    seeds: np.ndarray
    rows: list[np.ndarray]
    columns: list[np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.configs), len(self.seeds)


def _checked(results: Iterable[Results]) -> list[Results]:
    if isinstance(results, Results | str | Mapping) or not isinstance(results, Iterable):
        raise ArgumentTypeError(
            f"jl.concat takes a list of results, got {type(results).__name__}.", advice="Write jl.concat([one, other])."
        )
    listed = list(results)
    if not listed:
        raise ArgumentValueError("jl.concat([]) has nothing to merge: give the results of at least one sweep.")
    for i, one in enumerate(listed):
        if not isinstance(one, Results):
            raise ArgumentTypeError(
                f"results[{i}] of jl.concat must be results of a sweep, got {quoted(one, 60)}.",
                advice="Read those of a folder with jl.load.",
            )
    return listed


def _placed(parts: Sequence[Part]) -> Places:
    """Number the configurations and seeds of all sweeps in order of appearance.

    A sweep that has a configuration several times, as random ones may, keeps all of them.

    Raises:
        ArgumentValueError: A trial is in two sweeps, or a configuration lacks a seed.

    """
    numbers: dict[Any, int] = {}
    configs, rows = [], []
    for part in parts:
        counts, own = collections.Counter(), []
        for config in part.configs:
            counts[config.key] += 1
            place = numbers.setdefault((config.key, counts[config.key]), len(numbers))
            configs += [config] if place == len(configs) else []
            own.append(place)
        rows.append(np.asarray(own))
    given = [part.results.dataset["seed"].values for part in parts]
    seeds = np.asarray(list(dict.fromkeys(itertools.chain(*(x.tolist() for x in given)))), np.result_type(*given))
    at = {seed: place for place, seed in enumerate(seeds.tolist())}
    columns = [np.asarray([at[seed] for seed in x.tolist()]) for x in given]

    owner = np.full((len(configs), len(seeds)), -1)
    for i, (part, where) in enumerate(zip(parts, map(np.ix_, rows, columns), strict=True)):
        if (taken := np.argwhere(owner[where] >= 0)).size:
            row, seed = int(rows[i][taken[0, 0]]), int(columns[i][taken[0, 1]])
            raise ArgumentValueError(
                f"The trial of {configs[row]} and seed {seeds[seed]} is both in {parts[int(owner[row, seed])].called} "
                f"and in {part.called}. Leave one of the two out, or sweep other configurations or other seeds."
            )
        owner[where] = i
    lacking = np.flatnonzero((owner < 0).any(axis=1))
    if lacking.size:
        missing = seeds[owner[lacking[0]] < 0].tolist()
        more = f", and {lacking.size - 1} more configurations lack seeds too" if lacking.size > 1 else ""
        raise ArgumentValueError(
            f"Every configuration must have every seed, but {configs[lacking[0]]} has no trial with seeds "
            f"{quoted(missing)}, which other configurations have{more}. Sweep the missing trials with seeds="
            f"{quoted(missing)} and merge those results too, or leave out the sweep with these seeds."
        )
    return Places(configs, seeds, rows, columns)


def _columns(parts: Sequence[Part], places: Places) -> dict[str, list[Any]]:
    """Return each hyperparameter's labels, one per merged configuration, as `sweep` would have labelled them.

    Raises:
        ArgumentValueError: Two values cannot be told apart by their labels.

    """
    columns = {}
    for name in dict.fromkeys(name for config in places.configs for name in config.values):
        rows = [row for row, config in enumerate(places.configs) if name in config.values]
        values = [places.configs[row].values[name] for row in rows]
        structural = any(name in config.static for config in places.configs)
        called = labels(map(labelled, values)) if structural else values
        known: dict[Any, Any] = {}
        for said, value in zip(called, values, strict=True):
            if known.setdefault(exact(said), exact(value)) != exact(value):
                raise ArgumentValueError(
                    f"{name} has two values that are both labelled {said!r}, of which results do not hold one. Sweep "
                    "both in one call, which labels them differently."
                )
        columns[name] = [ABSENT] * len(places.configs)
        for row, said in zip(rows, called, strict=True):
            columns[name][row] = said
    return columns


def _dataset(parts: Sequence[Part], places: Places, columns: Mapping[str, list[Any]]) -> "xr.Dataset":
    import xarray as xr

    first, names = parts[0].results.dataset, [config.optimizer for config in places.configs]
    unit = unit_of(first)
    axes = (unit, f"eval_{unit}")
    return xr.Dataset(
        data_vars=_variables(parts, places, axes),
        coords={
            "config": np.arange(len(names)),
            "seed": places.seeds,
            **{axis: first[axis].values for axis in axes},
            "optimizer": ("config", np.asarray(names)),
            **{name: coordinate("config", column(values)) for name, values in columns.items()},
        },
        attrs=attributes(parts, places.configs, places.rows, places.seeds, columns),
    )


def _variables(parts: Sequence[Part], places: Places, axes: Sequence[str]) -> dict[str, Any]:
    """Return the merged variables: training curves first, evaluations next.

    A curve that only some sweeps have is NaN for the trials of the others. A count that some do not have is left out,
    as for a sweep of several tasks of which one has nothing to count.
    """
    datasets = [part.results.dataset for part in parts]
    axis_of = {
        str(name): next((i for i, axis in enumerate(axes) if axis in x.dims), len(axes))
        for dataset in datasets
        for name, x in dataset.data_vars.items()
    }
    merged = {}
    for name in sorted(axis_of, key=lambda name: axis_of[name]):  # in order of appearance otherwise
        found = {
            i: dataset[name].transpose("config", "seed", ...) for i, dataset in enumerate(datasets) if name in dataset
        }
        some = len(found) < len(parts)
        if some and name in COUNTS:
            continue
        dims, shape = next((x.dims, x.shape[2:]) for x in found.values())
        values = np.empty((*places.shape, *shape), np.result_type(*(x.dtype for x in found.values())))
        if some:
            values[...] = np.nan
        for i, x in found.items():
            values[np.ix_(places.rows[i], places.columns[i])] = x.values
        merged[name] = (dims, values)
    return merged


class Kept(NamedTuple):
    """Final parameters of one structure in one sweep.

    Attributes:
        part: The number of the sweep.
        rows: The positions of their configurations among the merged ones.
        tree: The parameters, with leading axes (configurations, seeds).
        leaves: The arrays of the tree by their paths.

    """

    part: int
    rows: list[int]
    tree: Any
    leaves: dict[Any, np.ndarray]


def _final_params(parts: Sequence[Part], places: Places) -> list[tuple[np.ndarray, Any]]:
    """Merge final parameters by structure; configurations of which some trial has none are left out.

    Raises:
        ArgumentValueError: Parameters of one structure are in different trees.

    """
    kept: dict[Any, list[Kept]] = {config.structure: [] for config in places.configs}
    has = np.zeros(places.shape, bool)
    for i, part in enumerate(parts):
        row_of = dict(zip(part.results.dataset["config"].values.tolist(), places.rows[i].tolist(), strict=True))
        for configs, tree in part.results.final_params:
            rows = [row_of[config] for config in configs.tolist()]
            leaves = {tuple(path_of(path)): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}
            kept[places.configs[rows[0]].structure].append(Kept(i, rows, tree, leaves))
            has[np.ix_(rows, places.columns[i])] = True
    merged = []
    for of_structure in kept.values():
        rows = sorted({row for one in of_structure for row in one.rows if has[row].all()})
        if rows:
            merged.append((np.asarray(rows), _joined(parts, places, rows, of_structure)))
    return merged


def _joined(parts: Sequence[Part], places: Places, rows: list[int], kept: Sequence[Kept]) -> Any:
    """Join trees of one structure along configurations and seeds, in the task's own form where some sweep has that."""
    own = next((one for one in kept if parts[one.part].results.task is not None), kept[0])
    place = {row: i for i, row in enumerate(rows)}
    joined = {path: np.empty((len(rows), len(places.seeds), *x.shape[2:]), x.dtype) for path, x in own.leaves.items()}
    for one in kept:
        if one.leaves.keys() != joined.keys():
            raise ArgumentValueError(
                f"The final parameters of {parts[one.part].called} and {parts[own.part].called} are in different "
                "trees. Load both with their task: jl.load(path, task=...)."
            )
        chosen = [i for i, row in enumerate(one.rows) if row in place]
        to = np.ix_([place[one.rows[i]] for i in chosen], places.columns[one.part].tolist())
        for path, x in one.leaves.items():
            joined[path][to] = x[chosen]
    return jax.tree.unflatten(jax.tree.structure(own.tree), list(joined.values()))
