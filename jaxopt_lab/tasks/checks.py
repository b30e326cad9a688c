"""Checks of a task's own functions: they are traced once per task on the host, before anything compiles."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks._examples import check_arrays, check_examples
from jaxopt_lab.tasks.task import SPLITS, Task, check_curve_name
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import callers_level, calling, refuse_leaks
from jaxopt_lab.types import Params, random_key

PARTITION = {
    "equinox": "params, static = eqx.partition(model, eqx.is_inexact_array) keeps the rest apart: init returns the "
    "first, and the loss calls eqx.combine(params, static).",
    "flax": "graph, params, rest = nnx.split(model, nnx.Param, ...) keeps the rest apart: init returns the params, and "
    "the loss calls nnx.merge(graph, params, rest).",
}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
LONG = {np.dtype(np.longdouble), np.dtype(np.clongdouble)} - {np.dtype(float), np.dtype(complex)}  # which JAX lacks
PLAIN = "Keep what is not trained out of init's result: in the loss, or in the data."


@remembered(maxsize=64)
def check_task(task: Task) -> None:
    """Check that the task's parameters, data, loss and metrics can be used for training.

    Warns of parameters for which the loss has no gradient.

    Raises:
        TypeError: A function takes other arguments, or its result is of the wrong type.
        ValueError: One of the user's functions raised an error, or its data are unusable.

    """
    named, key = f"Task {task.name!r}", random_key(0)
    held_out = [split for split in SPLITS[1:] if callable(getattr(task, split))]
    for split in (split for split in SPLITS if callable(getattr(task, split))):
        _check_arguments(f"{named}: {split}(key)", getattr(task, split), "key")
    with calling(f"{named}: {' or '.join(held_out)}"):
        data = task.data
    for split in held_out:
        check_examples(f"{named}: {split} data", data[SPLITS.index(split)])

    def init(key):
        _check_parameters(named, params := task.init(key))
        return params

    def first_batch(train):
        batch = task.batch(train, key, jnp.int32(0))
        if callable(task.train):
            check_arrays(f"{named}: what train(key) returns", batch, traced=True)
        return batch

    _check_arguments(f"{named}: init(key)", task.init, "key")
    params = _shapes(f"{named}: init", init, key)
    batch = _shapes(f"{named}: train", first_batch, data[0])
    functions = {"loss": (task.loss, batch)}
    for split, examples in zip(SPLITS[1:], data[1:], strict=True):
        if examples is not None:
            functions |= {f"loss on {split} data": (task.loss, examples)}
            functions |= {f"metric {m} on {split} data": (f, examples) for m, f in task.metrics.items()}
    for what, (function, examples) in functions.items():
        _check_arguments(f"{named}: the {what} (params, batch)", function, "params", "batch")
        checked = _checked(f"{named}: the {what}", function, with_aux=what.startswith("loss"))
        found = _shapes(f"{named}: the {what}", checked, params, examples)
        if what == "loss":  # else another trace would find the names
            vars(task)["aux"] = tuple(found[1]) if isinstance(found, tuple) else ()
    with calling(f"{named}: the gradient of the loss"):
        untrained = _without_gradient(task, params, batch)
    if untrained:
        warnings.warn(
            f"{named}: the loss has no gradient in {_listed(untrained)} of the parameters, so that training cannot "
            f"improve {'it' if len(untrained) == 1 else 'them'}. {_remedy(params)}",
            UserWarning,
            stacklevel=callers_level(),
        )


def check_gradient(task: Task) -> None:
    """Raise where JAX cannot differentiate the loss, although it can evaluate it."""
    key = random_key(0)
    params = jax.eval_shape(task.init, key)
    batch = jax.eval_shape(lambda train: task.batch(train, key, jnp.int32(0)), task.data[0])
    with calling(f"Task {task.name!r}: the gradient of the loss"):
        jax.eval_shape(jax.grad(task.loss_and_aux, has_aux=True), params, batch)


def _shapes(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Trace one of the user's functions and return its result's shapes; its errors are raised as about `what`."""
    with calling(what):
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    refuse_leaks(what, traced.consts)
    return shapes


def _check_arguments(what: str, function: Callable[..., Any], *names: str) -> None:
    """Raise TypeError where the function cannot be called with these positional arguments."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of a function written in C
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        required = [p for p in signature.parameters.values() if p.default is p.empty and p.kind not in VARIADIC]
        advice = "Let it take these, and ignore what it does not need."
        if len(required) > len(names):
            advice = "Further arguments are not supported yet: close over what it needs beyond these, or give defaults."
        raise ArgumentTypeError(
            f"{what} is called with {len(names)} by position, but takes {signature}: {error}. {advice}"
        ) from None


def _check_parameters(named: str, params: Params) -> None:
    """Raise where what `init` returned is not a tree of floating-point arrays, before JAX converts its leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=lambda x: isinstance(x, Iterator))
    if not leaves:
        raise ArgumentValueError(
            f"{named}: init(key) gave no parameters, got {params!r:.80}. Return a pytree of arrays."
        )
    for path, x in leaves:
        where = f"{named}: parameter {jax.tree_util.keystr(path) or 'w'}"
        if not isinstance(x, jax.Array | np.ndarray | np.generic):
            kind = f"the Python number {x!r:.40}" if isinstance(x, bool | int | float | complex) else _kind(x)
            trained = " Write jnp.asarray(x) to train it." if type(x) is float else ""
            raise ArgumentTypeError(
                f"{where} is {kind}; parameters must be floating-point arrays.{trained} {_remedy(params)}"
            )
        if not jnp.issubdtype(x.dtype, jnp.inexact) or x.dtype in LONG:
            raise ArgumentTypeError(
                f"{where} is {x.dtype}; parameters must be floating-point or complex. {_remedy(params)}"
            )


def _kind(x: Any) -> str:
    if isinstance(x, str | bytes):
        return f"the string {x!r:.40}"
    return f"the function {getattr(x, '__name__', type(x).__name__)}" if callable(x) else f"a {type(x).__name__}"


def _remedy(params: Params) -> str:
    """Say how to separate what is not trained, in terms of the framework that the parameters come from."""
    found = []

    def look(x: Any) -> bool:
        found.extend(c.__module__.partition(".")[0] for c in type(x).__mro__)
        return False

    jax.tree.leaves(params, is_leaf=look)
    return next((remedy for framework, remedy in PARTITION.items() if framework in found), PLAIN)


def _checked(what: str, function: Callable[..., Any], with_aux: bool) -> Callable[..., Any]:
    """Wrap the function so that its result is checked before JAX converts it to an array."""

    def call(params, batch):
        value = result = function(params, batch)
        if with_aux and isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
            value, aux = result
            for name, further in aux.items():
                check_curve_name(what, name)
                _check_scalar(f"{what}: its further scalar {name!r}", further, integers=True)
        _check_scalar(what, value)
        return result

    return call


def _check_scalar(what: str, value: Any, integers: bool = False) -> None:
    if type(value) is float or (integers and type(value) in (int, bool)):
        return
    advice = "Take the mean over the batch's examples, for example."
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if value.shape == () and jnp.issubdtype(value.dtype, jnp.floating):
            return
        if integers and value.shape == () and value.dtype.kind in "iub":
            return
        got = f"{value.dtype} of shape {value.shape}"
        if value.shape == ():
            advice = "Convert it, for example by jnp.asarray(x, float)."
        if jnp.issubdtype(value.dtype, jnp.complexfloating):
            advice = "Take its real part, or jnp.abs(x) ** 2."
    else:
        got = type(value).__name__
        if value is None:
            advice = "Its return statement is missing."
        elif isinstance(value, tuple | list | dict):
            got += f" of {len(value)}"
            advice = "Return the loss alone, or (loss, aux), where aux is a dict of scalars, each a training curve."
        else:
            advice = "Convert it, for example by jnp.asarray(x, float)."
    raise ArgumentTypeError(f"{what} must be one floating-point number, got {got}. {advice}")


def _without_gradient(task: Task, params: Params, batch: Any) -> list[str]:
    """Return the paths of the parameters whose tangents do not reach the loss."""

    def tangent(params, tangents, batch):
        return jax.jvp(lambda p: jnp.asarray(task.loss_and_aux(p, batch)[0]), (params,), (tangents,))[1]

    traced = jax.make_jaxpr(tangent)(params, params, batch).jaxpr
    used = partial_eval.dce_jaxpr(traced, [True])[1]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    reaches = used[len(leaves) : 2 * len(leaves)]
    return [
        jax.tree_util.keystr(path) or "w"
        for (path, x), reached in zip(leaves, reaches, strict=True)
        if x.size and not reached
    ]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
