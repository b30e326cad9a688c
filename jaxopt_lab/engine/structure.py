"""Structures: what programs are compiled for, and the traced step of a trial."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.diagnostics import Diagnostic, Step, curves
from jaxopt_lab.rewrite.convolutions import PATCHES
from jaxopt_lab.tasks.calls import aux, shapes
from jaxopt_lab.tasks.names import IN_FORCE, LOSS_CURVE, TASK_PREFIX
from jaxopt_lab.tasks.rewriting import rules_of, valued
from jaxopt_lab.tasks.seeding import Keys
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import exact, remembered
from jaxopt_lab.tracing.calling import refuse_leaks
from jaxopt_lab.tracing.fingerprint import Fingerprint, fingerprint, uses
from jaxopt_lab.trial import NEVER, Stop, Trial
from jaxopt_lab.types import OptimizerFactory, Params, Schedule, random_key
from jaxopt_lab.updating import checked

BUDGET = "steps"  # what a factory names after a bare * to be given the trial's budget


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """Everything that a program is compiled for; trials of one structure differ only in numbers.

    Two structures are equal where their `exact` keys are: a structural value of 1 is not True, and 0.0 is not -0.0.
    """

    factory: OptimizerFactory
    static: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]  # traced hyperparameters, of the optimizer and of the task
    task: Task
    budget: int | None = None  # the factory's `steps`; None where it takes none, or the space gives it
    rewrite: bool = False  # whether the task's functions are rewritten: see `jaxopt_lab.rewrite`

    @functools.cached_property
    def _key(self) -> Any:
        return exact((self.factory, self.static, self.names, self.task, self.budget, self.rewrite))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def optimizer(self, values: Mapping[str, Any]) -> Any:
        """Make the optimizer from the budget, the structural values and those of these numbers that are its own."""
        return self.factory(**self.hyperparameters(values))

    def hyperparameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the factory's arguments for these numbers, of which some may be the task's."""
        own = {name: x for name, x in values.items() if not name.startswith(TASK_PREFIX)}
        return {**({} if self.budget is None else {BUDGET: self.budget}), **dict(self.static), **own}

    @property
    def in_force(self) -> dict[str, Callable[[Mapping[str, Any]], Schedule]]:
        """For each hyperparameter that follows a schedule, a function from the numeric ones to its schedule.

        The learning rate may be given as a schedule; a factory such as `jl.scheduled` makes says which it schedules.
        """
        given = {name: value for name, value in self.static if name == "learning_rate" and callable(value)}
        made: Mapping[str, Callable[..., Schedule]] = getattr(self.factory, "in_force", {})
        return {
            **{name: lambda _, schedule=schedule: schedule for name, schedule in given.items()},
            **{name: lambda values, make=make: make(**self.hyperparameters(values)) for name, make in made.items()},
        }

    def trial(
        self,
        values: Mapping[str, Any],
        stop: Stop = NEVER,
        changes: Collection[str] = (),
        diagnostics: tuple[Diagnostic, ...] = (),
    ) -> Trial:
        """Make one trial with these numbers; those named in `changes` have a curve, since they may change."""
        changing = {name: lambda _, name=name: values[name] for name in self.names if name in changes}
        scheduled = {name: schedule(values) for name, schedule in self.in_force.items()}
        preconditioner = self.preconditioner(values) if diagnostics else None
        task = self.valued(values)
        return Trial(self.optimizer(values), task, stop, changing | scheduled, diagnostics, preconditioner)

    def valued(self, values: Mapping[str, Any]) -> Task:
        """Return the task with those of these numbers that are its own."""
        return valued(self.task, values, self.rewrite)

    def preconditioner(self, values: Mapping[str, Any]) -> Callable[[Any], Params] | None:
        """Return the function of the optimizer's state that gives the diagonal which divides its step, if known."""
        found = getattr(self.factory, "preconditioner", None)
        if found is None:
            return None
        parameters = inspect.signature(self.factory).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        return functools.partial(found, **defaults | self.hyperparameters(values))

    def curves(self, changes: Collection[str] = (), diagnostics: tuple[Diagnostic, ...] = ()) -> tuple[str, ...]:
        """Return the names of a trial's curves."""
        in_force = dict.fromkeys([*self.in_force, *(name for name in self.names if name in changes)])
        measured = curves(diagnostics, shapes(self.task).params) if diagnostics else ()
        return LOSS_CURVE, *aux(self.task), *measured, *(f"{name}{IN_FORCE}" for name in in_force)


@dataclasses.dataclass(frozen=True)
class Traced:
    """One step of one trial.

    Attributes:
        fingerprint: The fingerprint of its mathematics, shapes and closed-over values.
        params_bytes: The size of the parameters and of the loss's state.
        largest_bytes: The size of the largest intermediate result.
        uses_key: Whether it depends on the optimizer's random key.

    """

    fingerprint: Fingerprint
    params_bytes: int
    largest_bytes: int
    uses_key: bool

    @property
    def convolves(self) -> bool:
        """Whether it has a convolution."""
        return "conv_general_dilated" in self.fingerprint.primitives


@remembered(maxsize=256)
def traced_step(structure: Structure, name: str) -> Traced:
    """Trace a step of the optimizer `name`.

    Raises what the task or the optimizer raises, and TypeError where the latter is not an optimizer.
    """
    task, (params, batch, model) = structure.task, shapes(structure.task)
    values = dict.fromkeys(structure.names, jax.ShapeDtypeStruct((), jnp.result_type(float)))
    keys = Keys(random_key(0), random_key(0) if task.is_random else None)

    def one_step(values, params, batch, model, keys):
        trial = Trial(checked(name, structure.optimizer(values)), structure.valued(values))
        return trial.step(trial.start(params, model), jnp.int32(0), batch, keys)[0]

    traced = jax.make_jaxpr(one_step)(values, params, batch, model, keys)
    refuse_leaks(f"Optimizer {name!r}", traced.consts)
    key = len(traced.jaxpr.invars) - len(jax.tree.leaves(keys))
    return Traced(fingerprint(traced), params_bytes(task), _largest_bytes(traced.jaxpr), uses(traced, key))


def with_convolutions(structure: Structure, name: str) -> Traced:
    """Return the traced step, in which convolutions are convolutions also where they are rewritten to products."""
    patched = structure.rewrite and PATCHES.name in rules_of(structure.task)
    return traced_step(dataclasses.replace(structure, rewrite=structure.rewrite and not patched), name)


def step_shapes(structure: Structure) -> Step:
    """Return the shapes and types of what a diagnostic sees of a step; its gradient is None."""
    params, batch, _ = shapes(structure.task)
    values = dict.fromkeys(structure.names, jax.ShapeDtypeStruct((), jnp.result_type(float)))
    state = jax.eval_shape(lambda values, params: structure.optimizer(values).init(params), values, params)
    return Step(params, params, params, state, batch, lambda *_: None)


def _largest_bytes(jaxpr: Any) -> int:
    """Return the size of the largest result of its equations, including those of inner functions."""
    own = (_bytes(v.aval) for equation in jaxpr.eqns for v in equation.outvars)
    is_inner = lambda x: hasattr(x, "eqns")
    parameters = jax.tree.leaves([list(equation.params.values()) for equation in jaxpr.eqns], is_leaf=is_inner)
    return max((*own, *(_largest_bytes(x) for x in parameters if is_inner(x))), default=0)


def params_bytes(task: Task) -> int:
    """Return the size of one trial's parameters, and of the loss's state, which is kept with them."""
    return sum(_bytes(x) for x in jax.tree.leaves((shapes(task).params, shapes(task).state)))


def _bytes(x: Any) -> int:
    return math.prod(x.shape) * x.dtype.itemsize if hasattr(x, "shape") else 0
