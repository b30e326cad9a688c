"""Programs: one trial's pure functions, mapped over the seeds and configurations of a chunk, compiled ahead of time."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.diagnostics import Diagnostic
from jaxopt_lab.engine.compile import layout
from jaxopt_lab.engine.compile.axes import Axes, Shapes, Trials, program_bytes, tree_bytes
from jaxopt_lab.engine.compile.evaluation import evaluation_at_once, evaluation_in_parts
from jaxopt_lab.engine.compile.options import compiler_options, one_core_options, seldom_options
from jaxopt_lab.engine.devices import GPUS, devices, on_cores
from jaxopt_lab.engine.keeping import keeping, kept, with_best
from jaxopt_lab.engine.plan import Group, Plan
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import Structure, with_convolutions
from jaxopt_lab.tasks.calls import starts_at
from jaxopt_lab.tasks.feeds import joined
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tasks.seeding import draws, initial
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.trial import Info, Seen, Trial, TrialState, answers_elsewhere
from jaxopt_lab.types import random_key

SHARED_BYTES = 2**18  # initial parameters and a segment's draws up to this size are cached

Curves = Info | list[Info]  # by step along the last axis, or step by step


class Program(NamedTuple):
    """Functions compiled for one structure and strategy; every array has leading axes (seeds, configurations).

    initial(seeds) -> parameters and the loss's state, with only the leading axis (seeds,); the seeds themselves where
        the values decide both
    start(initial, values) -> state, which includes the values
    draw(seeds, first) -> the draws of a segment's batches, with only the leading axis (seeds,); where the host reads
        the training data, `advance` takes them with the batches in their place: see `engine.compile.data`
    advance(state, draws, first, last, stop, data) -> state, curves, status; the state is donated
    evaluate(state, seeds, t, stop, data) -> `trial.Seen`
    answer(state) -> what is kept of the trials: see `keeping.kept`
    keep(state, values, step) -> the state with what is kept after an evaluation: see `keeping.keeping`; the state is
        donated. None where the last parameters are kept
    place(arguments, kinds) -> the arguments as arrays on the devices, each split along the axes that it has
    advance_bytes, evaluate_bytes: the memory of a running chunk in each function, without the data
    compile_seconds: what compiling took for this strategy alone: not the parameters and draws, which others share
    """

    initial: Callable[..., Any]
    start: Callable[..., TrialState]
    draw: Callable[..., Any]
    advance: Callable[..., tuple[TrialState, Curves, jax.Array]]
    evaluate: Callable[..., Seen]
    answer: Callable[[TrialState], Any]
    keep: Callable[..., TrialState] | None
    shapes: TrialState
    place: Callable[[Any, tuple[Axes, ...]], Any]
    advance_bytes: int
    evaluate_bytes: int
    compile_seconds: float

    @property
    def chunk_bytes(self) -> int:
        """The memory of a running chunk, without the data."""
        return max(self.advance_bytes, self.evaluate_bytes)


def compiled(plan: Plan, group: Group, strategy: Strategy, data: Any) -> Program:
    """Compile the program that trains a group's structure; it is cached between sweeps.

    Args:
        plan: The plan, which sets the length of segments and when trials end.
        group: A group of the plan.
        strategy: How the group's trials run.
        data: `task.data`; only its shapes matter.

    """
    length, used = plan.segment_length, devices()
    uneven = plan.of(group).uneven and not on_cores(used)
    structure = dataclasses.replace(group.structure, rewrite=strategy.rewrite)
    # What XLA takes beyond its own analysis is decided by convolutions, also those that are products of patches.
    step, way = with_convolutions(structure, group.optimizer), dataclasses.replace(strategy, evaluated=0, examples=0)
    stop, recorded = Shapes(plan.ending), (plan.shown, plan.diagnostics_of(group))
    what = structure, way, length, uneven, stop, *recorded, plan.keep == "best", Shapes(data), used
    training = _compiled(*what, step.largest_bytes)
    over, state = Trials(strategy.seeds, strategy.configs, used), training["shapes"]
    seen, feed = Shapes(_seen(state)), group.structure.task.feed
    if feed is not None:  # each seed's batch in place of the training data
        data = _with_axes(feed.shapes(), strategy.seeds), *data[1:]
    about = seen, stop, Shapes(data), step.convolves, strategy.rewrite
    if strategy.evaluated:
        counts = strategy.evaluated, strategy.examples
        evaluation = evaluation_in_parts(group.structure.task, over, *counts, *about)
    else:
        evaluation = evaluation_at_once(group.structure.task, over, *about)
    see = lambda state, *others: evaluation.run(_seen(state), *others)
    beside = tree_bytes(state) - tree_bytes(seen.tree)
    return Program(**training, evaluate=see, evaluate_bytes=evaluation.bytes + beside)


@remembered(maxsize=64)
def _compiled(
    structure: Structure,
    strategy: Strategy,
    length: int,
    uneven: bool,
    stop: Shapes,
    changes: tuple[str, ...],
    diagnostics: tuple[Diagnostic, ...],
    keep_best: bool,
    data: Shapes,
    used: tuple[Any, ...],
    largest_bytes: int,
) -> dict[str, Any]:
    """Compile the fields of a program, except those of evaluation."""
    over = Trials(strategy.seeds, strategy.configs, used)
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    values = {name: jax.ShapeDtypeStruct((strategy.configs,), number.dtype) for name in structure.names}

    trial = functools.partial(structure.trial, changes=changes, diagnostics=diagnostics)
    late = starts_at(structure.task, structure.names)
    initial_of = _compiled_seeds(over) if late else _compiled_initial(structure.task, over)
    drawing, began = _compiled_draw(structure.task, over, length), time.perf_counter()

    def begin(start, values):
        one = trial(values, stop.tree)
        params, model = _with_numbers(structure.task, one.task, start) if late else start
        state = one.start(params, model, values)
        return with_best(state) if keep_best else state

    options = seldom_options(used[0].platform, once=True)
    start = over.compile(begin, (Axes.SEED, Axes.CONFIG), (initial_of.out_info, values), options=options)
    state, draws, feed = start.out_info, drawing.out_info, structure.task.feed
    if feed is not None:
        batches = _with_axes(feed.shapes(), strategy.seeds, length)
        draws = joined(structure.task, draws[0], batches), draws[1]
    one, advance = _compile_advance(trial, strategy, over, length, uneven, (state, draws, stop.tree, data.tree))
    advance_bytes = program_bytes(one, over, (state, draws))
    if feed is not None:  # the batches of the next segment, which are read meanwhile
        advance_bytes += tree_bytes(batches)
    if on_cores(used):  # XLA's library for products makes a copy of one factor, which is never patches; measured
        advance_bytes += strategy.trials * largest_bytes
    compiles = answers_elsewhere(state.optimizer) and not keep_best
    answering = over.compile(kept, (Axes.TRIAL,), (state,)) if compiles else kept
    return {
        "initial": _shared(initial_of, used),
        "start": start,
        "draw": _shared(drawing, used),
        "advance": advance,
        "answer": answering,
        "keep": _compiled_keep(over, state) if keep_best else None,
        "shapes": state,
        "place": over.place,
        "advance_bytes": advance_bytes,
        "compile_seconds": time.perf_counter() - began,
    }


def _with_axes(shapes: Any, *axes: int) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*axes, *x.shape), x.dtype), shapes)


def _seen(state: TrialState) -> TrialState:
    """Return the part of the state that an evaluation reads, without the optimizer's unless the answer depends on it.

    So optimizers share the program. Of the values, it reads the task's.
    """
    state = state._replace(
        best=None, watched=None, values={name: x for name, x in state.values.items() if name.startswith(TASK_PREFIX)}
    )
    return state if answers_elsewhere(state.optimizer) else state._replace(optimizer=None)


def _compile_advance(
    trial: Callable[..., Trial], strategy: Strategy, over: Trials, length: int, uneven: bool, shapes: tuple[Any, ...]
) -> tuple[Any, Callable]:
    """Compile the program of a segment, or of a step; return it, and `Program.advance`."""
    state, drawn, stop, data = shapes
    integer, platform = jax.ShapeDtypeStruct((), jnp.int32), over.devices[0].platform
    arguments = (state, drawn, integer, integer, stop, data)
    loop = loop_on(platform, strategy.own)

    def segment(state, draws, first, last, stop, data, seed=0, count=None):
        run, count = trial(state.values, stop), last - first if count is None else count
        state, curves = run.advance(state, draws, first, count, data, length, seed * length, loop)
        return state, curves, state.status

    def step(state, draws, t, first, stop, data, seed=0):
        at, run = t - first + seed * length, trial(state.values, stop)
        drawn, keys = jax.tree.map(lambda x: x[at], draws)
        state, info = run.step(state, t, run.task.take(data[0], drawn), keys)
        return state, info, state.status

    options = compiler_options(platform) | (one_core_options() if strategy.one_core else {})

    def compile_one(one):
        return over.compile(
            one,
            (Axes.TRIAL, Axes.SEED, Axes.NONE, Axes.NONE, Axes.NONE, Axes.NONE),
            arguments,
            donate=True,
            flat=strategy.own,
            options=options,
        )

    if strategy.loop == "steps":
        one = compile_one(step)
        return one, _stepping(one)
    if platform == "cpu":
        one = compile_one(segment)
        return one, one
    one = compile_one(functools.partial(segment, count=length))
    rest = compile_one(segment) if uneven else one
    return one, lambda state, draws, first, last, *others: (one if last - first == length else rest)(
        state, draws, first, last, *others
    )


def loop_on(platform: str, own: bool) -> Callable[..., Any]:
    """Return the loop for programs on this platform, whose trials have their `own` batches or share them.

    On CPUs, axis orders help both. On a GPU (H100, 4,096 and more small networks) they gain a sixth where batches are
    shared, and lose a third of the rate with own batches; other accelerators were not measured.
    """
    if platform == "cpu":
        return layout.fori_loop
    return functools.partial(layout.fori_loop, held=True) if platform in GPUS and not own else jax.lax.fori_loop


def _stepping(step: Callable) -> Callable:
    """Make a segment of calls to a compiled step."""

    def advance(state, draws, first, last, stop, data):
        curves, status = [], state.status
        for t in range(int(first), int(last)):
            state, info, status = step(state, draws, np.int32(t), first, stop, data)
            curves.append(info)
        return state, curves, status

    return advance


def _compiled_keep(over: Trials, state: Any) -> Callable[..., TrialState]:
    """Compile `keeping.keeping`."""
    value = jax.ShapeDtypeStruct((over.seeds, over.configs), jnp.result_type(float))
    arguments = state, value, jax.ShapeDtypeStruct((), jnp.int32)
    return over.compile(keeping, (Axes.TRIAL, Axes.TRIAL, Axes.NONE), arguments, donate=True)


@remembered(maxsize=64)
def _compiled_initial(task, over: Trials):
    """Compile the initial parameters; they do not depend on the optimizer, so all optimizers of a task share this."""
    begin = lambda seed: initial(task, random_key(seed))
    shapes = (jax.ShapeDtypeStruct((over.seeds,), jnp.int32),)
    return over.compile(begin, (Axes.SEED,), shapes, options=seldom_options(over.devices[0].platform, once=True))


def _with_numbers(task: Task, valued: Task, seed: jax.Array) -> tuple[Any, Any]:
    """Return the start of a trial whose numbers decide it, in the types that it has with numbers from Python.

    A traced number may have a wider type, and so may what is made of it.
    """
    like = jax.eval_shape(lambda seed: initial(task, random_key(seed)), seed)
    return jax.tree.map(lambda x, y: x.astype(y.dtype), initial(valued, random_key(seed)), like)


@remembered(maxsize=64)
def _compiled_seeds(over: Trials):
    """Compile the seeds themselves, from which each trial's start is made with its own values."""
    return over.compile(lambda seed: seed, (Axes.SEED,), (jax.ShapeDtypeStruct((over.seeds,), jnp.int32),))


@remembered(maxsize=64)
def _compiled_draw(task, over: Trials, length):
    """Compile the draws of batches, which do not depend on the optimizer either."""
    draw = lambda seed, first: draws(task, random_key(seed), first, length)
    shapes = jax.ShapeDtypeStruct((over.seeds,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    return over.compile(draw, (Axes.SEED, Axes.NONE), shapes, options=seldom_options(over.devices[0].platform))


def _shared(make: Any, used: tuple[Any, ...]) -> Callable[..., Any]:
    """Cache small results by seed on a CPU, so that chunks of the same seeds share them."""
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(make.out_info))
    if not on_cores(used) or size > SHARED_BYTES:
        return make
    return lambda seeds, *at: _made(make, np.asarray(seeds).tobytes(), *(int(step) for step in at))


@functools.lru_cache(maxsize=64)
def _made(make: Any, seeds: bytes, *at: int) -> Any:
    return make(np.frombuffer(seeds, np.int32), *(np.int32(step) for step in at))
