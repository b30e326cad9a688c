"""A trial's use of an optimizer: its update, with the arguments that it needs, and the answer in its state."""

import functools
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.checking import quoted
from jaxopt_lab.optimizers import filled
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import Params

OWN_LOOP = "Train it in your own loop"
PER_EXAMPLE = f"it needs the gradient of every example, and a sweep has only the gradient of their mean. {OWN_LOOP}"
OPAQUE = (
    "optax.contrib.sam(opaque_mode=True) needs grad_fn, a function for further gradients in a step. "
    "Use jl.sam, which needs only value_fn, or opaque_mode=False"
)
REFUSED = {
    ("optax._src.lookahead", ""): (
        "optax.lookahead trains optax.LookaheadParams, not the task's parameters. "
        "Use jl.lookahead, whose state holds the slow weights, or train it in your own loop"
    ),
    ("optax.contrib._sam", "grad_fn"): OPAQUE,
    ("", "opaque_update_fn"): OPAQUE,
    ("optax.contrib._privacy", ""): f"optax.contrib.differentially_private_aggregate: {PER_EXAMPLE}",
    ("optax.experimental._aggregating", ""): f"optax.experimental.aggregating: {PER_EXAMPLE}",
    ("", "_per_element_"): f"optax.experimental.aggregating: {PER_EXAMPLE}",
    ("optax._src.linesearch", "MaskedNode"): (
        "within optax.partition, Optax's line searches get the gradient of all parameters but only some parameters. "
        "Give optax.partition or optax.masked mask_compatible_extra_args=True, or use jl.lbfgs"
    ),
}
"""By the module that fails ("": any) and a word of its error: what the optimizer needs, and what to do."""


def extras(loss: Callable[[Params], Any], params: Params, value: Any, grads: Params, key: Any) -> dict[str, Any]:
    """Return the extra arguments of a step at `params`: its loss as a function and as a value, gradients and a key."""

    # Optax's line searches pass on the arguments they get; in optax.partition, a method sees only some parameters.
    def objective(params, key=None, obj_fn=None):
        return loss(params)

    whole = filled(objective, params)
    return {"value": value, "grad": grads, "value_fn": whole, "obj_fn": whole, "key": key}


def updated(
    optimizer: optax.GradientTransformation, grads: Params, state: Any, params: Params, extra: Mapping[str, Any]
) -> tuple[Params, Any]:
    """Call `optimizer.update` with the extra arguments that it accepts.

    Raises ValueError, while tracing, where the update needs arguments that a sweep does not provide, or where its
    result does not fit `params`.
    """
    try:
        updates, new_state = optimizer.update(grads, state, params, **accepted(optimizer.update, extra))
    except Exception as error:
        if reason := _refusal(error):
            raise ValueError(f"This optimizer cannot be trained in a sweep: {reason}.") from error
        raise
    _check_updates(updates, params)
    _check_state(new_state, state)
    return updates, new_state


def answers_elsewhere(optimizer_state: Any) -> bool:
    """Return whether the method's answer differs from the point at which it takes gradients: see `answer`."""
    return bool(_answering(optimizer_state))


def answer(optimizer_state: Any, params: Params) -> Params:
    """Return the parameters to evaluate: the trained ones, or those that the optimizer's state derives from them.

    A state derives them by a method `evaluation_params(params)`, anywhere in a chain.
    """
    for state in _answering(optimizer_state):
        params = state.evaluation_params(params) if hasattr(state, "evaluation_params") else _of_optax(state, params)
    return params


def _answering(optimizer_state: Any) -> list[Any]:
    answers = lambda x: hasattr(x, "evaluation_params") or type(x).__name__ == "ScheduleFreeState"  # Optax's
    return [x for x in jax.tree.leaves(optimizer_state, is_leaf=answers) if answers(x)]


def _of_optax(state: Any, params: Params) -> Params:
    from optax.contrib import schedule_free_eval_params

    return schedule_free_eval_params(state, params)


def _refusal(error: Exception) -> str | None:
    modules, text = list(_modules(error.__traceback__)), str(error)
    for (module, word), reason in REFUSED.items():
        if module in {"", *modules} and word in text:
            return reason
    if isinstance(error, TypeError) and "unexpected keyword argument" in text and modules[-1].startswith("optax."):
        return (
            f"{text}. Inside optax.chain and other wrappers, an Optax transformation that names extra arguments gets "
            "all of them: hide them from it by optax.GradientTransformation(part.init, part.update)"
        )
    return None


def _modules(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next


def _check_updates(updates: Params, params: Params) -> None:
    """Raise ValueError where updates could be added to the parameters only by broadcasting, or not at all."""
    expected, got = jax.tree.structure(params), jax.tree.structure(updates)
    if expected != got:
        raise ValueError(f"An optimizer's updates must be a tree like the parameters, {expected}, got {got}.")
    for (path, w), update in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(updates), strict=True):
        if jnp.shape(update) != jnp.shape(w):
            raise ValueError(
                f"An optimizer's updates must have the parameters' shapes: {jax.tree_util.keystr(path) or 'w'} has "
                f"{jnp.shape(w)}, its update {jnp.shape(update)}. If this is an aggregation over examples, such as "
                f"optax.contrib.dpsgd: {PER_EXAMPLE}."
            )


def _check_state(new: Any, old: Any) -> None:
    """Raise ValueError where a step changes the form of the state, so that steps cannot be compiled as a loop."""
    what = "An optimizer's state must keep its form from step to step"
    expected, got = jax.tree.structure(old), jax.tree.structure(new)
    if expected != got:
        raise ValueError(
            f"{what}: it began as {expected} and became {got}. Make init return the same form as update, or remove "
            "parts that only monitor the training, such as optax.monitor."
        )
    for (path, before), after in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
        one, other = jax.typeof(before), jax.typeof(after)
        if one.shape != other.shape:
            raise ValueError(f"{what}: {jax.tree_util.keystr(path) or 'it'} began as {one} and became {other}.")


def checked(name: str, optimizer: Any) -> Any:
    """Wrap the optimizer `name` so that it raises TypeError where its state or updates have a type that cannot be used.

    Shapes of updates and states are checked in `updated`.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"Optimizer {name!r} must return an (init, update) pair, got {type(optimizer).__name__}.")
    if not isinstance(optimizer, optax.GradientTransformation):
        return optimizer

    @functools.wraps(optimizer.update)
    def update(grads, state, params=None, **extra):
        found: Any = optimizer.update(grads, state, params, **extra)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"Optimizer {name!r}: update must return (updates, state), got {quoted(found, 80)}. Return both."
            )
        if jax.tree.structure(state) == jax.tree.structure(found[1]):
            for (path, old), new in zip(
                jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(found[1]), strict=True
            ):
                _check_leaf(f"Optimizer {name!r}: its state{jax.tree_util.keystr(path)}", old, new)
        return found

    return optimizer._replace(update=update)


def _check_leaf(where: str, old: Any, new: Any) -> None:
    for x in (old, new):
        if not hasattr(x, "dtype") and not isinstance(x, bool | int | float | complex):
            raise TypeError(f"{where} must be an array, got {quoted(x, 80)}. Keep it out of the state.")
    before, after = jnp.result_type(old), jnp.result_type(new)
    if before != after and not jax.typeof(old).weak_type:
        raise TypeError(f"{where} is {before} before a step and {after} after it. Convert it to one type.")
