"""Conversion of a sweep's arguments: factories by name, a task, a space for each optimizer."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import optax

from jaxopt_lab.checking import check_known, nearest, quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.sweep.space import Space
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.task import Task, remake
from jaxopt_lab.types import OptimizerFactory

Optimizers = str | OptimizerFactory | Mapping[str, OptimizerFactory | str] | Iterable[OptimizerFactory | str]


def named_factories(optimizers: Optimizers) -> dict[str, OptimizerFactory]:
    """Return optimizer factories by name. Raises TypeError or ValueError for anything else."""
    if isinstance(optimizers, Mapping):
        named = dict(optimizers)
    elif isinstance(optimizers, str) or callable(optimizers):
        named = {_name(optimizers): optimizers}
    elif isinstance(optimizers, optax.GradientTransformation):
        raise ArgumentTypeError(
            "Got an optimizer instance. Pass the function that makes it: jl.adam, not jl.adam(1e-3)."
        )
    elif isinstance(optimizers, bytes | set | frozenset):
        raise ArgumentTypeError(f"optimizers must be ordered: pass a list or a dict, got {quoted(optimizers)}.")
    elif isinstance(optimizers, Iterable):
        listed = list(optimizers)
        named = {_name(o): o for o in listed}
        if len(named) < len(listed):
            raise ArgumentValueError(
                f"Two optimizers share a name: {[_name(o) for o in listed]}. Pass a dict of names."
            )
    else:
        raise ArgumentTypeError(
            f"optimizers must be a function, or a list or dict of functions, got {quoted(optimizers)}."
        )
    for name in named:
        if not isinstance(name, str) or not name:
            raise ArgumentTypeError(f"Optimizers are named by non-empty strings, got the name {quoted(name)}.")
    if not named:
        raise ArgumentValueError("No optimizer was given: pass one, for example jl.adam.")
    factories = {}
    for name, factory in named.items():
        if isinstance(factory, str):
            factory = addressed(factory)
        if not callable(factory):
            made = isinstance(factory, optax.GradientTransformation)
            hint = "Pass the function that makes it: jl.adam, not jl.adam(1e-3)." if made else "Pass a function."
            raise ArgumentTypeError(
                f"Optimizer {name!r} is not a function of hyperparameters but {type(factory).__name__}. {hint}"
            )
        factories[name] = factory
    return factories


def addressed(address: str) -> OptimizerFactory:
    """Return the factory for one of this package's names, "optax:NAME", or "package.module:function" (imported).

    Raises ValueError where there is none.
    """
    module, colon, name = address.partition(":")
    if not colon:
        try:
            check_known("optimizer", address, OPTIMIZERS)
        except ValueError as error:
            raise ArgumentValueError(f'{error} Write others as "optax:NAME" or "package.module:function".') from None
        return OPTIMIZERS[address]
    factory: Any = None
    try:
        for where in ("optax", "optax.contrib") if module == "optax" else (module,):
            factory = factory or getattr(importlib.import_module(where), name, None)
    except Exception as error:  # the module itself may raise anything
        said = f"{type(error).__name__}: {error}"
        raise ArgumentValueError(f"Optimizer {address!r}: {module!r} cannot be imported ({said}).") from error
    if not callable(factory):
        raise ArgumentValueError(f"Optimizer {address!r}: {module} has no function {name!r}.")
    return cast(OptimizerFactory, factory)


def _name(optimizer: Any) -> str:
    return optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)


def made_task(task: Task | str | Callable[..., Task]) -> Task:
    """Return the task, given as itself, by name or by a function. Raises TypeError or ValueError for anything else."""
    task = known_task(task)
    return task if isinstance(task, Task) else remake(task, {})


def known_task(task: Task | str | Callable[..., Task]) -> Task | Callable[..., Task]:
    """Return the task or the function that makes it, without making it. Raises as `made_task`."""
    if isinstance(task, str):
        check_known("task", task, TASKS)
        return TASKS[task]
    if not isinstance(task, Task) and not callable(task):
        raise ArgumentTypeError(
            f"task must be a jl.Task, a name in jl.TASKS or a function that makes a task, got {quoted(task)}."
        )
    return task


def spaces_by_optimizer(space: Any, factories: Mapping[str, OptimizerFactory]) -> dict[str, Space]:
    """Return the space of each optimizer."""
    by_optimizer = isinstance(space, Mapping) and any(isinstance(s, Mapping | Configurations) for s in space.values())
    if not by_optimizer:
        return dict.fromkeys(factories, space)
    for name, inner in space.items():
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"A space's keys are names of optimizers or of hyperparameters, got {quoted(name)}."
            )
        if isinstance(inner, Mapping | Configurations):
            if name not in factories:
                raise ArgumentValueError(
                    f"Unknown optimizer in the space: {name!r}. {nearest(name, factories)} Only an optimizer's space "
                    "is a dict, or jl.zipped, jl.random or jl.sobol; a hyperparameter's values are numbers, a list, a "
                    "range or jl.static([...])."
                )
        elif name in factories:
            raise ArgumentTypeError(
                f"The space of optimizer {name!r} must be a dict of hyperparameters, got {quoted(inner)}."
            )
        else:
            own = next(n for n, s in space.items() if isinstance(s, Mapping | Configurations))
            raise ArgumentValueError(
                f"The space has both the hyperparameter {name!r} and a space for {own!r}. Put the hyperparameter into "
                f"the space of each optimizer: {{{own!r}: {{{name!r}: ...}}}}."
            )
    if missing := [name for name in factories if name not in space]:
        raise ArgumentValueError(
            f"The space has no entry for {', '.join(missing)}. Give each optimizer one, or one space for all."
        )
    return {name: space[name] for name in factories}
