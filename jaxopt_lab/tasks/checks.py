"""Checks of a task's own functions: they are traced once per task on the host, before anything compiles."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks._examples import check_arrays, check_examples
from jaxopt_lab.tasks.asked import FIRST, MISTAKEN, NAMES, PROVIDED, asked
from jaxopt_lab.tasks.calls import evaluate, shapes, start, trained_on
from jaxopt_lab.tasks.checks_returned import checked_loss, checked_metric
from jaxopt_lab.tasks.names import SPLITS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import callers_level, calling, refuse_leaks
from jaxopt_lab.types import Params, random_key

PARTITION = {
    "equinox": "params, static = eqx.partition(model, eqx.is_inexact_array) keeps the rest apart: init returns the "
    "first, and the loss calls eqx.combine(params, static).",
    "flax": "graph, params, rest = nnx.split(model, nnx.Param, ...) keeps the rest apart: init returns the params, and "
    "the loss calls nnx.merge(graph, params, rest).",
}
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
        _check_arguments(f"{named}: {split}(key)", task, "train", getattr(task, split))
    with calling(f"{named}: {' or '.join(held_out)}"):
        data = task.data
    for split in held_out:
        check_examples(f"{named}: {split} data", data[SPLITS.index(split)])

    def init(key):
        made = start(task, key) if not task.is_stateful else _pair(named, task, key)
        _check_parameters(named, made[0])
        _check_state(named, made[1])
        return made

    def first_batch(train):
        batch = task.batch(train, key, jnp.int32(0))
        if callable(task.train):
            check_arrays(f"{named}: what train(key) returns", batch, traced=True)
        return batch

    _check_arguments(f"{named}: init(key)", task, "init", task.init)
    _check_arguments(f"{named}: the loss (params, batch)", task, "loss", task.loss)
    if task.augment is not None:
        _check_arguments(f"{named}: augment(key, batch)", task, "augment", task.augment)
    for metric, function in task.metrics.items():
        _check_arguments(f"{named}: the metric {metric} (params, batch)", task, "metric", function)
    params, state = _shapes(f"{named}: init", init, key)
    batch = _shapes(f"{named}: train" if task.augment is None else f"{named}: augment", first_batch, trained_on(task))
    what, hint = f"{named}: the loss", ()
    if isinstance(params, tuple) and len(params) == 2 and not task.is_stateful:
        hint = ("init returned a pair, which is (params, state) only where the loss names state after a bare *.",)
    found = _shapes(what, checked_loss(what, task, key), params, batch, state, hint=hint)
    vars(task)["aux"] = tuple(found[1])  # else another trace would find the names
    for split, examples in zip(SPLITS[1:], data[1:], strict=True):
        if examples is not None:
            what = f"{named}: the loss on {split} data"
            hint = ("On held-out data key is None: where training is False, draw nothing.",) if task.is_random else ()
            _shapes(what, checked_loss(what, task, None), params, examples, state, hint=hint)
            for metric in task.metrics:
                what = f"{named}: the metric {metric} on {split} data"
                _shapes(what, checked_metric(what, task, metric), params, examples, state)
    with calling(f"{named}: the gradient of the loss"):
        untrained = _without_gradient(task, params, batch, state)
    if untrained:
        warnings.warn(
            f"{named}: the loss has no gradient in {_listed(untrained)} of the parameters, so that training cannot "
            f"improve {'it' if len(untrained) == 1 else 'them'}. {_remedy(params)}",
            UserWarning,
            stacklevel=callers_level(),
        )


def check_gradient(task: Task) -> None:
    """Raise where JAX cannot differentiate the loss, although it can evaluate it."""
    params, batch, state = shapes(task)
    loss = lambda params, batch, state: evaluate(task, params, batch, state, random_key(0)).loss
    with calling(f"Task {task.name!r}: the gradient of the loss"):
        jax.eval_shape(jax.grad(loss), params, batch, state)


def _shapes(what: str, function: Callable[..., Any], *arguments: Any, hint: Sequence[str] = ()) -> Any:
    """Trace one of the user's functions and return its result's shapes; its errors are raised as about `what`."""
    with calling(what, hint):
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    refuse_leaks(what, traced.consts)
    return shapes


def _check_arguments(what: str, task: Task, kind: str, function: Callable[..., Any]) -> None:
    """Raise TypeError where a function cannot be called with its positional arguments and what it names."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of a function written in C
        return
    count, names = FIRST[kind], asked(function, FIRST[kind])
    provided = {name for name in names if name in PROVIDED[kind] or name in task.given}
    if wrong := [name for name in names if name in NAMES - PROVIDED[kind].keys() and name not in provided]:
        raise ArgumentTypeError(
            f"{what} names {wrong[0]}, which only {_which(wrong[0])} may name. Leave it out, or rename it."
        )
    if kind == "loss" and (wrong := [name for name in names if name in MISTAKEN and name not in task.given]):
        raise ArgumentTypeError(
            f"{what} names {wrong[0]}, which nothing sets. Did you mean {MISTAKEN[wrong[0]]}? The loss gets "
            f"{', '.join(PROVIDED['loss'])} under these names; call it otherwise if it is a hyperparameter."
        )
    if "state" in provided and not task.is_stateful:
        raise ArgumentTypeError(
            f"{what} names state, but the loss of this task has none. Let the loss name state after a bare * too."
        )
    missing = [name for name in names if name not in provided and names[name] is inspect.Parameter.empty]
    if missing and kind not in ("train", "augment"):
        name, known = missing[0], ", ".join(PROVIDED[kind])
        raise ArgumentTypeError(
            f"{what} takes {signature}, but nothing gives it {name}: let it have a default, as in *, {name}=0.0, which "
            f"holds where a space does not give it{' and on held-out data' if kind == 'loss' else ''}."
            f"{f' A sweep hands over {known}.' if known else ''}"
        )
    try:
        signature.bind(*range(count), **dict.fromkeys(provided))
    except TypeError as error:
        raise ArgumentTypeError(
            f"{what} is called with {count} by position, but takes {signature}: {error}. Let it take these alone, and "
            "ignore what it does not need."
        ) from None


def _which(name: str) -> str:
    return " or ".join({"init": "init", "loss": "the loss"}.get(k, k) for k, names in PROVIDED.items() if name in names)


def _pair(named: str, task: Task, key: Any) -> tuple[Any, Any]:
    """Return what `init` makes for a loss with a state. Raises TypeError where it is not (params, state)."""
    made = start(task, key)
    if not isinstance(made, tuple) or len(made) != 2:
        raise ArgumentTypeError(
            f"{named}: the loss names state, so init must return (params, state), got {quoted(made, 80)}. Return both."
        )
    return made


def _check_state(named: str, state: Any) -> None:
    """Raise where the loss's state is not a tree of arrays."""
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        if not hasattr(x, "dtype") and not isinstance(x, bool | int | float | complex):
            where = jax.tree_util.keystr(path) or "it"
            raise ArgumentTypeError(
                f"{named}: the state that init returns must be a tree of arrays, but {where} is {_kind(x)}. Keep it "
                "out of the state."
            )


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


def _without_gradient(task: Task, params: Params, batch: Any, state: Any) -> list[str]:
    """Return the paths of the parameters whose tangents do not reach the loss."""

    def tangent(params, tangents, batch, state):
        loss = lambda params: jnp.asarray(evaluate(task, params, batch, state, random_key(0)).loss)
        return jax.jvp(loss, (params,), (tangents,))[1]

    traced = jax.make_jaxpr(tangent)(params, params, batch, state).jaxpr
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
