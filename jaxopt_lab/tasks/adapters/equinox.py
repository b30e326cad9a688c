"""Equinox: a task for an `equinox.Module`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks.adapters.modelled import Models, library, modelled_task, parts, structural
from jaxopt_lab.tasks.asked import asked
from jaxopt_lab.tasks.names import LOSS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import calling
from jaxopt_lab.types import Batch, Key, random_key

STATE = "state: "  # before the paths of an `eqx.nn.State`, which differ from all paths in a model


def equinox_task(
    name: str,
    make: Callable[..., Any],
    loss: Callable[..., Any],
    train: Any,
    validation: Any = None,
    test: Any = None,
    *,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    batch_size: int | None = None,
    minimum: float | None = None,
    predict: Callable[..., Any] | None = None,
    main_metric: str = LOSS,
    augment: Callable[[Key, Batch], Batch] | None = None,
) -> Task:
    """Make a task for a model of Equinox.

    The parameters are the model's inexact arrays (`eqx.is_inexact_array`), a dict by their path in the model:
    `{"layers.0.weight": ...}`. Its other arrays and its `eqx.nn.State` are the loss's state. What is no array is left
    out: `make` is called once for it.

    Args:
        name: The task's name.
        make: `make(key) -> model`, or `-> (model, state)` where the model has an `eqx.nn.State`, as
            `eqx.nn.make_with_state(Model)(key=key)` returns it. What it names after a bare `*` are hyperparameters of
            the task. A number that the model keeps, such as a rate of dropout, has its default on held-out data, as a
            loss's own numbers have.
        loss: `loss(model, batch, key) -> scalar` or `-> (scalar, aux)`; of a model with a state,
            `loss(model, batch, key, state) -> (scalar, state)` or `-> (scalar, state, aux)`. The key is the step's,
            `jaxopt_lab.tasks.seeding.loss_key`. On held-out data it is None, and the model is in inference mode
            (`eqx.nn.inference_mode`). It may name `training` and hyperparameters after a bare `*`, as a `Task`'s loss
            may.
        train: Training data, as of `Task`.
        validation: Validation data, as of `Task`.
        test: Test data, as of `Task`.
        metrics: `(model, batch) -> scalar` by name, of a model with a state `(model, batch, state) -> scalar`. The
            model is in inference mode.
        predict: `(model, inputs) -> outputs`, of a model with a state `(model, inputs, state) -> outputs`; by default
            the model, mapped over inputs.
        batch_size: Examples per training step, as of `Task`.
        minimum: The smallest training loss, where known.
        main_metric: What selects by default, as of `Task`.
        augment: `(key, batch) -> batch`, as of `Task`.

    Raises:
        ImportError: Equinox is not installed.
        TypeError: As `Task`.
        ValueError: `make` raises an error, or as `Task`.

    """
    eqx = library("equinox", "equinox_task", "equinox")
    if isinstance(make, tuple | eqx.Module):
        raise ArgumentTypeError(
            f"Task {name!r}: make must be a function of a key, got a model. Pass what makes it: its class, "
            "eqx.nn.make_with_state(Model), or lambda key: Model(..., key=key)."
        )
    with calling(f"Task {name!r}: make(key)"):
        by_default = _outline(make, ())
    has_state, is_stateful = by_default.has_state, bool(by_default.kept)
    if not has_state and "state" in asked(loss, 3):
        raise ArgumentTypeError(
            f"Task {name!r}: the loss names state, but make returns a model alone. Pass eqx.nn.make_with_state(Model), "
            "which returns (model, state), or leave state out."
        )

    def start(key, given):
        outline = _outline(make, structural(given))
        leaves = jax.tree.leaves(make(key, **given))
        params = {path: leaves[i] for i, path in outline.trained.items()}
        return params, {path: leaves[i] for i, path in outline.kept.items()}

    def build(params, state, key, training, given):
        outline = _outline(make, structural(given))
        leaves, structure = list(outline.leaves), outline.structure
        if len(structural(given)) < len(given):  # the compiler removes what only its initial values need
            leaves, structure = jax.tree.flatten(make(random_key(0), **given))
        if (outline.has_state, bool(outline.kept)) != (has_state, is_stateful):
            raise ArgumentValueError(
                f"Task {name!r}: with {given}, the model has a state or other arrays than by default. Pass a function "
                "that makes the task instead of the task."
            )
        for i, path in outline.trained.items():
            leaves[i] = params[path]
        for i, path in outline.kept.items():
            leaves[i] = state[path]
        built = jax.tree.unflatten(structure, leaves)
        if training:
            return built
        return (eqx.nn.inference_mode(built[0]), built[1]) if has_state else eqx.nn.inference_mode(built)

    def call_loss(built, batch, key, state, named):
        if not has_state:
            value, *aux = parts(loss(built, batch, key, **named))
            return value, state, *aux
        value, *others = parts(loss(built[0], batch, key, built[1], **named))
        if not others or not isinstance(others[0], eqx.nn.State):
            raise ArgumentTypeError(
                f"Task {name!r}: make returns (model, state), so the loss must return (loss, state) or (loss, state, "
                f"aux), got {quoted((value, *others), 80)}. Return the state that the model returned."
            )
        after, *aux = others
        return value, {**state, **dict(_by_path(after, STATE))}, *aux

    def call(function, built, argument, named):
        model, *after = built if has_state else (built,)
        return function(model, argument, *after, **named)

    def by_one(model, inputs, *state):
        if not state:
            return jax.vmap(model)(inputs)
        return jax.vmap(model, in_axes=(0, None), out_axes=(0, None))(inputs, *state)[0]

    return modelled_task(
        name,
        Models(make, start, build, call_loss, call, 3 + has_state, 2 + has_state, is_stateful),
        loss,
        metrics,
        predict or by_one,
        train=train,
        validation=validation,
        test=test,
        batch_size=batch_size,
        minimum=minimum,
        main_metric=main_metric,
        augment=augment,
    )


class _Outline(NamedTuple):
    """What `make` returns, without the values of its arrays.

    Attributes:
        leaves: Its leaves, with None for arrays.
        structure: Its tree.
        trained: The paths of the model's inexact arrays, by their number among the leaves.
        kept: The paths of all other arrays, likewise.
        has_state: Whether it is (model, state).

    """

    leaves: list[Any]
    structure: Any
    trained: dict[int, str]
    kept: dict[int, str]
    has_state: bool


@remembered(maxsize=32)
def _outline(make: Callable[..., Any], given: tuple[tuple[str, Any], ...]) -> _Outline:
    import equinox as eqx

    found = []

    def look(key):
        made = make(key, **dict(given))
        has_state = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], eqx.nn.State)
        model, state = made if has_state else (made, None)
        of_model, of_state = _by_path(model), _by_path(state, STATE)
        trained = {i: path for i, (path, x) in enumerate(of_model) if eqx.is_inexact_array(x)}
        kept = {i: path for i, (path, x) in enumerate([*of_model, *of_state]) if eqx.is_array(x) and i not in trained}
        leaves, structure = jax.tree.flatten(made)
        static = [None if i in trained or i in kept else x for i, x in enumerate(leaves)]
        found.append(_Outline(static, structure, trained, kept, has_state))

    jax.eval_shape(look, random_key(0))
    return found[0]


def _by_path(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of a tree with their paths, in order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(prefix + jax.tree_util.keystr(path, simple=True, separator="."), x) for path, x in leaves]
