"""Tasks whose functions take a library's model instead of parameters, a state, a key and a mode."""

import copy
import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError
from jaxopt_lab.tasks.asked import NAMES, asked, is_numeric
from jaxopt_lab.tasks.calls import at, evaluate, shapes
from jaxopt_lab.tasks.direction import Metric
from jaxopt_lab.tasks.names import TASK_PREFIX
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.fingerprint import trace, uses
from jaxopt_lab.types import Key, Params, random_key

OWN = 2**32 - 1  # distinguishes the key that a loss names from those of a model's own random numbers


@dataclasses.dataclass(frozen=True)
class Models:
    """How a library's models are made and used.

    `given` are values of what `make` names after a bare `*`; `named` are those that a user's function names.

    Attributes:
        make: `(...) -> model`, the user's function that makes one; it gets one argument by position.
        start: `(key, given) -> (params, state)`; a model without a state has an empty tree for it.
        build: `(params, state, key, training, given) -> model`.
        loss: `(model, batch, key, state, named) -> (loss, state)` or `(loss, state, aux)`: the user's loss. The state
            that it gets is the one that the model was built of.
        call: `(function, model, argument, named) -> value`: a metric or a prediction.
        first: How many arguments the user's loss gets by position.
        others: How many arguments a metric or `predict` gets by position.
        is_stateful: Whether models have a state.

    """

    make: Callable[..., Any]
    start: Callable[..., tuple[Params, Any]]
    build: Callable[..., Any]
    loss: Callable[..., tuple[Any, ...]]
    call: Callable[..., Any]
    first: int
    others: int
    is_stateful: bool


def library(module: str, caller: str, extra: str) -> Any:
    """Import another library. Raises ImportError, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"jl.{caller} needs {extra.capitalize()}: python -m pip install 'jaxopt_lab[{extra}]'."
        ) from error


def modelled_task(
    name: str,
    models: Models,
    loss: Callable[..., Any],
    metrics: Mapping[str, Callable[..., Any]] | None,
    predict: Callable[..., Any],
    **options: Any,
) -> Task:
    """Make a task; its loss names `key` and `state` only where the model or the user's loss needs them.

    Args:
        name: The task's name.
        models: How its models are made and used.
        loss: The user's loss, which `models.loss` calls.
        metrics: The user's metrics.
        predict: The user's or the library's prediction.
        **options: Further arguments of `Task`.

    """
    if not callable(loss):
        raise ArgumentTypeError(f"Task {name!r}: loss must be a function, got {quoted(loss)}.")
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ArgumentTypeError(f"Task {name!r}: metrics must be a dict of functions, got {quoted(metrics)}.")
    others = asked(loss, models.first)
    if "state" in others:
        raise ArgumentTypeError(f"Task {name!r}: the loss names state, but the model has it. Leave it out.")
    functions = {
        "init": _init(models),
        "metrics": {metric: _measure(models, function) for metric, function in (metrics or {}).items()},
        "predict": _reading(models, predict, "inputs"),
        "rebuild": _rebuild(models),
    }
    task = Task(name, loss=_loss(models, others, with_key=True), **functions, **options)
    if not _uses_key(task):
        object.__setattr__(task, "loss", _loss(models, others, with_key=False))
    return task


def structural(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return those of the values that are not numbers of a program, which are arrays, mostly traced ones."""
    return tuple((name, x) for name, x in given.items() if not isinstance(x, jax.Array | np.ndarray | np.generic))


def with_own_key(named: Mapping[str, Any], key: Key | None) -> dict[str, Any]:
    """Replace the key of a loss that names one by another than those of the model's own random numbers."""
    own = key if key is None else jax.random.fold_in(key, OWN)
    return {name: own if name == "key" else x for name, x in named.items()}


def parts(result: Any) -> tuple[Any, ...]:
    """Return what a loss returned as a tuple."""
    return result if isinstance(result, tuple) else (result,)


def _init(models: Models) -> Callable[..., Any]:
    names = asked(models.make, 1)

    def init(key, **given):
        params, state = models.start(key, given)
        return (params, _as_wide(state, params)) if models.is_stateful else params

    return _with_names(init, ("key",), names)


def _as_wide(state: Any, params: Params) -> Any:
    """Return the state in types no narrower than the parameters'.

    Flax begins batch statistics in float32; beside float64 parameters they are float64 from the first step on.
    """
    own = [jnp.finfo(x.dtype).dtype for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.inexact)]
    wide = lambda x: x.astype(jnp.result_type(x.dtype, *own)) if jnp.issubdtype(x.dtype, jnp.floating) else x
    return jax.tree.map(wide, state)


def _loss(models: Models, names: Mapping[str, Any], with_key: bool) -> Callable[..., Any]:
    provided = {"training": False}
    provided |= {"state": None} if models.is_stateful else {}
    provided |= {"key": None} if with_key else {}

    def loss(params, batch, key=None, state=None, training=False, **named):
        model = models.build(params, state, key, training, _given(models, named))
        own = {name: x for name, x in {**named, "key": key, "training": training}.items() if name in names}
        value, state, *aux = models.loss(model, batch, key, state, own)
        return (value, state, *aux) if models.is_stateful else (value, *aux) if aux else value

    own = {name: default for name, default in names.items() if name not in NAMES}
    return _with_names(loss, ("params", "batch"), {**provided, **asked(models.make, 1), **own})


def _measure(models: Models, metric: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(metric, Metric):
        return dataclasses.replace(metric, function=_reading(models, metric.function, "batch"))
    return _reading(models, metric, "batch") if callable(metric) else metric


def _reading(models: Models, function: Callable[..., Any], argument: str) -> Callable[..., Any]:
    """Wrap a metric or `predict`, which reads the model in evaluation mode."""
    names = asked(function, models.others)

    def read(params, argument, state=None, **named):
        model = models.build(params, state, None, False, _given(models, named))
        return models.call(function, model, argument, {name: x for name, x in named.items() if name in names})

    provided = {"state": None} if models.is_stateful else {}
    return _with_names(read, ("params", argument), {**provided, **asked(models.make, 1), **names})


def _rebuild(models: Models) -> Callable[..., Any]:
    def rebuild(params, *, state=None, **given):
        params, state = jax.tree.map(jnp.asarray, (params, state))
        return models.build(params, state, None, False, given)

    return _with_names(rebuild, ("params",), {"state": None, **asked(models.make, 1)})


def _given(models: Models, named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: named[name] for name in asked(models.make, 1) if name in named}


def _with_names(function: Callable[..., Any], first: Iterable[str], names: Mapping[str, Any]) -> Callable[..., Any]:
    """Let the function show these names and defaults after a bare `*`, so that a sweep hands them over."""
    parameter = inspect.Parameter
    shown = [parameter(name, parameter.POSITIONAL_OR_KEYWORD) for name in first]
    shown += [parameter(name, parameter.KEYWORD_ONLY, default=default) for name, default in names.items()]
    vars(function)["__signature__"] = inspect.Signature(shown)
    return function


def _uses_key(task: Task) -> bool:
    """Return whether the loss may depend on its key: a trace on the first batch shows it.

    A structural hyperparameter may decide it, so such a loss always gets one.
    """
    task = copy.copy(task)
    vars(task).update(validation=None, test=None)  # which a function may have to make first
    own = task.hyperparameters
    if not all(map(is_numeric, own.values())):
        return True
    numbers = {f"{TASK_PREFIX}{name}": jax.ShapeDtypeStruct((), jnp.result_type(float)) for name in own}

    def once(key, numbers, params, batch, state):
        return tuple(evaluate(at(task, numbers), params, batch, state, key))

    try:
        return uses(trace(once, random_key(0), numbers, *shapes(task)), 0)
    except Exception:  # the task's checks report what is wrong with the loss
        return True
