"""A sweep's diagnostics: their checks on the host, before anything compiles, and their strides."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count, check_known, quoted
from jaxopt_lab.diagnostics import LEARNING_RATE, NAMES, PRECONDITIONED, SPARSE, Diagnostic, Own
from jaxopt_lab.engine.plan import Group, Plan
from jaxopt_lab.engine.structure import Structure, step_shapes
from jaxopt_lab.errors import ArgumentError, ArgumentTypeError, ArgumentValueError, concerning
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results.results import RESERVED
from jaxopt_lab.sweep.budget import MOST, Timeline
from jaxopt_lab.tasks.calls import aux, shapes, trained_on
from jaxopt_lab.tasks.measures import measured
from jaxopt_lab.tasks.names import IN_FORCE, check_name
from jaxopt_lab.tasks.seeding import Keys
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.calling import explained, is_ours, refuse_leaks
from jaxopt_lab.types import random_key

SPARSE_POINTS = 20  # how often SPARSE diagnostics are measured by default, at most
FORMS = "a list of names, or a dict from name to a stride, to a function of your own, or to (function, stride)"


class Asked(NamedTuple):
    """A diagnostic as a sweep's argument has it: its stride is in steps of the largest batch, or None by default."""

    name: str
    stride: int | None = None
    own: Own | None = None


def check_diagnostics(name: str, value: Any) -> tuple[Asked, ...]:
    """Check that `value` has one of the FORMS, or is None, and return it as one of them."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
        raise ArgumentTypeError(f"{name} must be {FORMS}, got {quoted(value)}.")
    if not isinstance(value, Mapping):
        if wrong := [x for x in value if not isinstance(x, str | Asked)]:
            raise ArgumentTypeError(
                f"{name} must be {FORMS}, got {quoted(wrong[0])} in a list.",
                advice="Give a function of your own a name: {'NAME': function}.",
            )
        value = {x if isinstance(x, str) else x.name: None if isinstance(x, str) else (x.own, x.stride) for x in value}
    return tuple(_asked(key, x) for key, x in value.items())


def _asked(name: Any, value: Any) -> Asked:
    if not isinstance(name, str):
        raise ArgumentTypeError(f"The name of a diagnostic must be a string, got {quoted(name)}.")
    with concerning(name):
        own, stride = value if isinstance(value, tuple | list) and len(value) == 2 else (None, value)
        own, stride = (stride, None) if callable(stride) else (own, stride)
        if own is None:
            check_known("diagnostic:", name, NAMES)
        elif not callable(own):
            raise ArgumentTypeError(f"Diagnostic {name!r} must be a function, got {quoted(own)}.")
        elif name in NAMES:
            raise ArgumentValueError(f"{name!r} is a diagnostic of this package: give yours another name.")
        else:
            check_name("A diagnostic", name)
            if name.startswith(("validation_", "test_")) or name.endswith(IN_FORCE):
                raise ArgumentValueError(f"A diagnostic cannot be called {name!r}: results use that name. Rename it.")
        if stride is not None:
            stride = check_count(f"The stride of {name!r}, in steps,", stride)
            if name == LEARNING_RATE:
                raise ArgumentValueError(
                    "The learning rate is recorded with the training loss, every `record` steps: give it no stride."
                )
        return Asked(name, stride, own)


def placed(asked: Any, budget: Timeline, record: np.ndarray) -> tuple[Diagnostic, ...]:
    """Return what `check_diagnostics` returned, by name, with strides in units.

    By default they are measured at the points of curves, `record`, those that evaluate further gradients at few.
    """
    step = max(budget.per_step)
    every = math.ceil(int(record[1]) / step)
    rarely = every * math.ceil((len(record) - 1) / SPARSE_POINTS)
    strides = {x.name: x.stride or (rarely if x.name in SPARSE else every) for x in asked}
    own = {x.name: x.own for x in asked}
    return tuple(Diagnostic(name, min(step * strides[name], MOST), own=own[name]) for name in sorted(strides))


def check_measured(plan: Plan) -> None:
    """Raise where a diagnostic cannot be measured in some group's steps, or its curve's name is taken."""
    if not plan.diagnostics:
        return
    taken = RESERVED | {name for table in plan.tables.values() for name in table.columns}
    for group in plan.groups:
        task = group.structure.task
        known = taken | {*measured(task), *aux(task)}
        for one in plan.diagnostics_of(group):
            with concerning("diagnostics", one.name):
                if wrong := [name for name in one.curves(shapes(task).params) if name in known]:
                    raise ArgumentValueError(
                        f"Diagnostic {one.name!r}: results already use the name {wrong[0]!r}. Rename the other."
                    )
                for name in one.curves(shapes(task).params):
                    check_name(f"Diagnostic {one.name!r}: the curve of a group of parameters", name)
                if one.name == "noise_scale":
                    _check_examples(task)
                if one.name == PRECONDITIONED:
                    _check_preconditioner(group)
                if one.name != LEARNING_RATE:
                    _check_traceable(one, group.structure)
    _check_learning_rate(plan)


def _check_learning_rate(plan: Plan) -> None:
    asked = any(one.name == LEARNING_RATE for one in plan.diagnostics)
    if asked and not any(f"{LEARNING_RATE}{IN_FORCE}" in plan.curves(group) for group in plan.groups):
        raise ArgumentValueError(
            "No optimizer of this sweep has a learning rate in its space, so there is none to record. Add "
            "learning_rate to the space, or leave it out of diagnostics.",
            about=("diagnostics", LEARNING_RATE),
        )


def _check_preconditioner(group: Group) -> None:
    """Raise where it is not known what divides an optimizer's step."""
    if getattr(group.structure.factory, "preconditioner", None) is None:
        known = [name for name, factory in OPTIMIZERS.items() if getattr(factory, "preconditioner", None) is not None]
        raise ArgumentValueError(
            f"The preconditioned sharpness needs to know what divides the step of {group.optimizer!r}, and that is "
            f"known of {', '.join(known)}, also within jl.scheduled. Sweep these apart, leave it out, or write a "
            "diagnostic of your own with jaxopt_lab.diagnostics.sharpness(gradient, params, preconditioner)."
        )


def _check_examples(task: Task) -> None:
    """Raise where a step's batch has no examples of which a part gives a noisier gradient."""
    what = f"Task {task.name!r}: the gradient noise scale needs batches of examples, drawn anew for each step"
    if task.train is None or (task.batch_size is None and task.feed is None and not callable(task.train)):
        has = "has no training data" if task.train is None else "takes all of its training data in every step"
        raise ArgumentValueError(f"{what}, and this task {has}. Leave noise_scale out, or give the task a batch_size.")
    counts = {x.shape[0] if x.shape else 0 for x in jax.tree.leaves(shapes(task).batch)}
    if len(counts) != 1 or min(counts) < 2:
        sizes = ", ".join(map(str, sorted(counts)))
        raise ArgumentValueError(
            f"{what}: at least two, along the first axis of all arrays of a batch, which have {sizes} there."
        )
    if (
        callable(task.train)
        and task.feed is None
        and _is_repeated(task.batch(trained_on(task), random_key(0), jnp.int32(0)))
    ):
        raise ArgumentValueError(
            f"{what}, and the rows of its batches are all the same: they hold a mean over examples. Leave it out."
        )


def _is_repeated(batch: Any) -> bool:
    return all(bool((np.asarray(x) == np.asarray(x)[:1]).all()) for x in jax.tree.leaves(batch))


def _check_traceable(one: Diagnostic, structure: Structure) -> None:
    """Trace one measurement, without running it."""
    task, (params, batch, model) = structure.task, shapes(structure.task)
    what = f"Diagnostic {one.name!r}"
    if one.own is not None:
        own: Callable[..., Any] = one.own
        seen = step_shapes(structure)[:5]
        try:
            traced = jax.make_jaxpr(lambda *given: _checked_scalar(what, own(*given)))(*seen)
        except Exception as error:
            raise error if is_ours(error) else explained(what, error) from error
        refuse_leaks(what, traced.consts)
    values = dict.fromkeys(structure.names, jax.ShapeDtypeStruct((), jnp.result_type(float)))
    keys = Keys(random_key(0), random_key(0) if task.is_random else None)

    def one_step(values, params, batch, model, keys):
        trial = structure.trial(values, diagnostics=(one,))
        return trial.step(trial.start(params, model, values), jnp.int32(0), batch, keys)[0]

    try:
        jax.eval_shape(one_step, values, params, batch, model, keys)
    except ArgumentError:
        raise
    except Exception as error:
        raise ArgumentValueError(
            f"{what} cannot be measured on task {task.name!r}: {str(error).strip().partition(chr(10))[0][:300]}",
            advice=_ADVICE.get(one.name, "Correct it, or leave it out."),
        ) from error


_FORWARD = "It differentiates the gradient in forward mode, which jax.custom_vjp does not allow. Leave it out."
_ADVICE = {
    "sharpness": _FORWARD,
    PRECONDITIONED: _FORWARD,
    "noise_scale": "It takes the gradient of the loss of half a batch, so the loss must take any number of them.",
}


def _checked_scalar(what: str, value: Any) -> Any:
    """Return a diagnostic's value; raise where it is not one real number."""
    if isinstance(value, bool | int | float):
        return value
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise ArgumentTypeError(f"{what} must return one number, got {quoted(type(value).__name__)}.")
    if value.shape != () or (value.dtype.kind not in "iub" and not jnp.issubdtype(value.dtype, jnp.floating)):
        raise ArgumentTypeError(
            f"{what} must return one real number, got {value.dtype} of shape {value.shape}. Sum or average it, or take "
            "its norm."
        )
    return value
