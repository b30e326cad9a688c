"""What a trial asks of an optimizer: its update, with what it needs, and the answer that its state holds."""

import functools
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.checking import quoted
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import Params

OWN_LOOP = "Train it in a loop of your own"
PER_EXAMPLE = f"it wants the gradient of every example, and a sweep has that of their mean. {OWN_LOOP}"
OPAQUE = (
    "optax.contrib.sam(opaque_mode=True) wants grad_fn, a function for more gradients in a step. "
    "Take jl.sam, which makes do with value_fn, or opaque_mode=False"
)
REFUSED = {
    ("optax._src.lookahead", ""): (
        "optax.lookahead trains optax.LookaheadParams, not the task's parameters. "
        f"{OWN_LOOP}, or take a method that averages in its own state, such as jl.schedule_free_adamw"
    ),
    ("optax.contrib._sam", "grad_fn"): OPAQUE,
    ("", "opaque_update_fn"): OPAQUE,
    ("optax.contrib._privacy", ""): f"optax.contrib.differentially_private_aggregate: {PER_EXAMPLE}",
    ("optax.experimental._aggregating", ""): f"optax.experimental.aggregating: {PER_EXAMPLE}",
    ("", "_per_element_"): f"optax.experimental.aggregating: {PER_EXAMPLE}",
    ("optax._src.linesearch", "MaskedNode"): (
        "within optax.partition, Optax's line searches compare the gradient of all parameters with some of them. "
        "Give optax.partition or optax.masked mask_compatible_extra_args=True, or take jl.lbfgs"
    ),
}
"""By the module that fails ("": any) and a word of its error: what it needs, and what to do."""


def updated(
    optimizer: optax.GradientTransformation, grads: Params, state: Any, params: Params, extra: Mapping[str, Any]
) -> tuple[Params, Any]:
    """Call `optimizer.update` with those of the extra arguments that it accepts.

    Raises ValueError, when traced, where the update needs what a sweep does not give, or is not one of `params`.
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
    """Whether the method's answer is not the point at which it takes gradients: see `answer`."""
    return bool(_answering(optimizer_state))


def answer(optimizer_state: Any, params: Params) -> Params:
    """The parameters that a method would be used with: its own, or what its state makes of them.

    A state says so by a method `evaluation_params(params)`, wherever it is in a chain.
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
            f"{text}. Inside optax.chain and other wrappers, an Optax transformation that names extra arguments is "
            "given all of them: hide them from it by optax.GradientTransformation(part.init, part.update)"
        )
    return None


def _modules(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next


def _check_updates(updates: Params, params: Params) -> None:
    """Raise ValueError where they could be added to the parameters by broadcasting alone, or not at all."""
    expected, got = jax.tree.structure(params), jax.tree.structure(updates)
    if expected != got:
        raise ValueError(f"An optimizer's updates must be a tree like the parameters, {expected}, got {got}.")
    for (path, w), update in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(updates), strict=True):
        if jnp.shape(update) != jnp.shape(w):
            raise ValueError(
                f"An optimizer's updates must have the parameters' shapes: of {jax.tree_util.keystr(path) or 'w'}, "
                f"{jnp.shape(w)}, got {jnp.shape(update)}. If this is an aggregation over examples, such as "
                f"optax.contrib.dpsgd: {PER_EXAMPLE}."
            )


def _check_state(new: Any, old: Any) -> None:
    """Raise ValueError where steps cannot be a loop, for the state after one is of another form than before it."""
    what = "An optimizer's state must keep its form from step to step"
    expected, got = jax.tree.structure(old), jax.tree.structure(new)
    if expected != got:
        raise ValueError(
            f"{what}: it began as {expected} and became {got}. Let its init give it the form that its update does, or "
            "leave out what only watches the training, such as optax.monitor."
        )
    for (path, before), after in zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True):
        one, other = jax.typeof(before), jax.typeof(after)
        if one.shape != other.shape:
            raise ValueError(f"{what}: {jax.tree_util.keystr(path) or 'it'} began as {one} and became {other}.")


def checked(name: str, optimizer: Any) -> Any:
    """The optimizer `name`, which raises TypeError where its state or its updates are of a kind that no step can take.

    That updates have the shapes of the parameters, and a state those that it had, is checked where they are used.
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
            raise TypeError(f"{where} must be an array, got {quoted(x, 80)}. Keep it out of what is carried on.")
    before, after = jnp.result_type(old), jnp.result_type(new)
    if before != after and not jax.typeof(old).weak_type:
        raise TypeError(f"{where} is {before} at first and {after} after a step. Convert it to one type.")
