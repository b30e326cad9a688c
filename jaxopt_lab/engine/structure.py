"""What programs are compiled for, and what a step of a trial looks like, traced and not run."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_lab.caching import remembered
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.trial import Trial
from jaxopt_lab.types import OptimizerFactory


@dataclasses.dataclass(frozen=True)
class Structure:
    """All that a program is compiled for; trials of one structure differ in numbers only."""

    factory: OptimizerFactory
    static: tuple[tuple[str, type, Any], ...]  # with the types, for 1 and True are equal
    names: tuple[str, ...]  # traced hyperparameters
    task: Task

    def optimizer(self, values: Mapping[str, Any]) -> Any:
        """What the factory makes of the structural values and these numbers."""
        return self.factory(**{name: value for name, _, value in self.static}, **values)


class Traced(NamedTuple):
    """One step of one trial.

    Attributes:
        text: As JAX sees it: equal for steps of equal mathematics and shapes.
        params_bytes: The size of the parameters.
        largest_bytes: The size of the largest intermediate result.

    """

    text: str
    params_bytes: int
    largest_bytes: int


def traced_step(structure: Structure, name: str) -> Traced:
    """Trace a step of the optimizer `name`.

    Raises what the task or the optimizer raises, and TypeError where the latter is no optimizer.
    """
    return _traced_step(structure, name, str(jnp.result_type(float)))


@remembered(maxsize=256)
def _traced_step(structure: Structure, name: str, precision: str) -> Traced:
    task, key = structure.task, jax.random.key(0)
    params = jax.eval_shape(task.init, key)
    batch = jax.eval_shape(lambda d: task.batch(d, key, jnp.int32(0)), task.data[0])
    values = dict.fromkeys(structure.names, jax.ShapeDtypeStruct((), jnp.result_type(float)))

    def one_step(values, params, batch):
        optimizer = structure.optimizer(values)
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(f"{name} must return an (init, update) pair, got {type(optimizer).__name__}.")
        trial = Trial(optimizer, task)
        return trial.step(trial.start(params), jnp.int32(0), batch, jax.random.key(0))[0]

    traced = jax.make_jaxpr(one_step)(values, params, batch)
    results = [v.aval for equation in traced.jaxpr.eqns for v in equation.outvars]
    return Traced(str(traced), params_bytes(task), max((_bytes(x) for x in results), default=0))


@remembered(maxsize=256)
def params_bytes(task: Task) -> int:
    """Size of one trial's parameters."""
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return sum(_bytes(x) for x in jax.tree.leaves(shapes))


def _bytes(x: Any) -> int:
    return math.prod(x.shape) * x.dtype.itemsize if hasattr(x, "shape") else 0
