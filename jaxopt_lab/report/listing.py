"""Listings, as lines of text and as data: optimizers with their hyperparameters, tasks with their arguments, priors."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from jaxopt_lab.optimizers import OPTIMIZERS, PRIORS
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.about import ABOUT, KINDS


def optimizers() -> Iterator[str]:
    """List the signature and the summary of each optimizer."""
    for name, factory in OPTIMIZERS.items():
        yield from _signature(name, factory)


def tasks() -> Iterator[str]:
    """List tasks by kind: signature, summary, usual budget, and what is known of the solution."""
    for kind, meaning in KINDS.items():
        own = {name: make for name, make in TASKS.items() if ABOUT[make].kind == kind}
        if own:
            yield f"{meaning}:"
        for name, make in own.items():
            yield from (f"  {line}" for line in _signature(name, make))
            yield f"      {ABOUT[make].steps:,} steps; {ABOUT[make].reference}"


def _signature(name: str, function: Callable[..., Any]) -> Iterator[str]:
    parameters = inspect.signature(function).parameters.values()
    arguments = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    yield f"{name}({', '.join(arguments)})"
    yield f"    {_summary(function)}"


def _summary(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]


def priors() -> Iterator[str]:
    """List the range worth searching for each hyperparameter of each optimizer."""
    for name, factory in OPTIMIZERS.items():
        yield name
        for hyperparameter, prior in PRIORS.get(factory, {}).items():
            how = {"log": "log", "linear": "linear", "one_minus": "log in 1 - value"}[prior.spacing]
            yield f"    {hyperparameter}: {prior.low:g} to {prior.high:g}, {how} ({prior.source})"


def optimizers_data() -> Iterator[dict[str, Any]]:
    """Return what is known of each optimizer, as data for JSON: name, summary, hyperparameters with their priors."""
    for name, factory in OPTIMIZERS.items():
        priors = {name: prior._asdict() for name, prior in PRIORS.get(factory, {}).items()}
        arguments = [argument | {"prior": priors.get(argument["name"])} for argument in _arguments(factory)]
        yield {"name": name, "summary": _summary(factory), "hyperparameters": arguments}


def tasks_data() -> Iterator[dict[str, Any]]:
    """Return what is known of each task, as data for JSON: name, kind, summary, arguments, budget, reference."""
    for name, make in TASKS.items():
        about = ABOUT[make]
        known = {"kind": about.kind, "steps": about.steps, "reference": about.reference, "score": about.score}
        yield {"name": name, "summary": _summary(make), "arguments": _arguments(make), **known}


def _arguments(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return the name of each argument, whether it is required, and its default (null where it is required)."""
    parameters = inspect.signature(function).parameters.values()
    return [
        {"name": p.name, "required": p.default is p.empty, "default": None if p.default is p.empty else p.default}
        for p in parameters
    ]
