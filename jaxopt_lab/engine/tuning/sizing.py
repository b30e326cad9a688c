"""The memory of a plan, and how large chunks and evaluations may be for it to stay within its budget."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab import formats
from jaxopt_lab.engine.compile.axes import tree_bytes
from jaxopt_lab.engine.compile.evaluation import held_out_counts, not_means
from jaxopt_lab.engine.compile.program import Program, compiled
from jaxopt_lab.engine.devices import FREE_SHARE, devices, host_free_bytes, thread_count
from jaxopt_lab.engine.plan import Group, Plan, state_shapes
from jaxopt_lab.engine.recorder import curve_names, evaluation_names
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import params_bytes
from jaxopt_lab.engine.tuning.cutting import fitted
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.tasks.streams import Stream

MOST_KEPT_BATCHES = 2**28  # bytes, so that chunks of a seed that run side by side read its stream once


def data_bytes(plan: Plan) -> int:
    """Return the size of all tasks' data, of which every device has a copy."""
    leaves = {id(x): x for group in plan.groups for x in jax.tree.leaves(group.structure.task.data)}
    kept = lambda x: jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype))
    return tree_bytes([kept(x) for x in leaves.values()]) * len(devices())


def kept_batches_bytes(plan: Plan) -> int:
    """Return the most bytes of batches that the host keeps of each task whose training data it reads."""
    return min(MOST_KEPT_BATCHES, plan.memory // 8)


def read_bytes(plan: Plan) -> int:
    """Return the most bytes of batches that the host keeps in all."""
    tasks = {group.structure.task for group in plan.groups}
    return kept_batches_bytes(plan) * sum(isinstance(task.feed, Stream) for task in tasks)


def results_bytes(plan: Plan) -> int:
    """Return the size of the curves, evaluations and statuses of all trials."""
    number = jnp.result_type(float).itemsize
    names = len(curve_names(plan))
    curves = len(plan.record_steps) * names + len(plan.eval_steps) * len(evaluation_names(plan)) + names
    return plan.trials * (number * curves + 1 + 4 + 4 + 2)


def kept_params_bytes(plan: Plan) -> int:
    """Return the size of the parameters that are kept in the end."""
    total, left = 0, dict.fromkeys((group.optimizer for group in plan.groups), plan.kept_configs)
    for size, group in sorted(((params_bytes(g.structure.task), g) for g in plan.groups), key=lambda of: -of[0]):
        most = left[group.optimizer]
        count = len(group.configs) if most is None else min(most, len(group.configs))
        total += size * count * len(plan.seeds)
        left[group.optimizer] = None if most is None else most - count
    return total


def held_bytes(plan: Plan) -> int:
    """Return the size of all trials' states between two rungs; 0 where there are no rungs."""
    if not any(len(pool.rungs) for pool in plan.pools):
        return 0
    return states_bytes(plan)


def states_bytes(plan: Plan) -> int:
    """Return the size of all trials' states."""
    return sum(state_bytes(plan, group) * len(group.configs) * len(plan.seeds) for group in plan.groups)


def state_bytes(plan: Plan, group: Group) -> int:
    """Return the size of one trial's state: parameters, optimizer state, hyperparameters, status."""
    return tree_bytes(state_shapes(plan, group))


def host_budget(plan: Plan) -> int:
    """Return the memory budget on the host: the sweep's own where it runs there, else a share of free memory."""
    return plan.memory if _on_host() else int(host_free_bytes() * FREE_SHARE["cpu"])


def room(plan: Plan) -> int:
    """Return the memory for all running chunks: the budget less the data, and on a CPU less what is kept of trials."""
    kept = results_bytes(plan) + held_bytes(plan) + kept_params_bytes(plan) + read_bytes(plan) if _on_host() else 0
    return max(0, plan.memory - data_bytes(plan) - kept)


def side_by_side(plan: Plan, chunks: int, chunk_bytes: int) -> int:
    """Return how many of the chunks run at once: one per thread, and fewer where memory does not allow that."""
    return max(1, min(thread_count(devices()), chunks, room(plan) // max(1, chunk_bytes)))


class BudgetError(ArgumentValueError):
    """Not even one trial fits into the memory budget."""


class Room:
    """Memory that running chunks share: a chunk that does not find enough waits for others to end."""

    def __init__(self, plan: Plan):
        self._left, self._running, self._changed = room(plan), 0, threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold `size` bytes inside the block. A chunk that runs alone never waits, even if too little is free."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running or size <= self._left)
            self._running, self._left = self._running + 1, self._left - size
        try:
            yield
        finally:
            with self._changed:
                self._running, self._left = self._running - 1, self._left + size
                self._changed.notify_all()


def fitting(plan: Plan, group: Group, way: Strategy, data: Any) -> tuple[Strategy, Program]:
    """Compile a strategy for a group, with chunks and evaluations as small as memory requires.

    A running chunk gets an equal share of the memory, so that one chunk per thread can run. Held-out data are evaluated
    for all of its trials at once where that fits, else for some at a time, else for one at a time in batches of
    examples; where a metric does not allow batches, for one at a time even if fewer chunks then run at once.

    Args:
        plan: The plan.
        group: A group of the plan.
        way: The strategy. Only its chunks may be made smaller.
        data: `task.data`; only its shapes matter.

    Raises:
        BudgetError: Not even one trial fits.

    """
    whole = room(plan)
    share = whole // min(thread_count(devices()), plan.trials)
    program = compiled(plan, group, way, data)
    while program.advance_bytes > share:
        smaller = fitted(plan, group, way, max(1, min(way.trials - 1, way.trials * share // program.advance_bytes)))
        if smaller.trials >= way.trials:
            break
        way, program = smaller, compiled(plan, group, smaller, data)
    named = f"{group.optimizer} on {group.structure.task.name!r}"
    if program.advance_bytes > whole:
        raise BudgetError(
            f"{named}: {_trials(way.trials)} alone {_takes(way.trials, program.advance_bytes)} to train, and "
            f"{_left(plan)} for that. Use smaller batches (batch_size) or a smaller model, or give more memory."
        )
    if program.evaluate_bytes <= share:
        return way, program
    fixed = tree_bytes(program.shapes)
    # The number expected to fit, and at most half, so that few programs are compiled before one fits.
    fewer = lambda n: max(1, min(n // 2, int(n * max(0, share - fixed) / max(1, program.evaluate_bytes - fixed))))
    least, evaluated = len(devices()), way.trials
    while program.evaluate_bytes > share and evaluated > least:
        evaluated = max(least, fewer(evaluated))
        way = dataclasses.replace(way, evaluated=evaluated)
        program = compiled(plan, group, way, data)
    if program.evaluate_bytes <= share:
        return way, program
    counts = held_out_counts(group.structure.task)
    whole_only = not_means(group.structure.task) if counts else ["held-out data that are not arrays of examples"]
    examples = 1 if whole_only else max(counts)
    while program.evaluate_bytes > share and examples > 1:
        examples = fewer(examples)
        way = dataclasses.replace(way, evaluated=evaluated, examples=examples)
        program = compiled(plan, group, way, data)
    if program.evaluate_bytes > whole:
        why = "Evaluate on fewer held-out examples"
        if whole_only:
            why = f"{', '.join(whole_only)}: not a mean over examples, so batches would change it. {why}"
        raise BudgetError(
            f"{named}: {_trials(least)} alone {_takes(least, program.evaluate_bytes)} to evaluate, and {_left(plan)} "
            f"for that. {why}, use a smaller model, or give more memory."
        )
    return way, program


def _on_host() -> bool:
    return devices()[0].platform == "cpu"


def _trials(count: int) -> str:
    return "one trial" if count == 1 else f"{count} trials"


def _takes(count: int, size: int) -> str:
    return f"take{'s' * (count == 1)} {formats.size(size)}"


def _left(plan: Plan) -> str:
    budget, left = formats.size(plan.memory), formats.size(room(plan))
    return f"the memory budget of {budget}, less data and results, leaves {left}"
