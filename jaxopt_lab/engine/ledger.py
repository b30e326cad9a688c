"""What a run remembers beyond its process: the engine asks a ledger before it works, and tells it what has come of it.

A sweep that is run again with the ledger of an earlier, broken one cuts the same work in the same order, finds what was
done already, and does the rest: nothing but results and where trials stand needs to be kept.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_lab.engine.chunk import Chunk
from jaxopt_lab.engine.plan import Plan, Stage
from jaxopt_lab.engine.recorder import Outcome, Recorder
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.trial import Status, TrialState

ACTORS = "actors"  # of a run folder: where actors elsewhere keep where trials stand


class Unit(NamedTuple):
    """A piece of work that is the same in every run of a plan: a chunk, from one rung of its cohort to the next."""

    cohort: int
    rung: int
    group: int
    trials: str  # which, digested

    def __str__(self) -> str:
        return "-".join(map(str, self))


class Record(NamedTuple):
    """What has come of a unit by some step, as arrays alone.

    Attributes:
        step: Steps that its trials have made; that of the plan's end where all have ended before.
        results: Curves, evaluations and statuses by name: see `Recorder.taken`.
        params: Leaves of the parameters that the trials have come to; None where they are not kept.
        state: Leaves of where they stand; None where nothing goes on from there.

    """

    step: int
    results: dict[str, np.ndarray]
    params: list[np.ndarray] | None
    state: list[np.ndarray] | None


class Ledger:
    """The ledger of a sweep that keeps nothing.

    Attributes:
        where: The folder or URL of one that keeps: actors elsewhere that reach it may use its folder `ACTORS`.
        every: Seconds between two saves of where trials stand; None: as often as takes little of the time.

    """

    where: str | None = None
    every: float | None = None

    def settled(self, about: tuple[int, ...], settle: Callable[[], Strategy]) -> Strategy:
        """How trials run, as it was settled once and for all: a group's first, or one of its stages'."""
        return settle()

    def knows(self, about: tuple[int, ...]) -> bool:
        """Whether that has been settled by an earlier process."""
        return False

    def find(self, unit: Unit) -> Record | None:
        """What is kept of a unit."""
        return None

    def due(self, unit: Unit) -> bool:
        """Whether it is time to keep where a unit's trials stand."""
        return False

    def save(self, unit: Unit, record: Record, done: bool) -> None:
        """Keep it; `done` where the unit has come to its end. What the record holds is not changed afterwards."""

    def damaged(self, unit: Unit, wrong: str) -> None:
        """What is kept of a unit cannot be of this plan, so it is done again."""

    def begin(self, outcome: Outcome) -> None:
        """What the sweep will fill, for who looks on."""

    @property
    def keeps(self) -> bool:
        """Whether `save` does anything: making a record takes time."""
        return False

    def holds(self, unit: Unit, step: int) -> bool:
        """Whether what is kept of a unit, to stay, goes as far as that step."""
        return True


def unit_of(cohort: int, rung: int, chunk: Chunk) -> Unit:
    """The unit of work that a chunk is, wherever it stands in it."""
    trials = hashlib.sha256()
    for part in (chunk.rows, chunk.columns):
        trials.update(np.asarray(part, np.int64).tobytes() + b";")
    return Unit(cohort, rung, chunk.group, trials.hexdigest()[:16])


def recorded(recorder: Recorder, chunk: Chunk, stage: Stage) -> Record:
    """What has come of a chunk since its stage began."""
    trials, done = recorder.trials(chunk.group, chunk.rows, chunk.columns), chunk.first >= stage.last
    results = recorder.taken(trials, stage.first, chunk.first)
    if chunk.state is not None:
        results |= {f"ends/{name}": values for name, values in counts(chunk.state).items()}
    params = leaves(chunk.params) if done and chunk.params is not None else None
    return Record(chunk.first, results, params, None if done and stage.final else leaves(chunk.state))


def counts(state: TrialState) -> dict[str, np.ndarray]:
    """The steps that trials have made, and skipped, as results know them."""
    skipped = {} if state.skips is None else {"skipped": np.asarray(state.skips.total)}
    return {"steps": np.asarray(state.steps), **skipped}


def restored(recorder: Recorder, chunk: Chunk, first: int, record: Record, shapes: TrialState) -> Chunk:
    """The chunk where a record of it since step `first` says that it stands; what is known of it goes to the recorder.

    `shapes` tells how leaves were a tree.
    """
    recorder.restore(recorder.trials(chunk.group, chunk.rows, chunk.columns), first, record.step, record.results)
    put = lambda like, found: None if found is None else jax.tree.unflatten(jax.tree.structure(like), found)
    return dataclasses.replace(
        chunk, first=record.step, state=put(shapes, record.state), params=put(shapes.params, record.params)
    )


def leaves(tree: Any) -> list[np.ndarray]:
    """Of a pytree of arrays on the host."""
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def misfit(
    record: Record, plan: Plan, stage: Stage, chunk: Chunk, results: dict[str, np.ndarray], shapes: TrialState
) -> str | None:
    """Why a record cannot be of this chunk in this stage; None where it can.

    Args:
        record: Of whatever origin.
        plan: What is run.
        stage: The chunk's.
        chunk: As it begins the stage.
        results: What the recorder holds of the chunk's trials, whose shapes are the right ones.
        shapes: Of where one trial of the chunk's group stands.

    """
    steps = [*(s.last for s in plan.segments if stage.first < s.last <= stage.last), plan.steps]
    if record.step not in steps:
        return f"it stands at step {record.step}, where no segment ends"
    described = lambda arrays: {name: (x.shape, x.dtype) for name, x in arrays.items()}
    if described(record.results) != described(results):
        return "its results have other names or shapes"
    done = record.step >= stage.last
    wanted = (
        (not done or not stage.final, shapes, record.state),
        (done and plan.keep_params, shapes.params, record.params),
    )
    for needed, like, found in wanted:
        expected = [((len(chunk.rows), len(chunk.columns), *x.shape), x.dtype) for x in jax.tree.leaves(like)]
        if needed and (found is None or [(x.shape, x.dtype) for x in found] != expected):
            return "it lacks what its trials go on from" if found is None else "its trials have other shapes"
        if not needed and found is not None:
            return "it holds more than it should"
    statuses = [record.results["ends/status"]]
    if record.state is not None:
        statuses.append(jax.tree.unflatten(jax.tree.structure(shapes), record.state).status)
    if not all(np.isin(x, list(Status)).all() for x in statuses):
        return "its trials have a status that is none"
    return None
