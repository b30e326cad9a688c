"""Checks of what a task's loss and metrics return, before JAX converts it to arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.errors import ArgumentTypeError
from jaxopt_lab.tasks import calls
from jaxopt_lab.tasks.names import check_curve_name
from jaxopt_lab.tasks.task import Task


def checked_loss(what: str, task: Task, key: Any) -> Callable[..., Any]:
    """Wrap the loss so that its result is checked before JAX converts it; without a key, as on held-out data."""

    def call(params, batch, state):
        result = calls.returned(task, params, batch, state, key, training=key is not None)
        form = "(loss, state) or (loss, state, aux)" if task.is_stateful else "the loss alone, or (loss, aux)"
        most, parts = (3 if task.is_stateful else 2), result if isinstance(result, tuple) else (result,)
        if task.is_stateful and len(parts) not in (2, 3):
            raise ArgumentTypeError(f"{what} names state, so it must return {form}, got {_form(result)}.")
        if len(parts) > most or (len(parts) == most and not isinstance(parts[-1], dict)):
            raise ArgumentTypeError(
                f"{what} must return one floating-point number, got {_form(result)}. Return {form}, where aux is a "
                "dict of scalars, each a training curve."
            )
        loss, kept, aux = calls.taken_apart(task, result)
        for name, further in aux.items():
            check_curve_name(what, name)
            _check_scalar(f"{what}: its further scalar {name!r}", further, integers=True)
        _check_scalar(what, loss)
        if task.is_stateful and key is not None:  # on held-out data it is ignored
            _check_kept(what, state, kept)
        return loss, dict(aux)

    return call


def checked_metric(what: str, task: Task, metric: str) -> Callable[..., Any]:
    """Wrap a metric so that its result is checked before JAX converts it to an array."""

    def call(params, batch, state):
        value = calls.measure(task, metric, params, batch, state)
        _check_scalar(what, value)
        return value

    return call


def _form(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list | dict) else type(value).__name__


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
        got = _form(value)
        if value is None:
            advice = "Its return statement is missing."
        elif isinstance(value, tuple | list | dict):
            advice = "Return the loss alone, or (loss, aux), where aux is a dict of scalars, each a training curve."
        else:
            advice = "Convert it, for example by jnp.asarray(x, float)."
    raise ArgumentTypeError(f"{what} must be one floating-point number, got {got}. {advice}")


def _check_kept(what: str, before: Any, after: Any) -> None:
    """Raise where a loss returns a state of another form than it got."""
    expected, got = jax.tree.structure(before), jax.tree.structure(after)
    advice = "Return the state in the form in which init makes it."
    if expected != got:
        raise ArgumentTypeError(f"{what} got the state {expected} and returned {got}. {advice}")
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        one, other = jax.typeof(old), jax.typeof(jnp.asarray(new))
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            where = jax.tree_util.keystr(path) or "the whole"
            raise ArgumentTypeError(
                f"{what} got a state whose {where} is {one.str_short()} and returned {other.str_short()}. {advice}"
            )
