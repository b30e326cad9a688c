"""Running a chunk, segment by segment, while the host reads the results of the previous segment."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.chunk import Chunk, OutOfMemoryError
from jaxopt_lab.engine.compile.axes import Axes
from jaxopt_lab.engine.compile.data import Feeding, TaskData
from jaxopt_lab.engine.compile.program import Program
from jaxopt_lab.engine.devices import on_host, sent_to_host
from jaxopt_lab.engine.plan import Plan, Segment, Stage
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.trial import Seen, Status, TrialState


@dataclasses.dataclass(frozen=True)
class Control:
    """Callbacks that control a running chunk.

    Attributes:
        going_on: Gets the trial-steps made since its last call; returns whether to continue.
        due: Returns, between two segments, whether to save the trials' state.
        keep: Saves the chunk, with all of its state, when that is due.

    """

    going_on: Callable[[int], bool]
    due: Callable[[], bool] = lambda: False
    keep: Callable[[Chunk], None] = lambda _: None


def run_chunk(
    plan: Plan,
    program: Program,
    shape: tuple[int, int],
    chunk: Chunk,
    stage: Stage,
    control: Control,
    data: TaskData,
    recorder: Recorder,
) -> Chunk:
    """Run a chunk to the end of a stage, to the end of its last trial, or until it is told to stop.

    Args:
        plan: The plan that runs.
        program: The program of the chunk's group.
        shape: The program's shape, (seeds, configurations).
        chunk: The chunk to run.
        stage: The stage to run.
        control: Callbacks that control the chunk.
        data: The data of the group's task.
        recorder: Gets all results of the trials.

    Returns:
        The chunk at its new state, with parameters where the plan keeps them, and with all of its state where trials
        will continue, also where they were told to stop.

    Raises:
        OutOfMemoryError: The device ran out of memory.

    """
    return _Running(plan, program, shape, chunk, data, recorder).run(stage, control)


class _Running:
    def __init__(
        self, plan: Plan, program: Program, shape: tuple[int, int], chunk: Chunk, data: TaskData, recorder: Recorder
    ):
        group = plan.groups[chunk.group]
        self.plan, self.program, self.chunk, self.data, self.recorder = plan.of(group), program, chunk, data, recorder
        self.trials = recorder.trials(chunk.group, chunk.rows, chunk.columns)
        number = jnp.result_type(float)
        seeds, configs = shape
        pick = lambda values: _padded(values[chunk.rows], configs).astype(number)
        self.padding = _padding(len(chunk.columns), seeds), _padding(len(chunk.rows), configs)
        values = {name: pick(values) for name, values in group.values.items()}
        named = _padded(plan.seeds[chunk.columns], seeds).astype(np.int32)
        self.values, self.seeds, self.stop = program.place(
            (values, named, plan.ending), (Axes.CONFIG, Axes.SEED, Axes.NONE)
        )

    def run(self, stage: Stage, control: Control) -> Chunk:
        chunk, ended, state = self.chunk, False, None
        waiting: tuple[Segment, Any, Any, Any] | None = None  # a segment's results, not read yet
        at = reached = chunk.first  # steps submitted to the device, and steps read by the host
        segments = [s for s in self.plan.segments if chunk.first <= s.first < stage.last]
        self.feeding = Feeding(self.data, self.program, self.seeds, self.plan.segment_length, segments)

        def look() -> None:
            nonlocal waiting, ended, reached
            assert waiting is not None
            ended, reached = self.absorb(*waiting), waiting[0].last
            control.going_on(chunk.trials * (reached - waiting[0].first))
            waiting = None

        try:
            state = self.begin()
            for segment in [*segments, None]:
                if segment is not None and waiting is not None and control.due():
                    look()
                    if ended:
                        break
                    control.keep(dataclasses.replace(chunk, first=reached, state=self.copied(state)))
                ahead = None
                if segment is not None and control.going_on(0):
                    state, *ahead = self.advance(state, segment)  # curves, status
                    at = segment.last
                if waiting is not None:  # read the previous segment's results while this one runs
                    look()
                if segment is None or ahead is None or ended:
                    break
                seen = None
                if segment.evaluate:
                    state, seen = self.seen(state, at)
                waiting = segment, *ahead, seen
            if ended:
                state, seen = self.seen(state, reached)
                self.recorder.evaluation(self.trials, reached, self.kept(seen))
                self.recorder.hold(self.trials, reached)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise OutOfMemoryError(self.salvaged(state, at, waiting), error) from None
        params = self.program.answer(state) if self.plan.keep_params else None
        if stage.final and (ended or reached == stage.last) and not self.plan.keep_states:  # copying is not free
            state = state._replace(optimizer=None, params=None, model=None, values={}, best=None)
        state, params = self.kept(on_host((state, params)))
        return dataclasses.replace(chunk, first=self.plan.steps if ended else reached, state=state, params=params)

    def begin(self) -> TrialState:
        if self.chunk.state is not None:
            seeds, configs = self.padding
            padded = lambda x: np.swapaxes(x, 0, 1)[seeds][:, configs]
            (state,) = self.program.place((jax.tree.map(padded, self.chunk.state),), (Axes.TRIAL,))
            return state
        state = self.program.start(self.program.initial(self.seeds), self.values)
        if self.recorder.outcome.evaluations:  # held-out data only; the training loss comes with the first step
            state, seen = self.seen(state, 0)
            self.recorder.evaluation(self.trials, 0, self.kept(seen))
        return state

    def advance(self, state: TrialState, segment: Segment) -> tuple[Any, ...]:
        """Submit the segment to the device; its results are not ready yet."""
        first, last = np.int32(segment.first), np.int32(segment.last)
        draws = self.feeding.draws(segment)
        state, curves, status = self.program.advance(state, draws, first, last, self.stop, self.data.arrays)
        return state, *sent_to_host((curves, status))

    def absorb(self, segment: Segment, curves: Any, status: Any, seen: Any) -> bool:
        """Record a segment's results; return whether all trials have ended."""
        if isinstance(curves, list):  # step by step
            curves = jax.tree.map(lambda *steps: np.stack([np.asarray(x) for x in steps], axis=-1), *curves)
        self.recorder.record(self.trials, segment.first, segment.last, self.kept(curves))
        if seen is not None:
            self.recorder.evaluation(self.trials, segment.last, self.kept(seen))
        running = self.kept(status) == Status.RUNNING
        self.recorder.reached(self.trials, segment.last, running)
        return not running.any()

    def seen(self, state: TrialState, step: int) -> tuple[TrialState, Seen]:
        """Submit an evaluation; return the state with what is kept after it, and its result, which is not ready yet."""
        data = self.data.at(self.program, self.seeds, step)
        seen = self.program.evaluate(state, self.seeds, np.int32(step), self.stop, data)
        if self.program.keep is not None:
            metric, sign = self.plan.selects_by
            state = self.program.keep(
                state, sign * seen.held_out[metric].astype(jnp.result_type(float)), np.int32(step)
            )
        return state, sent_to_host(seen)

    def kept(self, tree: Any) -> Any:
        """Convert padded (seeds, configurations, ...) on the devices to (configurations, seeds, ...) on the host."""
        columns, rows = len(self.chunk.columns), len(self.chunk.rows)
        return jax.tree.map(lambda x: np.swapaxes(np.asarray(x)[:columns, :rows], 0, 1), tree)

    def copied(self, state: Any) -> Any:
        """Copy the trials' state out of the device's buffers."""
        return jax.tree.map(np.array, self.kept(on_host(state)))

    def salvaged(self, state: Any, at: int, waiting: Any) -> Chunk:
        """Return the chunk after its last complete segment, or as it began where its state is lost."""
        try:
            if state is not None and waiting is not None and waiting[0].last == at:
                self.absorb(*waiting)
                return dataclasses.replace(self.chunk, first=waiting[0].last, state=self.kept(on_host(state)))
        except RuntimeError:  # the state was deleted, or never made
            pass
        return self.chunk


def _padding(count: int, length: int) -> np.ndarray:
    """Return indices that repeat the last entry up to the length, so that all chunks have one shape."""
    return np.minimum(np.arange(length), count - 1)


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    return x[_padding(len(x), length)]
