"""Pairs of our optimizers and Optax's."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax
import optax.contrib

import jaxopt_lab as jl

Pair = tuple[Callable[[], Any], Callable[[], Any]]
RATE = 1e-3


def twins() -> dict[str, Pair]:
    """Ours and Optax's at their defaults, by name; a learning rate where they want one."""
    descent = functools.partial(optax.sgd, RATE, momentum=0.9)
    apart: dict[str, Pair] = {
        "gradient_descent": (lambda: jl.gradient_descent(RATE), lambda: optax.sgd(RATE)),
        "momentum": (lambda: jl.momentum(RATE), descent),
        "sam": (lambda: jl.sam(RATE), lambda: optax_sam(descent())),
        # How far to go along a direction is the loss's price.
        "lbfgs": (lambda: jl.lbfgs(linesearch=None), lambda: optax.lbfgs(linesearch=None)),
        "galore": (lambda: jl.galore(RATE, project_longer=True), lambda: optax.contrib.galore(RATE)),  # the same side
    }
    found: dict[str, Pair] = {}
    for name, ours in jl.OPTIMIZERS.items():
        twin = getattr(optax, name, None) or getattr(optax.contrib, name, None)
        if name in apart:
            found[name] = apart[name]
        elif twin is not None:
            found[name] = functools.partial(made, ours), functools.partial(made, twin)
    return found


def optax_sam(base: Any) -> Any:
    """Both of its gradients in one step, as ours; it takes no argument beside `grad_fn`."""
    sam = optax.contrib.sam(base, optax.chain(optax.contrib.normalize(), optax.sgd(0.05)), opaque_mode=True)
    update: Any = lambda grads, state, params=None, *, grad_fn, **_: sam.update(grads, state, params, grad_fn=grad_fn)
    return optax.GradientTransformationExtraArgs(sam.init, update)


def made(factory: Callable[..., Any]) -> Any:
    rate = inspect.signature(factory).parameters.get("learning_rate")
    return factory(RATE) if rate is not None and rate.default in (rate.empty, None) else factory()
