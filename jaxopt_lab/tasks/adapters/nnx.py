"""Flax NNX: a task for an `nnx.Module`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks.adapters.modelled import Models, library, modelled_task, parts, structural, with_own_key
from jaxopt_lab.tasks.names import LOSS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import calling
from jaxopt_lab.types import Batch, Key, random_key


def nnx_task(
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
    """Make a task for a model of Flax NNX.

    The parameters are the values of the model's `nnx.Param`s, as nested dicts (`nnx.to_pure_dict`). All its other
    variables, such as batch statistics, are the loss's state. A weight that the model holds twice is one parameter.

    Random numbers are a function of seed and step. Before each call of the loss, the model's streams get new keys from
    the step's key: `nnx.reseed(model, **{tag: jax.random.fold_in(key, i) for i, tag in enumerate(sorted(tags))})`,
    where the tags are those of the streams that the model keeps (`default` for a model of `nnx.Rngs(0)`). On held-out
    data, a model that still draws random numbers always draws the same.

    Args:
        name: The task's name.
        make: `make(rngs) -> nnx.Module`. What it names after a bare `*` are hyperparameters of the task. A number that
            the model keeps has its default on held-out data, as a loss's own numbers have; keep it in an `nnx.Variable`
            to evaluate the model with the number that it was trained with.
        loss: `loss(model, batch) -> scalar` or `-> (scalar, aux)`. In a training step the model is in training mode
            (`model.train()`), else in evaluation mode. It may name `key`, `training` and hyperparameters after a bare
            `*`, as a `Task`'s loss may.
        train: Training data, as of `Task`.
        validation: Validation data, as of `Task`.
        test: Test data, as of `Task`.
        metrics: `(model, batch) -> scalar` by name, with the model in evaluation mode.
        predict: `(model, inputs) -> outputs`; by default `model(inputs)`.
        batch_size: Examples per training step, as of `Task`.
        minimum: The smallest training loss, where known.
        main_metric: What selects by default, as of `Task`.
        augment: `(key, batch) -> batch`, as of `Task`.

    Raises:
        ImportError: Flax is not installed.
        TypeError: `make` returns something else, or as `Task`.
        ValueError: `make` raises an error, or as `Task`.

    """
    nnx = library("flax.nnx", "nnx_task", "flax")
    if isinstance(make, nnx.Module):
        raise ArgumentTypeError(
            f"Task {name!r}: make must be a function of nnx.Rngs, got a model. Pass what makes it: its class, or "
            "lambda rngs: Model(..., rngs=rngs)."
        )
    with calling(f"Task {name!r}: make(rngs)"):
        is_stateful = bool(jax.tree.leaves(_outline(make, ()).state))

    def start(key, given):
        _, params, _, state = nnx.split(make(nnx.Rngs(key), **given), nnx.Param, nnx.RngState, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def build(params, state, key, training, given):
        outline = _outline(make, structural(given))
        if len(structural(given)) < len(given):
            model = make(nnx.Rngs(random_key(0)), **given)  # the compiler removes what only its initial values need
        else:
            model = nnx.merge(outline.graph, outline.variables, copy=True)
        if not is_stateful and jax.tree.leaves(outline.state):
            raise ArgumentValueError(
                f"Task {name!r}: with {given}, the model has a state such as batch statistics, but by default it has "
                "none. Pass a function that makes the task instead of the task."
            )
        nnx.update(model, params)
        nnx.update(model, state or {})
        key = random_key(0) if key is None else key
        keys = {tag: jax.random.fold_in(key, i) for i, tag in enumerate(outline.tags)}
        nnx.reseed(model, policy="match_shape", **keys)
        model.train() if training else model.eval()
        return model

    def call_loss(model, batch, key, state, named):
        value, *aux = parts(loss(model, batch, **with_own_key(named, key)))
        _, _, _, after = nnx.split(model, nnx.Param, nnx.RngState, ...)
        return value, _of_the_form(state or {}, nnx.to_pure_dict(after)), *aux

    call = lambda function, model, argument, named: function(model, argument, **named)
    return modelled_task(
        name,
        Models(make, start, build, call_loss, call, first=2, others=2, is_stateful=is_stateful),
        loss,
        metrics,
        predict or (lambda model, inputs: model(inputs)),
        train=train,
        validation=validation,
        test=test,
        batch_size=batch_size,
        minimum=minimum,
        main_metric=main_metric,
        augment=augment,
    )


class _Outline(NamedTuple):
    """A model without the values of its arrays.

    Attributes:
        graph: Its static part.
        variables: The shapes of all its variables.
        state: The shapes of those that are neither parameters nor random states, as nested dicts.
        tags: The tags of its streams of random numbers, sorted.

    """

    graph: Any
    variables: Any
    state: dict[str, Any]
    tags: tuple[str, ...]


@remembered(maxsize=32)
def _outline(make: Callable[..., Any], given: tuple[tuple[str, Any], ...]) -> _Outline:
    from flax import nnx

    def made(key):
        model = make(nnx.Rngs(key), **dict(given))
        if not isinstance(model, nnx.Module):
            raise ArgumentTypeError(f"make(rngs) must return an nnx.Module, got {quoted(model, 80)}. Return the model.")
        return model

    model = nnx.eval_shape(made, random_key(0))
    graph, variables = nnx.split(model)
    _, _, _, state = nnx.split(model, nnx.Param, nnx.RngState, ...)
    tags = {node.tag for _, node in nnx.iter_graph(model) if isinstance(node, nnx.RngStream)}
    return _Outline(graph, variables, nnx.to_pure_dict(state), tuple(sorted(tags)))


def _of_the_form(before: Any, after: Any) -> Any:
    """Return the variables that the model had before a call, without those that it recorded (`sow`) in the call."""
    if not isinstance(before, dict):
        return after
    return {name: _of_the_form(x, after[name]) for name, x in before.items()}
