"""Listings as lines of text: optimizers with their hyperparameters, tasks with their arguments, priors."""

import inspect
from collections.abc import Iterator

from jaxopt_lab.optimizers import OPTIMIZERS, PRIORS
from jaxopt_lab.tasks import TASKS


def signatures(what: str) -> Iterator[str]:
    """List all "optimizers" or "tasks": the signature and the summary of each."""
    for name, function in (OPTIMIZERS if what == "optimizers" else TASKS).items():
        parameters = inspect.signature(function).parameters.values()
        arguments = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
        yield f"{name}({', '.join(arguments)})"
        yield f"    {(inspect.getdoc(function) or '').partition(chr(10))[0]}"


def priors() -> Iterator[str]:
    """List the range worth searching for each hyperparameter of each optimizer."""
    for name, factory in OPTIMIZERS.items():
        yield name
        for hyperparameter, prior in PRIORS.get(factory, {}).items():
            how = {"log": "log", "linear": "linear", "one_minus": "log in 1 - value"}[prior.spacing]
            yield f"    {hyperparameter}: {prior.low:g} to {prior.high:g}, {how} ({prior.source})"
