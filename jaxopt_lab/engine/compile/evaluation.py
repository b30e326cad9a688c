"""Evaluation on held-out data: all trials of a chunk at once, or some at a time and in batches of examples."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_lab.engine.compile.axes import Axes, Shapes, Trials, program_bytes
from jaxopt_lab.engine.compile.options import foreseeable_options
from jaxopt_lab.engine.devices import on_cores
from jaxopt_lab.tasks.calls import measure
from jaxopt_lab.tasks.names import LOSS, SPLITS
from jaxopt_lab.tasks.rewriting import valued
from jaxopt_lab.tasks.seeding import initial
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.trial import Seen, Trial
from jaxopt_lab.types import random_key

FEW = 64  # held-out examples that decide whether a function is a mean over examples
CUT = 19  # how many of these are in the first of two unequal batches
ASIDE = (1, -1, 8, -8)  # multiples of noise added to initial parameters, at which that is also checked


class Evaluation(NamedTuple):
    """An evaluation compiled for the trials of a chunk.

    run(state, seeds, t, stop, data) -> `Seen`; where the host reads the training data, data[0] is each seed's batch
    bytes: the memory that it takes, without the data
    """

    run: Callable[..., Seen]
    bytes: int


class Batch(NamedTuple):
    """Held-out examples that are evaluated at once: a whole split where `size` is 0."""

    split: int  # 0: validation, 1: test
    start: int = 0
    size: int = 0
    share: float = 1.0  # of the split


@remembered(maxsize=64)
def evaluation_at_once(
    task: Task, over: Trials, state: Shapes, stop: Shapes, data: Shapes, convolves: bool, rewrite: bool
) -> Evaluation:
    """Compile the evaluation of all trials on all held-out examples, in one program."""

    def evaluate(state, seed, t, stop, train, held_out):
        trial = Trial(optax.identity(), valued(task, state.values, rewrite), stop)
        return trial.evaluate(state, random_key(seed), t, (train, *held_out))

    integer, seeds = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((over.seeds,), jnp.int32)
    taken, (train, *held_out) = (state.tree, seeds, integer, stop.tree), data.tree
    program = over.compile(
        evaluate,
        (Axes.TRIAL, Axes.SEED, Axes.NONE, Axes.NONE, Axes.NONE if task.feed is None else Axes.SEED, Axes.NONE),
        (*taken, train, held_out),
        options=_options(over, convolves),
    )
    run = lambda state, seeds, t, stop, data: program(state, seeds, t, stop, data[0], [*data[1:]])
    return Evaluation(run, program_bytes(program, over, taken))


@remembered(maxsize=64)
def evaluation_in_parts(
    task: Task,
    over: Trials,
    trials: int,
    examples: int,
    state: Shapes,
    stop: Shapes,
    data: Shapes,
    convolves: bool,
    rewrite: bool,
) -> Evaluation:
    """Compile the evaluation of about `trials` trials at a time, on `examples` held-out examples at a time (0: all).

    A mean over all examples is the mean of the batches' means, weighted by their sizes; `not_means` finds metrics that
    are not means. The training loss is computed for all trials at once: a training step needs more memory than that.
    Parts run one after the other, since a CPU would allocate memory for all parts that are queued.
    """
    part, number, (train, *held_out) = over.part(trials), jnp.result_type(float), data.tree
    first = evaluation_at_once(task, over, state, stop, Shapes((train, None, None)), convolves, rewrite)
    batches = [batch for n, split in enumerate(held_out) if split is not None for batch in _batches(n, split, examples)]
    of_one = lambda shapes: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), shapes)
    of_all = lambda dtype: jax.ShapeDtypeStruct((over.seeds, over.configs), dtype)
    status, index, share = of_all(jnp.int32), jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((), number)

    def see(state, status, splits):
        return Trial(optax.identity(), valued(task, state.values, rewrite)).evaluate_held_out(state, status, splits)

    seen = jax.eval_shape(see, of_one(state.tree), of_one(status), tuple(held_out))
    wide = lambda dtype: jnp.promote_types(dtype, number) if examples else dtype  # means are summed in this type
    empty = {name: of_all(wide(x.dtype)) for name, x in seen.items()}

    def compiled(batch: Batch) -> tuple[Any, int]:
        def look(values, state, status, start, share, split):
            if batch.size:
                split = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, batch.size), split)
            found = see(state, status, [split if n == batch.split else None for n in range(2)])
            if batch.size:
                before = {name: jnp.where(start == 0, 0, values[name]) for name in found}
                found = {name: before[name] + share * x.astype(before[name].dtype) for name, x in found.items()}
                found = {name: x.astype(before[name].dtype) for name, x in found.items()}
            return values | found

        taken = empty, state.tree, status, index, share
        shapes = *taken, held_out[batch.split], index, index
        program = over.compile(
            look,
            (Axes.TRIAL, Axes.TRIAL, Axes.TRIAL, Axes.NONE, Axes.NONE, Axes.NONE),
            shapes,
            donate=True,
            options=_options(over, convolves),
            part=part,
        )
        return program, program_bytes(program, over, taken)

    programs = {(batch.split, batch.size): batch for batch in batches}
    programs = {which: compiled(batch) for which, batch in programs.items()}

    def run(state, seeds, t, stop, data):
        seen = first.run(state, seeds, t, stop, (data[0], None, None))
        (found,) = over.place(({name: np.zeros(x.shape, x.dtype) for name, x in empty.items()},), (Axes.TRIAL,))
        for corner, batch in itertools.product(over.corners(part), batches):
            program, _ = programs[batch.split, batch.size]
            start, share = np.int32(batch.start), number.type(batch.share)
            found = program(found, state, seen.status, start, share, data[1 + batch.split], *corner)
            found = jax.block_until_ready(found)
        return seen._replace(held_out=found)

    return Evaluation(run, max(first.bytes, *(taken for _, taken in programs.values())))


def held_out_counts(task: Task) -> list[int]:
    """Count the examples of the held-out splits; empty where one is not in arrays with a leading example axis."""
    counts = []
    for split in filter(lambda split: split is not None, task.data[1:]):
        found = {x.shape[0] if x.ndim else 0 for x in jax.tree.leaves(split)}
        if len(found) != 1 or not min(found):
            return []
        counts += found
    return counts


@remembered(maxsize=64)
def not_means(task: Task) -> list[str]:
    """Return the losses and metrics that are not means over examples, so that batches would change them (r2, AUC, F1).

    A function is a mean if two unequal batches of a few examples, weighted by their sizes, give the value of all of
    them. This is checked at initial parameters and at points around them, since an untrained network may hide the
    difference (its F1 is zero for any batch). A function that is constant, or never finite, does not count as a mean.
    """
    start, model = initial(task, random_key(0))
    leaves, structure = jax.tree.flatten(start)
    noise = [jax.random.normal(random_key(n), x.shape).astype(x.dtype) for n, x in enumerate(leaves)]
    beside = lambda side: jax.tree.unflatten(structure, [x + side * e for x, e in zip(leaves, noise, strict=True)])
    points, found = [start, *map(beside, ASIDE)], []
    for split, data in zip(SPLITS[1:], task.data[1:], strict=True):
        if data is None:
            continue
        count = len(jax.tree.leaves(data)[0])
        few = jax.tree.map(lambda x, n=count: jnp.asarray(x)[np.unique(np.linspace(0, n - 1, FEW).astype(int))], data)
        for name in (LOSS, *task.metrics):
            if not _is_mean(lambda params, batch, name=name: measure(task, name, params, batch, model), points, few):
                found.append(f"{split}_{name}")
    return found


def _is_mean(function: Callable[..., Any], points: list[Any], examples: Any) -> bool:
    count = len(jax.tree.leaves(examples)[0])
    cut = min(CUT, count // 2)
    pieces = [jax.tree.map(lambda x, at=at: x[at], examples) for at in (slice(cut), slice(cut, None))]
    see = jax.jit(lambda params: [function(params, batch) for batch in (examples, *pieces)])
    told, eps = False, max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(points))
    for params in points if count > 1 else []:
        seen = see(params)
        tolerance = max(eps, float(jnp.finfo(seen[0].dtype).eps)) ** 0.5
        whole, *parts = (float(x) for x in seen)
        if np.isfinite(whole) and {whole} != {*parts}:
            mean, size = np.average(parts, weights=[cut, count - cut]), max(map(abs, (whole, *parts)))
            if not abs(mean - whole) <= tolerance * size:
                return False
            told = True
    return told


def _batches(number: int, split: Any, examples: int) -> Iterator[Batch]:
    """Yield the batches of a held-out split; sizes differ by at most one, so there are at most two programs."""
    if not examples:
        yield Batch(number)
        return
    count, start = jax.tree.leaves(split)[0].shape[0], 0
    for piece in np.array_split(np.arange(count), -(-count // examples)):
        yield Batch(number, start, len(piece), len(piece) / count)
        start += len(piece)


def _options(over: Trials, convolves: bool) -> dict[str, Any]:
    return foreseeable_options() if convolves and on_cores(over.devices) else {}
