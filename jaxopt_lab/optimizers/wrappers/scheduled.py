"""A factory whose learning rate follows a schedule, with the schedule's numbers among its hyperparameters."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.labels import label
from jaxopt_lab.types import Optimizer, OptimizerFactory, Scalar, Schedule

RATE, STEPS = "learning_rate", "steps"
SHARED = (RATE, STEPS)  # what factory and schedule both may name: the peak and the trial's budget


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """The factory that `scheduled` returns; equal to another of the same factory and schedule.

    Attributes:
        factory: The factory of the optimizer, whose learning rate may be a schedule.
        schedule: Makes the schedule from the peak, the budget and numbers.

    """

    factory: OptimizerFactory
    schedule: Callable[..., Schedule]

    def __post_init__(self):
        object.__setattr__(self, "__name__", f"{label(self.factory)}_{label(self.schedule)}")
        object.__setattr__(self, "__signature__", _joined(self.factory, self.schedule))

    def __reduce__(self):
        return type(self), (self.factory, self.schedule)

    def __call__(self, *args: Any, **kwargs: Any) -> Optimizer:
        """Make the optimizer, whose learning rate is the schedule."""
        signature = inspect.signature(self)
        bound = signature.bind(*args, **kwargs)
        given = dict(zip(signature.parameters, bound.args, strict=False)) | bound.kwargs
        others = _named(self.schedule).keys() - (_named(self.factory).keys() & {STEPS})
        own = {name: value for name, value in given.items() if name not in others}
        return self.factory(**own, **{RATE: self.rate(**given)})

    def rate(self, **hyperparameters: Any) -> Schedule:
        """Make the schedule of the learning rate from the factory's hyperparameters."""
        peak = inspect.signature(self).parameters[RATE].default  # the factory's, not the schedule's
        given = {} if peak is Parameter.empty else {RATE: peak}
        given |= {name: value for name, value in hyperparameters.items() if name in _named(self.schedule)}
        return self.schedule(**given)

    @property
    def preconditioner(self) -> Callable[..., Any] | None:
        """What divides the optimizer's step: see `method`."""
        return getattr(self.factory, "preconditioner", None)

    @property
    def in_force(self) -> Mapping[str, Callable[..., Schedule]]:
        """For each hyperparameter that follows a schedule, a function from all of them to the schedule."""
        return {RATE: self.rate}


def scheduled(factory: OptimizerFactory, schedule: Callable[..., Schedule]) -> Scheduled:
    """Let the learning rate of an optimizer follow a schedule, whose numbers a sweep can vary.

        adamw = jl.scheduled(jl.adamw, jl.schedules.warmup_cosine)
        space = {"learning_rate": jl.log(1e-4, 1e-1, 8), "warmup": [0.0, 0.1], "weight_decay": [0.0, 0.1]}
        results = jl.sweep(adamw, task, space, steps=1000)

    The result takes the hyperparameters of both; `learning_rate` is the peak. One program serves all their values. The
    schedule's `steps` is the budget of the trial, which a sweep passes by itself. The results' curve
    `learning_rate_in_force` holds the learning rate before every step.

    A factory of your own may record schedules in the same way. Give it an attribute `in_force`: a dict from the name of
    each hyperparameter that follows a schedule to a function, from all of the factory's hyperparameters by name, that
    returns the schedule.

    Args:
        factory: A function of hyperparameters that returns an optimizer: this package's, Optax's or your own. Its
            `learning_rate` may be a schedule.
        schedule: One of `jl.schedules`, or a function of your own of the same form: it takes `learning_rate`, where it
            needs them `steps` and numbers, and returns a function from the steps taken so far to the rate.

    Returns:
        The factory, called for example adamw_warmup_cosine. Two of the same arguments are equal.

    Raises:
        ArgumentTypeError: An argument is not a function, or its signature is not known.
        ArgumentValueError: One has no learning rate, or both name the same hyperparameter.

    """
    return Scheduled(factory, schedule)


def _joined(factory: OptimizerFactory, schedule: Callable[..., Schedule]) -> Signature:
    """Return the signature of a scheduled factory: structural hyperparameters and the budget after a bare `*`."""
    own, others = _named(factory, "jl.adamw, not jl.adamw(1e-3)"), _named(schedule, "jl.schedules.cosine itself")
    takes_any = [p for p in inspect.signature(factory).parameters.values() if p.kind is p.VAR_KEYWORD]
    if RATE not in own and not takes_any:
        raise ArgumentValueError(
            f"{label(factory)} has no hyperparameter learning_rate, so there is nothing to schedule. It has: "
            f"{', '.join(own) or 'none'}.",
            advice="Wrap it in a function that takes learning_rate.",
        )
    if RATE in own and own[RATE].annotation == Scalar:
        raise ArgumentValueError(
            f"The learning_rate of {label(factory)} must be a number, so it cannot follow a schedule.",
            advice="Choose another optimizer, or one without a schedule.",
        )
    if RATE not in others:
        raise ArgumentValueError(
            f"A schedule is made from its peak, learning_rate; {label(schedule)} takes {', '.join(others)}.",
            advice="Pass one of jl.schedules, or a function of learning_rate, steps and numbers that returns a "
            "function from the steps taken so far to the rate.",
        )
    if both := [name for name in others if name in own and name not in SHARED]:
        raise ArgumentValueError(
            f"{label(factory)} and {label(schedule)} both have a hyperparameter {both[0]!r}, so a space could not tell "
            "them apart.",
            advice="Wrap one of the two in a function that gives it another name.",
        )
    either = Parameter.POSITIONAL_OR_KEYWORD
    peak = own.get(RATE, others[RATE]).replace(kind=either, annotation=Scalar)
    numeric = [p for name, p in own.items() if p.kind is either and name not in SHARED]
    numeric += [p.replace(kind=either) for name, p in others.items() if name not in SHARED]
    structural = [p for name, p in own.items() if p.kind is p.KEYWORD_ONLY and name not in SHARED]
    budget = [Parameter(STEPS, Parameter.KEYWORD_ONLY, annotation=Scalar)] if STEPS in (*own, *others) else []
    required_first = sorted([peak, *numeric], key=lambda p: p.default is not p.empty)
    return Signature([*required_first, *structural, *budget, *takes_any], return_annotation=Optimizer)


def _named(function: Any, instead: str = "") -> dict[str, Parameter]:
    """Return the parameters of a function that can be passed by name.

    Raises:
        ArgumentTypeError: It is not a function, or has no signature; `instead` is what a user would pass.

    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # not a function, or one that is written in C
        raise ArgumentTypeError(
            f"jl.scheduled takes a factory and a schedule's function, got {quoted(function)}.",
            advice=f"Pass the function that makes it: {instead}.",
        ) from None
    return {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
