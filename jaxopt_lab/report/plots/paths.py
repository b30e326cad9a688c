"""Paths: where trials of a task with two numbers for parameters go, from many starts at once."""

from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks import calls
from jaxopt_lab.tasks.seeding import draws, initial
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.trial import RISE, Status, Stop, Trial
from jaxopt_lab.types import Optimizer, random_key

Limits = tuple[tuple[float, float], tuple[float, float]]
"""The ends of the two axes."""


class Paths(NamedTuple):
    """What trials from several starts went through.

    Attributes:
        params: The parameters before the first step and after each, of shape (starts, steps + 1, 2). A trial that has
            diverged stays where it was before.
        diverged: Whether each trial diverged.

    """

    params: np.ndarray
    diverged: np.ndarray


def paths(task: Task, optimizer: Optimizer, starts: Any, steps: int, seed: int = 0) -> Paths:
    """Run trials from given starts, and return their parameters after every step.

    They are trials as in a sweep: one program, with the batches and random numbers of the seed, which end where they
    diverge. The parameters are those at which gradients are taken: a method such as `schedule_free_sgd` evaluates
    others.

    Args:
        task: A task whose parameters are two numbers, as `jl.tasks.beale()`.
        optimizer: An (init, update) pair.
        starts: The initial parameters, of shape (starts, 2).
        steps: The number of steps.
        seed: The seed of batches and random numbers, the same for all starts.

    Raises:
        TypeError, ValueError: The task's parameters are not two numbers, or an argument is invalid.

    """
    key, starts = random_key(check_count("seed", seed, least=0)), _starts(task, starts)
    count = check_count("steps", steps)
    trial, data = Trial(optimizer, task, Stop(rise=RISE)), task.data

    def run(start: Any) -> tuple[Any, Any]:
        state = trial.start(start, initial(task, key)[1])

        def turn(state, x):
            t, drawn, keys = x
            state, _ = trial.step(state, t, task.take(data[0], drawn), keys)
            return state, _flat(state.params)

        state, after = jax.lax.scan(
            turn, state, (jnp.arange(count, dtype=jnp.int32), *draws(task, key, jnp.int32(0), count))
        )
        return jnp.concatenate([_flat(start)[None], after]), state.status == Status.DIVERGED

    params, diverged = jax.jit(jax.vmap(run))(_trees(task, starts))
    return Paths(np.asarray(params), np.asarray(diverged))


class Ends(NamedTuple):
    """Where trials from several starts end.

    Attributes:
        params: The last parameters, of shape (starts, 2).
        before: Those after nine tenths of the steps.
        diverged: Whether each trial diverged.

    """

    params: np.ndarray
    before: np.ndarray
    diverged: np.ndarray


def ends(task: Task, optimizer: Optimizer, starts: Any, steps: int, seed: int = 0) -> Ends:
    """Run trials from given starts, and return where they end: see `paths`."""
    key, starts = random_key(check_count("seed", seed, least=0)), _starts(task, starts)
    count = check_count("steps", steps)
    trial, data, most = Trial(optimizer, task, Stop(rise=RISE)), task.data, 9 * count // 10

    def run(start: Any) -> tuple[Any, Any, Any]:
        drawn = draws(task, key, jnp.int32(0), count)
        state = trial.start(start, initial(task, key)[1])
        state, _ = trial.advance(state, drawn, jnp.int32(0), most, data, count)
        before = _flat(state.params)
        state, _ = trial.advance(state, drawn, jnp.int32(most), count - most, data, count, offset=most)
        return _flat(state.params), before, state.status == Status.DIVERGED

    return Ends(*map(np.asarray, jax.jit(jax.vmap(run))(_trees(task, starts))))


def losses(task: Task, points: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the training loss at points of shape (points, 2), on the batch of the first step."""
    key = random_key(seed)
    batch = task.take(task.data[0], jax.tree.map(lambda x: x[0], draws(task, key, jnp.int32(0), 1)[0]))
    keys = jax.tree.map(lambda x: x[0], draws(task, key, jnp.int32(0), 1)[1])
    see = lambda params: calls.evaluate(task, params, batch, initial(task, key)[1], keys.loss).loss
    return np.asarray(jax.jit(jax.vmap(see))(_trees(task, _starts(task, points))))


def initial_points(task: Task, seeds: int) -> np.ndarray:
    """Return the task's own initial parameters of seeds 0, 1, ..., of shape (seeds, 2).

    Raises:
        ValueError: The task's parameters are not two numbers.

    """
    _check(task)
    return np.stack([np.asarray(_flat(initial(task, random_key(seed))[0])) for seed in range(seeds)])


def _check(task: Task) -> Any:
    """Return the task's initial parameters. Raises where they are not two numbers."""
    if not isinstance(task, Task):
        raise ArgumentTypeError(f"task must be a jl.Task, as jl.tasks.beale(), got {quoted(task)}.")
    params = initial(task, random_key(0))[0]
    if (count := sum(jnp.size(x) for x in jax.tree.leaves(params))) != 2:
        raise ArgumentValueError(
            f"A picture of the loss in a plane needs a task with two numbers for parameters, but {task.name!r} has "
            f"{count:,}."
        )
    return params


def _starts(task: Task, starts: Any) -> np.ndarray:
    """Return starts as an array of shape (starts, 2), of the type of the task's parameters."""
    kind = jax.tree.leaves(_check(task))[0].dtype
    try:
        points = np.asarray(starts, kind)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"starts must be pairs of numbers, got {quoted(starts)}.") from None
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ArgumentValueError(f"starts must be of shape (starts, 2), got {points.shape}.")
    if not np.isfinite(points).all():
        raise ArgumentValueError("starts must be finite.")
    return points


def _trees(task: Task, points: np.ndarray) -> Any:
    """Return points (points, 2) as parameters of the task, with a leading axis."""
    _, unflatten = jax.flatten_util.ravel_pytree(_check(task))
    return jax.vmap(unflatten)(jnp.asarray(points))


def _flat(params: Any) -> Any:
    return jax.flatten_util.ravel_pytree(params)[0]
