"""Flax Linen: a task for a `flax.linen.Module`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks.adapters.modelled import Models, library, modelled_task, parts, with_own_key
from jaxopt_lab.tasks.asked import asked
from jaxopt_lab.tasks.names import LOSS
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.calling import calling
from jaxopt_lab.types import Batch, Key, Params, random_key

MODES = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}
"""How a module's argument may be called that says whether it trains, and its value where it does."""


class Apply:
    """A Linen module with parameters: `apply(inputs)` runs it.

    Its mode, the random numbers of its dropout and its mutable collections are handled inside.

    Attributes:
        module: The module.
        params: Its parameters.
        state: Its other collections, such as `batch_stats`, which calls in training update.
        training: Whether it trains.

    """

    def __init__(self, module: Any, params: Params, state: Mapping[str, Any], key: Key | None, training: bool):
        self.module, self.params, self.state, self.training = module, params, dict(state), training
        self._key, self._calls = key, 0

    def __call__(
        self, *inputs: Any, method: Any = None, mutable: str | tuple[str, ...] | list[str] = (), **named: Any
    ) -> Any:
        """Run the module, or another of its methods.

        Args:
            *inputs: What it takes.
            method: The method, or its name; by default `__call__`.
            mutable: Further collections to return, such as `"intermediates"`. Then returns (outputs, collections).
            **named: Further arguments of the module.

        """
        wanted = [mutable] if isinstance(mutable, str) else list(mutable)
        own = list(self.state) if self.training else []
        outputs, after = self.module.apply(
            {"params": self.params, **self.state},
            *inputs,
            rngs=self._rngs(),
            mutable=[*own, *wanted],
            method=method,
            **modes(self.module, method, self.training) | named,
        )
        self.state |= {name: after[name] for name in own if name in after}
        return (outputs, {name: after[name] for name in wanted if name in after}) if wanted else outputs

    def _rngs(self) -> dict[str, Key]:
        if self._key is None:
            return {}
        dropout, others = jax.random.split(jax.random.fold_in(self._key, self._calls))
        self._calls += 1
        return {"dropout": dropout, "params": others}


def linen_task(
    name: str,
    module: Any,
    loss: Callable[..., Any],
    train: Any,
    validation: Any = None,
    test: Any = None,
    *,
    example: Any,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    batch_size: int | None = None,
    minimum: float | None = None,
    predict: Callable[..., Any] | None = None,
    main_metric: str = LOSS,
    augment: Callable[[Key, Batch], Batch] | None = None,
) -> Task:
    """Make a task for a module of Flax Linen.

    The parameters are the module's collection `params`. All other collections that `module.init` makes, such as
    `batch_stats`, are the loss's state, and are mutable in training.

    Random numbers are a function of seed and step: call number i of `apply` in a loss (from 0) has
    `dropout, others = jax.random.split(jax.random.fold_in(key, i))`, where `key` is the step's, and
    `rngs={"dropout": dropout, "params": others}`; Flax draws all streams other than `dropout` from the latter. Held-out
    data have no random numbers.

    Args:
        name: The task's name.
        module: The module. Where its `__call__`, or another method that the loss calls, has an argument `train`,
            `training`, `is_training`, `deterministic` or `use_running_average`, that says whether it trains.
        loss: `loss(apply, batch) -> scalar` or `-> (scalar, aux)`, where `apply(inputs)` runs the module: see `Apply`.
            It may name `key`, `training` and hyperparameters after a bare `*`, as a `Task`'s loss may.
        train: Training data, as of `Task`.
        validation: Validation data, as of `Task`.
        test: Test data, as of `Task`.
        example: An input to make the parameters for, or a tuple of several.
        metrics: `(apply, batch) -> scalar` by name.
        predict: `(apply, inputs) -> outputs`; by default `apply(inputs)`, or `apply(*inputs)` where `example` is a
            tuple.
        batch_size: Examples per training step, as of `Task`.
        minimum: The smallest training loss, where known.
        main_metric: What selects by default, as of `Task`.
        augment: `(key, batch) -> batch`, as of `Task`.

    Raises:
        ImportError: Flax is not installed.
        TypeError: `module` is none of Flax's, or as `Task`.
        ValueError: The module has a state or random numbers, but no way to say whether it trains; or as `Task`.

    """
    linen = library("flax.linen", "linen_task", "flax")
    if not isinstance(module, linen.Module):
        raise ArgumentTypeError(
            f"Task {name!r}: module must be a flax.linen.Module, got {quoted(module, 80)}. Pass the module itself; "
            "jl.nnx_task takes those of NNX."
        )
    inputs = example if isinstance(example, tuple) else (example,)

    def start(key, given):
        variables = module.init(key, *inputs, **modes(module, None, False))
        return variables.get("params", {}), {name: x for name, x in variables.items() if name != "params"}

    def call_loss(apply, batch, key, state, named):
        value, *aux = parts(loss(apply, batch, **with_own_key(named, key)))
        return value, apply.state, *aux

    with calling(f"Task {name!r}: module.init(key, example)"):
        is_stateful = bool(jax.tree.leaves(jax.eval_shape(lambda key: start(key, {})[1], random_key(0))))
    task = modelled_task(
        name,
        Models(
            make=lambda example: module,
            start=start,
            build=lambda params, state, key, training, given: Apply(module, params, state or {}, key, training),
            loss=call_loss,
            call=lambda function, apply, argument, named: function(apply, argument, **named),
            first=2,
            others=2,
            is_stateful=is_stateful,
        ),
        loss,
        metrics,
        predict or (lambda apply, inputs: apply(*inputs) if isinstance(example, tuple) else apply(inputs)),
        train=train,
        validation=validation,
        test=test,
        batch_size=batch_size,
        minimum=minimum,
        main_metric=main_metric,
        augment=augment,
    )
    named = asked(loss, 2)
    draws = task.is_random and "key" not in named
    if (is_stateful or draws) and "training" not in named and not modes(module, None, True):
        raise ArgumentValueError(
            f"Task {name!r}: the module has batch statistics or dropout, but its __call__ has no argument that says "
            f"whether it trains. Give it one of {', '.join(MODES)}; or let the loss name training after a bare *, and "
            "pass it on."
        )
    return task


def modes(module: Any, method: Any, training: bool) -> dict[str, bool]:
    """Return the arguments that tell a module's method whether it trains."""
    called = getattr(type(module), method) if isinstance(method, str) else method or type(module).__call__
    names = inspect.signature(called).parameters
    return {
        name: training == value
        for name, value in MODES.items()
        if name in names and getattr(module, name, None) is None  # else its constructor has fixed it
    }
