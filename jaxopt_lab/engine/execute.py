"""Run a plan: chunks on threads, each in segments, into arrays with a row for every trial."""

import concurrent.futures
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.engine.plan import Chunk, Plan, worker_count
from jaxopt_lab.engine.program import Program, compiled
from jaxopt_lab.trial import COMPLETED, DIVERGED, INTERRUPTED, RUNNING

INHERITED = ("enable_x64", "default_device", "default_matmul_precision")  # settings that JAX keeps by thread


@dataclasses.dataclass
class Progress:
    """Where a sweep stands, for whoever shows it."""

    trials: int
    programs: int
    trials_done: int = 0
    programs_compiled: int = 0
    trial_steps: int = 0
    trial_steps_planned: int = 0
    diverged: int = 0
    seconds: float = 0.0


@dataclasses.dataclass
class Outcome:
    """What came of a plan. Arrays have leading axes (configuration, seed).

    Attributes:
        status: Index into `trial.STATUSES`.
        steps: Updates applied; of a diverged trial, its first step with a non-finite loss.
        train_loss: By recorded step.
        evaluations: Losses and metrics on held-out splits by name, by evaluated step.
        params: Final parameters of each group, with leading axes (the group's configurations, seed); None if not kept.
        compile_seconds: Summed over programs, some of which compile at once.
        run_seconds: From first to last, on the wall.
        interrupted: Whether Ctrl-C ended it.

    """

    status: np.ndarray
    steps: np.ndarray
    train_loss: np.ndarray
    evaluations: dict[str, np.ndarray]
    params: list[Any]
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    interrupted: bool = False


def execute(plan: Plan, report: Callable[[Progress], None] = lambda _: None) -> Outcome:
    """Run every trial of the plan; Ctrl-C ends it at the next segment and keeps what there is.

    Args:
        plan: What to run.
        report: Called from this thread several times a second.

    """
    began = time.perf_counter()
    run = _Run(plan)
    settings = {name: getattr(jax.config, f"jax_{name}") for name in INHERITED}
    pool = concurrent.futures.ThreadPoolExecutor(worker_count(), "jaxopt-lab", _set_in_thread, (settings,))
    pending = {pool.submit(job) for job in run.jobs()}
    try:
        while pending:
            done, pending = concurrent.futures.wait(pending, 0.1, concurrent.futures.FIRST_EXCEPTION)
            for future in done:
                future.result()
            run.progress.seconds = time.perf_counter() - began
            report(run.progress)
    except KeyboardInterrupt:
        run.outcome.interrupted = True
    finally:
        run.cancelled.set()
        pool.shutdown(cancel_futures=True)
    run.outcome.run_seconds = time.perf_counter() - began
    return run.outcome


class _Run:
    """The shared state of one execution; its workers write to disjoint rows of the outcome's arrays."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.cancelled = threading.Event()
        self.lock = threading.Lock()
        self.segments = plan.segments
        data = {group.structure.task: group.structure.task.data for group in plan.groups}
        self.data = {task: jax.tree.map(jnp.asarray, splits) for task, splits in data.items()}
        self.progress = Progress(plan.trials, len(plan.groups), trial_steps_planned=plan.trials * plan.steps)
        self.programs: list[concurrent.futures.Future] = [concurrent.futures.Future() for _ in plan.groups]
        shape, dtype = (plan.configs, len(plan.seeds)), jnp.result_type(float)
        self.outcome = Outcome(
            status=np.full(shape, INTERRUPTED, np.int8),
            steps=np.zeros(shape, np.int32),
            train_loss=np.full((*shape, len(plan.record_steps)), np.nan, dtype),
            evaluations={
                name: np.full((*shape, len(plan.eval_steps)), np.nan, dtype) for name in _evaluation_names(plan)
            },
            params=[None] * len(plan.groups),
        )

    def jobs(self) -> Iterator[Callable[[], None]]:
        """Compile one group ahead of the one whose chunks run."""
        count = len(self.plan.groups)
        for number in range(count + 1):
            if number < count:
                yield functools.partial(self.compile, number)
            if number > 0:
                for chunk in self.plan.chunks(number - 1):
                    yield functools.partial(self.run_chunk, chunk)

    def compile(self, number: int) -> None:
        plan, group, began = self.plan, self.plan.groups[number], time.perf_counter()
        try:
            program = compiled(
                group.structure,
                plan.chunk_shape(group),
                plan.segment_length,
                plan.tolerance is not None,
                self.data[group.structure.task],
            )
        except BaseException as error:
            self.programs[number].set_exception(error)
            raise
        with self.lock:
            self.outcome.compile_seconds += time.perf_counter() - began
            self.progress.programs_compiled += 1
        self.programs[number].set_result(program)

    def run_chunk(self, chunk: Chunk) -> None:
        """Run one chunk to its end, to the end of its last trial, or to the segment in which somebody cancels."""
        plan, group = self.plan, self.plan.groups[chunk.group]
        program: Program = self.programs[chunk.group].result()
        data = self.data[group.structure.task]
        seeds_in_chunk, configs_in_chunk = plan.chunk_shape(group)
        values = {name: jnp.asarray(_pad(v[chunk.rows], configs_in_chunk), float) for name, v in group.values.items()}
        seeds = jnp.asarray(_pad(plan.seeds[chunk.columns], seeds_in_chunk), jnp.int32)
        target, tolerance = jnp.asarray(plan.target, float), jnp.asarray(plan.tolerance or 0.0, float)
        trials = len(chunk.rows) * len(chunk.columns)
        rows = np.ix_(group.configs[chunk.rows], chunk.columns)

        def keep(x):  # (seeds, configurations, ...) of the padded chunk -> (configurations, seeds, ...)
            return np.swapaxes(np.asarray(x)[: len(chunk.columns), : len(chunk.rows)], 0, 1)

        def evaluate(state, first_point, points):
            seen = program.evaluate(state._replace(optimizer=None), seeds, jnp.int32(first_point), target, data)
            for name, array in self.outcome.evaluations.items():
                if name in seen:
                    array[(*rows, points)] = keep(seen[name])[..., None]
            return keep(seen["status"]), keep(seen["train_loss"])

        state = program.start(program.initial(seeds), values)
        evaluate(state, 0, slice(0, 1))
        status, final = keep(state.status), False
        for segment in self.segments:
            if self.cancelled.is_set():
                break
            first, last = jnp.int32(segment.first), jnp.int32(segment.last)
            draws = program.draw(seeds, first)
            state, losses = program.advance(state, values, draws, first, last, target, tolerance, data)
            self._record(rows, segment.first, segment.last, keep(losses))
            status = keep(state.status).copy()  # the next segment takes the state's memory
            stopped = bool((status != RUNNING).all())
            if segment.evaluate or stopped:
                point = int(np.searchsorted(plan.eval_steps, segment.last))
                # Stopped trials change no more: what is true now is true to the end.
                status, train_loss = evaluate(state, segment.last, slice(point, None if stopped else point + 1))
                final = stopped or segment.last == plan.steps
                if final:
                    self._record(rows, segment.last, plan.steps + 1, train_loss[..., None])
            with self.lock:
                self.progress.trial_steps += trials * (segment.last - segment.first)
            if final:
                break
        status = np.where(status == RUNNING, COMPLETED if final else INTERRUPTED, status)
        self.outcome.status[rows], self.outcome.steps[rows] = status, keep(state.steps)
        if plan.keep_params:
            self._keep_params(chunk, jax.tree.map(keep, state.params))
        with self.lock:
            self.progress.trial_steps_planned -= trials * (plan.steps - (segment.last if final else plan.steps))
            self.progress.trials_done += trials
            self.progress.diverged += int((status == DIVERGED).sum())

    def _record(self, rows, first: int, last: int, losses: np.ndarray) -> None:
        """Keep the losses of the recorded ones among steps first to last - 1 (one loss serves all)."""
        points = np.flatnonzero((self.plan.record_steps >= first) & (self.plan.record_steps < last))
        if len(points):
            kept = losses[..., self.plan.record_steps[points] - first] if losses.shape[-1] > 1 else losses
            self.outcome.train_loss[(*rows, slice(points[0], points[-1] + 1))] = kept

    def _keep_params(self, chunk: Chunk, params: Any) -> None:
        shape = (len(self.plan.groups[chunk.group].configs), len(self.plan.seeds))
        with self.lock:
            if self.outcome.params[chunk.group] is None:
                empty = lambda x: np.full((*shape, *x.shape[2:]), np.nan, x.dtype)
                self.outcome.params[chunk.group] = jax.tree.map(empty, params)
        rows = np.ix_(chunk.rows, chunk.columns)
        jax.tree.map(lambda kept, x: kept.__setitem__(rows, x), self.outcome.params[chunk.group], params)


def _set_in_thread(settings: dict[str, Any]) -> None:
    """Give a worker the settings of the thread that called `sweep`, for as long as it lives."""
    for name, value in settings.items():
        getattr(jax, name)(value).__enter__()


def _evaluation_names(plan: Plan) -> list[str]:
    names = {}
    for task in {group.structure.task: None for group in plan.groups}:
        for split in ("validation", "test"):
            if getattr(task, split) is not None:
                names |= dict.fromkeys([f"{split}_loss", *(f"{split}_{metric}" for metric in task.metrics)])
    return list(names)


def _pad(x: np.ndarray, length: int) -> np.ndarray:
    """Repeat the last entry up to the length, so that every chunk has one shape."""
    return np.concatenate([x, np.repeat(x[-1:], length - len(x), axis=0)])
