"""The attributes of merged sweeps: what the rest of the package reads, as if it had been one sweep."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_lab.labels import label
from jaxopt_lab.results.parts import Config, Named, Part, labelled
from jaxopt_lab.tracing.caching import exact

MERGED, PRODUCT, SEARCH = "merged", "product", "search"  # kinds of spaces
LISTED = 32  # values of a hyperparameter are written out up to this number


def attributes(
    parts: Sequence[Part],
    configs: Sequence[Config],
    rows: Sequence[np.ndarray],
    seeds: np.ndarray,
    columns: Mapping[str, list[Any]],
) -> dict[str, Any]:
    """Return the attributes of a merged dataset.

    Args:
        parts: The sweeps.
        configs: The merged configurations.
        rows: For each sweep, the positions of its configurations among them.
        seeds: The merged seeds.
        columns: The merged labels of each hyperparameter.

    """
    all_of = [part.attrs for part in parts]
    first, minima = all_of[0], {attrs.get("minimum") for attrs in all_of}
    versions = {name: _distinct(part.table("versions").get(name) for part in parts) for name in _packages(parts)}
    places = {name: _distinct(attrs.get(name) for attrs in all_of) for name in ("device", "platform", "python")}
    notes = dict.fromkeys(note for part in parts for note in json.loads(part.attrs.get("notes", "[]")))
    made = {**versions, "device": places["device"]}
    if differ := [f"{name} {' and '.join(found)}" for name, found in made.items() if len(found) > 1]:
        notes[
            f"The merged sweeps were made by different versions or on different devices ({'; '.join(differ)}), so "
            "equal trials of them may differ in their last digits."
        ] = None
    seconds = lambda name: {name: round(sum(attrs.get(name, 0.0) for attrs in all_of), 3)}
    merged = {name: value for name, value in first.items() if name not in ("minimum", "notes")}
    return merged | {
        **({} if len(minima) > 1 or None in minima else {"minimum": first["minimum"]}),
        "space": json.dumps(_spaces(parts, configs, rows, columns)),
        "structural": json.dumps(_structural(configs, columns)),
        "problem": json.dumps(_problem(parts, configs)),
        "directions": json.dumps({name: way for part in parts for name, way in part.table("directions").items()}),
        "steps": max(attrs["steps"] for attrs in all_of),
        "seeds": seeds.tolist(),
        **{name: " and ".join(found) for name, found in places.items() if found},
        "versions": json.dumps({name: " and ".join(found) for name, found in versions.items()}),
        "created": max(attrs["created"] for attrs in all_of),
        **seconds("compile_seconds"),
        **seconds("probe_seconds"),
        **seconds("run_seconds"),
        "strategies": json.dumps(_strategies(parts, rows, columns)),
        **({"rungs": json.dumps(_rungs(parts))} if "stop" in first else {}),
        **({"notes": json.dumps(list(notes))} if notes else {}),
        "interrupted": int(any(attrs["interrupted"] for attrs in all_of)),
    }


def _rungs(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the decisions of the stop rule of a search, each with the number of its round."""
    return [{"round": i} | made for i, part in enumerate(parts) for made in json.loads(part.attrs["rungs"])]


def _packages(parts: Sequence[Part]) -> dict[str, None]:
    return dict.fromkeys(name for part in parts for name in part.table("versions"))


def _distinct(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value is not None))


def _spaces(
    parts: Sequence[Part], configs: Sequence[Config], rows: Sequence[np.ndarray], columns: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Return each optimizer's space: that of a sweep which has all of it, else the product or a list of what merged."""
    spaces = {}
    for name in dict.fromkeys(config.optimizer for config in configs):
        own = [row for row, config in enumerate(configs) if config.optimizer == name]
        given = {
            i: part.table("space")[name]
            for i, part in enumerate(parts)
            if any(config.optimizer == name for config in part.configs)
        }
        whole = [i for i in given if len(set(rows[i].tolist()).intersection(own)) == len(own)]
        if whole:
            spaces[name] = given[whole[0]]
            continue
        names = list(next(iter(given.values()))["space"])
        tried = {
            n: {exact(columns[n][row]): labelled(configs[row].values[n]) for row in own if n in configs[row].values}
            for n in names
        }
        full = math.prod(map(len, tried.values())) == len({configs[row].key for row in own}) == len(own)
        kinds = {space["kind"] for space in given.values()}
        product, search = full and kinds == {PRODUCT}, kinds == {SEARCH}
        static = frozenset[str]().union(*(configs[row].static for row in own))
        described = {n: _described(list(tried[n].values()), n in static) for n in names}
        said = {n: {space["space"].get(n) for space in given.values()} for n in names}
        space = {n: said[n].pop() if len(said[n]) == 1 else described[n] for n in names}
        spaces[name] = {"kind": PRODUCT if product else SEARCH if search else MERGED, "space": space}
    return spaces


def _described(values: list[Any], structural: bool) -> str:
    """Describe a hyperparameter's values; for many numbers only the ends."""
    if structural:
        return f"jl.static([{', '.join(map(label, values))}])"
    return str(values) if len(values) <= LISTED else f"{len(values)} values, {values[0]:g} to {values[-1]:g}"


def _structural(configs: Sequence[Config], columns: Mapping[str, list[Any]]) -> dict[str, dict[str, list[list[Any]]]]:
    """Return each optimizer's structural hyperparameters as pairs of label and value, where the value is known."""
    found: dict[str, dict[str, dict[Any, list[Any]]]] = {}
    for row, config in enumerate(configs):
        own = found.setdefault(config.optimizer, {})
        for name in [name for name in config.values if name in config.static]:
            pairs = own.setdefault(name, {})
            if not isinstance(value := config.values[name], Named):
                called = columns[name][row]
                pairs.setdefault(exact(called), [called, value])
    return {owner: {name: list(pairs.values()) for name, pairs in own.items()} for owner, own in found.items()}


def _problem(parts: Sequence[Part], configs: Sequence[Config]) -> dict[str, Any]:
    """Return what the merged trials compute, in the order in which `taken_apart` reads it."""
    steps = {structure: step for part in reversed(parts) for structure, step in part.steps.items()}
    tasks = {values: task for part in reversed(parts) for values, task in part.tasks.items()}
    groups = {config.structure: config for config in configs}
    optimizers: dict[str, list[Any]] = {}
    for structure, config in groups.items():
        optimizers.setdefault(config.optimizer, []).append(steps[structure])
    return parts[0].table("problem") | {
        "task": [tasks[values] for values in dict.fromkeys(config.task for config in groups.values())],
        "optimizers": optimizers,
    }


def _strategies(
    parts: Sequence[Part], rows: Sequence[np.ndarray], columns: Mapping[str, list[Any]]
) -> list[dict[str, Any]]:
    """Return the strategy of each group of each sweep, with the merged labels of structural values."""
    found: list[dict[str, Any]] = []
    for part, own in zip(parts, rows, strict=True):
        strategies = json.loads(part.attrs["strategies"])
        renamed = {}
        for name in {name for strategy in strategies for name in strategy["static"]}:
            before = map(exact, part.results.dataset[name].values.tolist())
            renamed[name] = dict(zip(before, (columns[name][row] for row in own), strict=True))
        for strategy in strategies:
            strategy["static"] = {name: renamed[name][exact(said)] for name, said in strategy["static"].items()}
            found += [] if strategy in found else [strategy]
    return found
