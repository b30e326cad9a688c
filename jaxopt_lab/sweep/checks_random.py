"""A sweep's checks of randomness, before anything runs: all of it must come from the keys that functions are given.

A task's functions are traced once, and the trace is what runs. Values drawn from elsewhere (NumPy's generator, an
iterator's next item) are drawn while the function is traced, and are constants from then on.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from jaxopt_lab.engine.plan import Group
from jaxopt_lab.engine.structure import traced_step
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.tasks.calls import evaluate, shapes
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import callers_level
from jaxopt_lab.tracing.fingerprint import fingerprint, trace, uses
from jaxopt_lab.types import random_key

INSTEAD = (
    "Values from NumPy's generators or from an iterator are drawn once, while the function is traced, and never "
    "change. Draw with jax.random"
)


def check_random(groups: Sequence[Group], seeds: Sequence[int]) -> None:
    """Raise ValueError where a task draws from anything other than the keys that it is given.

    Warns where several seeds were given and nothing depends on them.
    """
    for group in groups:
        _check_task(group.structure.task)
    tasks = [g.structure.task for g in groups if not traced_step(g.structure, g.optimizer).uses_key]
    alike = {task.name: None for task in tasks if not _draws(task)}
    if alike and len(seeds) > 1:
        warnings.warn(
            f"Nothing depends on the seed in {', '.join(map(repr, alike))}: init(key) returns the same for all keys, "
            f"and neither batches nor the optimizer are random. All {len(seeds)} seeds give the same trial: pass "
            "seeds=1, or draw the initial parameters with jax.random from init's key.",
            stacklevel=callers_level(),
        )


@remembered(maxsize=64)
def _check_task(task: Task) -> None:
    key = random_key(0)
    if callable(task.train) and not uses(trace(task.train, key), 0):
        raise ArgumentValueError(
            f"Task {task.name!r}: train(key) returns the same batch for every key, so every step would train on it. "
            f"{INSTEAD} from train's key, or pass data as arrays and a batch_size."
        )
    loss = lambda params, batch, model: evaluate(task, params, batch, model, key)
    augment = lambda batch: None if task.augment is None else task.augment(key, batch)
    for what, function, arguments, instead in (
        ("init(key) returns two results for one key", task.init, (key,), "from init's key."),
        ("train(key) returns two results for one key", task.train, (key,), "from train's key."),
        ("loss differs each time it is traced", loss, shapes(task), "from the key that a loss may name."),
        ("augment returns two results for one key", augment, (shapes(task).batch,), "from augment's key."),
    ):
        if callable(function) and _differs(function, arguments):
            raise ArgumentValueError(f"Task {task.name!r}: {what}. {INSTEAD} {instead}")


@remembered(maxsize=64)
def _draws(task: Task) -> bool:
    """Return whether a trial of the task depends on its seed, apart from its optimizer."""
    batches = callable(task.train) or task.batch_size is not None or task.feed is not None
    batches = batches or task.augment is not None or task.is_random
    return batches or uses(trace(task.init, random_key(0)), 0)


def _differs(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    """Return whether the function differs when it is traced again."""
    if hasattr(function, "lower") and hasattr(function, "__wrapped__"):  # from jax.jit, which caches its trace
        function = function.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]
    once, again = (fingerprint(trace(function, *arguments)) for _ in range(2))
    return once != again
