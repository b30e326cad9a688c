"""Describe and measure one method for its row of the conformance table."""

import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.types import random_key
from jaxopt_lab.verify.optimizers.case import Bounds
from jaxopt_lab.verify.optimizers.cases import METHODS
from jaxopt_lab.verify.optimizers.defects import sentence
from jaxopt_lab.verify.optimizers.golden import ROWS, Row, replay
from jaxopt_lab.verify.optimizers.walks import Differences, problem, walked

PYTORCH = "PyTorch 2.13.0"
LIMITS = ("float64 step", "float32 step", "float64 way", "float32 way")
TOGETHER = 8  # walks in a program: with more, processor cores wait for each other at the end
SIDE = 1024
"""Rows and columns of the float32 matrix on which a state is weighed."""


class Description(NamedTuple):
    """The part of a row that is the same on every machine."""

    name: str
    paper: str  # Markdown, with its link
    witnesses: list[str]  # the twin in Optax if there is one, then the sources of the recorded runs
    conventions: str
    defect: str  # of Optax's, or ""
    wide_bounds: list[str]  # every bound wider than usual, and why
    traced: list[str]
    not_traced: dict[str, str]
    state_bytes: float  # per parameter


class Figures(NamedTuple):
    """The part of a row that is measured."""

    step64: float | None  # None: no twin in Optax
    step32: float | None
    recorded: float | None  # None: nothing is recorded
    misses: list[str]  # what exceeds its bound, in words


def describe(name: str) -> Description:
    """Return all of a method's row except its figures."""
    case, rows = METHODS[name], {record: row for record, row in ROWS.items() if row.method == name}
    return Description(
        name,
        paper(OPTIMIZERS[name]),
        [*_twin(name), *recorders(rows)],
        case.convention,
        sentence(name),
        _wide_bounds(name, rows),
        [p.name for p in _numeric(name)],
        dict(case.not_traced),
        state_bytes(name),
    )


def measure(names: Collection[str], done: Callable[[float], None] = lambda share: None) -> dict[str, Figures]:
    """Walk the methods beside their twins in both precisions, and along their records.

    Some walk in one program: what they have in common, a problem's gradient, is compiled once for them. `done` is
    called, from any thread, with the share of the programs that has run.
    """
    walks = [(name, precision) for name in names for precision in ("float64", "float32")]
    rows = {record: row for record, row in ROWS.items() if row.method in names}

    def walk(place, together):
        where, precision = place
        return zip(together, walked([METHODS[name] for name, _ in together], where, precision), strict=True)

    together = _together(walks, lambda walk: (problem(*walk), walk[1]))
    found = in_parallel([*((walk, *some) for some in together), *replays(rows)], done)
    return {
        name: _figures(
            name,
            found[name, "float64"],
            found[name, "float32"],
            {record: found[record] for record, row in rows.items() if row.method == name},
        )
        for name in names
    }


def replays(rows: Mapping[str, Row]) -> list[tuple[Any, ...]]:
    """Return tasks for `in_parallel` that measure the rows' differences from their records."""

    def replay_all(_, together):
        return replay.differences({record: rows[record].make() for record in together}).items()

    return [(replay_all, *some) for some in _together(rows, replay.problem)]


def in_parallel(tasks: Collection[tuple[Any, ...]], done: Callable[[float], None]) -> dict[Any, Any]:
    """Call functions with their arguments, on all cores, and join the named figures that they return."""
    found: dict[Any, Any] = {}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for i, future in enumerate(as_completed([pool.submit(*task) for task in tasks])):
            found.update(future.result())
            done((i + 1) / len(tasks))
    return found


def _together(walks: Iterable[Any], place: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """A place and walks that are walked there, up to `TOGETHER` of them, in groups as equal as can be."""
    by_place: dict[Any, list[Any]] = {}
    for walk in walks:
        by_place.setdefault(place(walk), []).append(walk)
    groups = []
    for there, all_there in by_place.items():
        count = math.ceil(len(all_there) / TOGETHER)
        groups += [(there, all_there[i::count]) for i in range(count)]
    return groups


def _figures(name: str, wide: Differences, narrow: Differences, replayed: dict[str, float]) -> Figures:
    twin, bounds = METHODS[name].twin, METHODS[name].bounds
    misses = [
        f"{what} {gap:.1e} in {precision}"
        for precision, seen in (("float64", wide), ("float32", narrow))
        for what, gap in seen.beyond(bounds, precision).items()
    ]
    misses += beyond(ROWS, replayed)
    worst = lambda seen: max((seen.step, seen.traced), key=lambda gap: math.inf if math.isnan(gap) else gap)
    steps = (worst(wide), worst(narrow)) if twin else (None, None)
    return Figures(*steps, max(replayed.values(), default=None), misses)


def beyond(rows: Mapping[str, Row], replayed: Mapping[str, float]) -> list[str]:
    """Say which records are missed by more than their row allows."""
    return [f"{record} {gap:.1e}" for record, gap in replayed.items() if not gap <= rows[record].bound]


def state_bytes(name: str) -> float:
    """Bytes of state per parameter of a square float32 matrix."""
    return weighed(lambda: OPTIMIZERS[name](**METHODS[name].numeric))


def weighed(make: Callable[[], Any]) -> float:
    """Bytes of state per parameter of the optimizer that is made, for a square float32 matrix."""
    with jax.enable_x64(False):
        state = jax.eval_shape(lambda: make().init({"w": jnp.zeros((SIDE, SIDE))}))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / SIDE**2


def traces(name: str) -> bool:
    """Whether one program serves all values of every numeric hyperparameter, those that are off by default too.

    Where it does not, JAX says why, in an exception.
    """
    given = METHODS[name].traceable()
    values = {p.name: jnp.asarray(given.get(p.name, 1.0)) for p in _numeric(name)}
    w = {"a": jnp.ones((3, 2)), "b": jnp.ones(3)}
    loss = lambda w: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w))

    def step(values, w):
        optimizer = optax.with_extra_args_support(OPTIMIZERS[name](**values, **METHODS[name].structural))
        extras: dict[str, Any] = {"value": loss(w), "value_fn": loss, "key": random_key(0)}
        return optimizer.update(w, optimizer.init(w), w, **extras)

    jax.eval_shape(step, values, w)
    return True


def _numeric(name: str) -> list[inspect.Parameter]:
    parameters = inspect.signature(OPTIMIZERS[name]).parameters.values()
    return [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def paper(factory: Any) -> str:
    """The reference that the docstring begins with, its addresses as links."""
    first = " ".join(inspect.cleandoc(factory.__doc__ or "").split("\n\n")[0].split())
    link = lambda address: f"[{re.sub(r'^https://(arxiv.org/abs/|doi.org/)?', '', address[0])}]({address[0]})"
    # An address ends where a bracket closes that it has not opened.
    return re.sub(r"https://(?:\([^()\s]*\)|[^();,\s])+", link, first[: first.rindex(")") + 1])


def _twin(name: str) -> Iterable[str]:
    """Name the twin in Optax, if there is one, and say how it differs from Optax's own method."""
    case = METHODS[name]
    if case.twin is None:
        return
    base = case.twin.func if isinstance(case.twin, functools.partial) else case.twin
    optaxs = next((n for n in (name, base.__name__) if _in_optax(n) in (case.twin, base)), name)
    room = "optax" if callable(getattr(optax, optaxs, None)) else "optax.contrib"
    called = f"{room}.{optaxs}" if _in_optax(optaxs) else "parts of optax"
    yield f"{called} ({case.mended})" if case.mended else called


def _in_optax(name: str) -> Any:
    """Optax's function of this name; `optax.lion` is one, and so is `optax.contrib.muon`."""
    found = [getattr(room, name, None) for room in (optax, optax.contrib)]
    return next(filter(callable, found), None)


def recorders(rows: Iterable[str]) -> list[str]:
    """Whose code was recorded, its version or commit, and which of its runs."""
    runs: dict[str, list[str]] = {}
    for record in rows:
        facts = replay.sources()[record.split("/")[0]]
        commit = facts["commit"].split(" ")[0]
        whose = f"{facts['source'].split(' (')[0].removeprefix('PyPI ').removeprefix('repo ')} at {commit[:7]}"
        is_pytorchs = record.startswith("torch_") or whose.startswith("PyTorch")
        runs.setdefault(PYTORCH if is_pytorchs else whose, []).append(record)
    return [f"{whose}: {', '.join(records)}" for whose, records in runs.items()]


def _wide_bounds(name: str, rows: dict[str, Row]) -> list[str]:
    bounds, usual = METHODS[name].bounds, Bounds()
    wide = [f"{what} {bounds[i]:.0e}" for i, what in enumerate(LIMITS) if bounds[i] != usual[i]]
    return ([f"{', '.join(wide)}: {bounds.why}"] if wide else []) + reasons(rows)


def reasons(rows: Mapping[str, Row]) -> list[str]:
    """Say which records are held to a wider bound than usual, and why."""
    by_reason: dict[str, list[str]] = {}
    for record, row in rows.items():
        if row.why:
            by_reason.setdefault(f"to {row.bound:.0e}: {row.why}", []).append(record)
    return [f"{', '.join(records)} {why}" for why, records in by_reason.items()]
