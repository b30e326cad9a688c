"""Ledgers: what a run keeps beyond its process. The engine asks a ledger before it does work, and saves the result.

A sweep that runs again with the ledger of an earlier, unfinished one cuts the same work in the same order, finds what
is done, and does the rest. So only results and the states of trials need to be saved.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_lab.engine.chunk import Chunk
from jaxopt_lab.engine.keeping import kept
from jaxopt_lab.engine.plan import Plan, Stage
from jaxopt_lab.engine.recorder import Outcome, Recorder
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.trial import Status, TrialState

ACTORS = "actors"  # the part of a run folder in which workers of a cluster save the states of trials


class Unit(NamedTuple):
    """A piece of work that is the same in every run of a plan: a chunk, from one rung of its cohort to the next."""

    cohort: int
    rung: int
    group: int
    trials: str  # a digest of which trials these are

    def __str__(self) -> str:
        return "-".join(map(str, self))


class Record(NamedTuple):
    """The results and state of a unit of work at some step, as arrays only.

    Attributes:
        step: Steps that its trials have made; the plan's last where all have ended before.
        results: Curves, evaluations and statuses by name: see `Recorder.taken`.
        params: Leaves of the trials' parameters; None where they are not kept.
        kept: The positions in the group's configs that `params` are of; None: all of the chunk's.
        state: Leaves of the trials' states; None where nothing continues from there.

    """

    step: int
    results: dict[str, np.ndarray]
    params: list[np.ndarray] | None
    state: list[np.ndarray] | None
    kept: np.ndarray | None = None


class Ledger:
    """The ledger of a sweep that saves nothing; the base class of one that does.

    Attributes:
        where: The folder or URL of a ledger that saves; workers that can reach it may use its folder `ACTORS`.
        every: Seconds between two saves of trials' states; None: as often as a small share of the time allows.

    """

    where: str | None = None
    every: float | None = None

    def settled(self, about: tuple[int, ...], settle: Callable[[], Strategy]) -> Strategy:
        """Return the strategy recorded for a group, or for one of its stages; where there is none, `settle` it."""
        return settle()

    def knows(self, about: tuple[int, ...]) -> bool:
        """Return whether an earlier process has recorded this strategy."""
        return False

    def find(self, unit: Unit) -> Record | None:
        """Return what is saved of a unit."""
        return None

    def due(self, unit: Unit) -> bool:
        """Return whether it is time to save the state of a unit's trials."""
        return False

    def save(self, unit: Unit, record: Record, done: bool) -> None:
        """Save a record; `done` where the unit is complete. The record's arrays are not changed afterwards."""

    def damaged(self, unit: Unit, wrong: str) -> None:
        """Discard what is saved of a unit, because it cannot be of this plan; the unit runs again."""

    def begin(self, outcome: Outcome) -> None:
        """Get the outcome that the sweep will fill, to show partial results."""

    @property
    def keeps(self) -> bool:
        """Whether `save` does anything; if not, no record need be made, which takes time."""
        return False

    def holds(self, unit: Unit, step: int) -> bool:
        """Return whether what is durably saved of a unit reaches that step."""
        return True


def unit_of(cohort: int, rung: int, chunk: Chunk) -> Unit:
    """Return the unit of work of a chunk, at whichever step it is."""
    trials = hashlib.sha256()
    for part in (chunk.rows, chunk.columns):
        trials.update(np.asarray(part, np.int64).tobytes() + b";")
    return Unit(cohort, rung, chunk.group, trials.hexdigest()[:16])


def recorded(recorder: Recorder, chunk: Chunk, stage: Stage) -> Record:
    """Make the record of a chunk since its stage began."""
    trials, done = recorder.trials(chunk.group, chunk.rows, chunk.columns), chunk.first >= stage.last
    results = recorder.taken(trials, stage.first, chunk.first)
    if chunk.state is not None:
        results |= {f"ends/{name}": values for name, values in counts(chunk.state).items()}
    params, of = (leaves(chunk.params), chunk.kept) if done and chunk.params is not None else (None, None)
    ends = done and stage.final and not recorder.plan.keep_states
    return Record(chunk.first, results, params, None if ends else leaves(chunk.state), of)


def counts(state: TrialState) -> dict[str, np.ndarray]:
    """Return the steps that trials have made, and skipped, by their names in the outcome."""
    skipped = {} if state.skips is None else {"skipped": np.asarray(state.skips.total)}
    return {"steps": np.asarray(state.steps), **skipped}


def restored(recorder: Recorder, chunk: Chunk, first: int, record: Record, shapes: TrialState) -> Chunk:
    """Return the chunk at the state of a record made since step `first`, and give the record's results to the recorder.

    `shapes` has the tree structure of the state's leaves.
    """
    recorder.restore(recorder.trials(chunk.group, chunk.rows, chunk.columns), first, record.step, record.results)
    put = lambda like, found: None if found is None else jax.tree.unflatten(jax.tree.structure(like), found)
    return dataclasses.replace(
        chunk,
        first=record.step,
        state=put(shapes, record.state),
        params=put(kept(_plain(shapes)), record.params),
        kept=record.kept,
    )


def _plain(shapes: TrialState) -> TrialState:
    """Return the shapes without the optimizer's state; those of the method's answer are the parameters' own."""
    return shapes._replace(optimizer=None)


def leaves(tree: Any) -> list[np.ndarray]:
    """Return the leaves of a pytree of arrays, on the host."""
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def misfit(
    record: Record, plan: Plan, stage: Stage, chunk: Chunk, results: dict[str, np.ndarray], shapes: TrialState
) -> str | None:
    """Explain why a record cannot be of this chunk in this stage; None where it can.

    Args:
        record: The record, which is not trusted.
        plan: The plan that runs.
        stage: The chunk's stage.
        chunk: The chunk at the start of the stage.
        results: The recorder's results of the chunk's trials, which have the right names and shapes.
        shapes: The state of one trial of the chunk's group, as shapes.

    """
    steps = [*(s.last for s in plan.segments if stage.first < s.last <= stage.last), plan.begun, plan.steps]
    if record.step not in steps:
        return f"it is at step {record.step}, where no segment ends"
    described = lambda arrays: {name: (x.shape, x.dtype) for name, x in arrays.items()}
    if described(record.results) != described(results):
        return "its results have other names or shapes"
    done = record.step >= stage.last
    if (record.kept is not None) != (record.params is not None and plan.kept_configs is not None):
        return "it does not say whose parameters it has, or says so without need"
    of = chunk.rows if record.kept is None else record.kept
    if of.ndim != 1 or of.dtype.kind != "i" or not np.isin(of, chunk.rows).all() or (np.diff(of) <= 0).any():
        return "it has parameters of other configurations"
    wanted = (
        (not done or not stage.final or plan.keep_states, shapes, len(chunk.rows), record.state),
        (done and plan.keep_params, kept(_plain(shapes)), len(of), record.params),
    )
    for needed, like, rows, found in wanted:
        expected = [((rows, len(chunk.columns), *x.shape), x.dtype) for x in jax.tree.leaves(like)]
        if needed and (found is None or [(x.shape, x.dtype) for x in found] != expected):
            return "it lacks its trials' state" if found is None else "its trials have other shapes"
        if not needed and found is not None:
            return "it holds more than it should"
    statuses = [record.results["ends/status"]]
    if record.state is not None:
        statuses.append(jax.tree.unflatten(jax.tree.structure(shapes), record.state).status)
    if not all(np.isin(x, list(Status)).all() for x in statuses):
        return "its trials have an invalid status"
    return None
