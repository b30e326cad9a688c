"""What a sweep checks on the host, before anything compiles."""

import inspect

import jax
import jax.numpy as jnp

from jaxopt_lab.caching import remembered
from jaxopt_lab.engine import Plan, Structure
from jaxopt_lab.engine.devices import default_budget, devices, free_bytes
from jaxopt_lab.engine.forecast import held_bytes, host_budget, results_bytes
from jaxopt_lab.engine.plan import STRATEGIES
from jaxopt_lab.engine.structure import traced_step
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results import RESERVED
from jaxopt_lab.space import Configurations
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.validation import check_known, check_number

TASK_PREFIX = "task."


def check_hyperparameters(name: str, factory: OptimizerFactory, table: Configurations) -> None:
    """Raise where the table names what the optimizer or task does not take, or gives it as the wrong kind."""
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    ours = factory in OPTIMIZERS.values()  # whose numeric hyperparameters come first, structural ones after a bare *
    for column, values in table.columns.items():
        static = column in table.static
        if column.startswith(TASK_PREFIX):
            if not static:
                raise TypeError(f"{column} is structural: write {column!r}: jl.static([...]).")
            continue
        if not takes_any:
            check_known(f"hyperparameter of {name}:", column, [*known, f"{TASK_PREFIX}ARGUMENT"])
        if not column.isidentifier():  # results have files of that name
            raise ValueError(f"{column!r} cannot be a hyperparameter's name: it is no name of Python's.")
        if column in RESERVED:
            raise ValueError(f"A hyperparameter cannot be called {column!r}: results use that name.")
        parameter = parameters.get(column)
        default = parameter.default if parameter else None
        structural = isinstance(default, bool | str) or (
            ours and parameter and parameter.kind is parameter.KEYWORD_ONLY
        )
        if structural and not static:
            raise TypeError(f"{column} of {name} is structural, got {values[0]!r}: write {column}=jl.static([...]).")
        if isinstance(default, bool) and (wrong := [v for v in values if not isinstance(v, bool)]):
            raise TypeError(f"{column} of {name} must be True or False, got {wrong[0]!r}.")
        if ours and static and not structural:  # only None is: without momentum there is no buffer
            numbers = [v for v in values if isinstance(v, float | int) and not isinstance(v, bool)]
            wrong = [v for v in values if v not in numbers and not (v is None and default is None)]
            if wrong:
                none = " or None" if default is None else ""
                raise TypeError(f"{column} of {name} must be a number{none}, got {wrong[0]!r}.")
            if len(numbers) == len(values):
                raise TypeError(f"{column} of {name} is numeric: write {column}={numbers!r} without jl.static.")
    required = [n for n in known if parameters[n].default is inspect.Parameter.empty]
    if missing := [n for n in required if n not in table.columns]:
        raise ValueError(
            f"{name} needs {', '.join(missing)}: add {missing[0]} to the space, for example jl.log(1e-4, 1, 16)."
        )


@remembered(maxsize=256)
def check_traceable(structure: Structure, name: str) -> None:
    """Trace one step of a trial without running it: raise where the task or the optimizer `name` cannot be trained."""
    _check_task(structure.task)
    try:
        traced_step(structure, name)
    except jax.errors.ConcretizationTypeError as error:
        raise TypeError(
            f"{name} branches in Python on one of {', '.join(structure.names)}, so it cannot be traced. "
            f"Give that one as jl.static([...]): it is then compiled for each value. ({str(error).splitlines()[0]})"
        ) from None


@remembered(maxsize=64)
def _check_task(task: Task) -> None:
    """Raise where its parameters, its loss or its metrics are not what can be trained by."""
    key, data = jax.random.key(0), task.data
    params = jax.eval_shape(task.init, key)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError(f"Task {task.name!r}: init(key) gave no parameters.")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"Task {task.name!r}: parameter {jax.tree_util.keystr(path) or 'w'} is {leaf.dtype}; parameters must "
                "be floating-point or complex. Keep integers in the data, or inside the loss."
            )
    batch = jax.eval_shape(lambda d: task.batch(d, key, jnp.int32(0)), data[0])
    functions = {"loss": (task.loss, batch)}
    for split, held_out in zip(("validation", "test"), data[1:], strict=True):
        if held_out is not None:
            functions |= {f"loss on {split} data": (task.loss, held_out)}
            functions |= {f"metric {m} on {split} data": (f, held_out) for m, f in task.metrics.items()}
    for what, (function, examples) in functions.items():
        value = jax.eval_shape(function, params, examples)
        if not hasattr(value, "shape") or value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            got = f"{value.dtype} of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__
            raise TypeError(
                f"Task {task.name!r}: the {what} must be one floating-point number, got {got}. "
                "Take the mean over the batch's examples, for example."
            )


def check_diverged_above(bound: float | str | None) -> float | str | None:
    """The bound as a number, "auto" or None; TypeError or ValueError where it is none of them."""
    if bound is None or (isinstance(bound, str) and bound == "auto"):
        return bound
    if isinstance(bound, str):
        raise ValueError(f'diverged_above must be a number, "auto" or None, got {bound!r}.')
    return check_number("diverged_above", bound)


def check_strategy(strategy: str) -> str:
    """The strategy, or ValueError."""
    check_known("strategy", strategy, STRATEGIES)
    return strategy


def check_memory(memory: int | float | None) -> int:
    """The memory budget in bytes: what was given, a share of what is free, or the default share of it."""
    if memory is None:
        return default_budget(devices())
    memory = check_number("memory", memory, least=0.0)
    budget = int(memory * free_bytes(devices())) if memory < 1 else int(memory)
    if budget < 2**20:
        raise ValueError(
            f"memory must be at least 1 MiB (2**20 bytes), or a share of what is free below 1, got {memory:g}."
        )
    return budget


def check_budget(plan: Plan) -> None:
    """Raise where what a sweep keeps for all of its trials does not fit into its memory budget."""
    results, held, budget = results_bytes(plan), held_bytes(plan), host_budget(plan)
    if results + held > budget:
        parts = [f"curves and statuses {results / 2**20:,.0f} MiB"]
        parts += [f"states between rungs {held / 2**20:,.0f} MiB"] if held else []
        raise ValueError(
            f"{plan.trials} trials do not fit into {budget / 2**20:,.0f} MiB of memory: {', '.join(parts)}. "
            "Record and evaluate less often, sweep in parts, or give more memory."
        )
