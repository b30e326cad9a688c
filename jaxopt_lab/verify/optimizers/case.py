"""One row of the conformance cases: an optimizer, its twin in Optax, and how close the two must be."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax


class Bounds(NamedTuple):
    """The largest differences allowed from the twin; whoever widens one says why in the row."""

    step64: float = 1e-12  # one step from the same point, over the largest element of that leaf's update
    step32: float = 2e-6
    free64: float = 1e-12  # parameters after 200 steps of each on its own, over the way gone
    free32: float = 1e-5
    why: str = ""


NONE: Mapping[str, Any] = MappingProxyType({})


class Case(NamedTuple):
    """A setting in which a method is held against its twin.

    The first row of a method carries what is true of the whole method: the fields from `mended` on. A method without a
    twin in Optax (None) needs a golden record as its witness.
    """

    ours: Callable[..., Any]
    twin: Callable[..., Any] | None
    numeric: dict[str, Any]  # hyperparameters given to both; all others stay at their defaults
    structural: Mapping[str, Any] = NONE
    bounds: Bounds = Bounds()
    differs: Mapping[str, str] = NONE  # parameters of ours that the twin lacks or defines otherwise, and why
    thorough: bool = False  # walk on all problems together: on the network alone rounding grows until nothing is proven
    mended: str = ""  # how the twin differs from Optax's own method
    not_traced: Mapping[str, str] = NONE  # numbers that a compiled program is made for, and why
    real_only: bool = False  # complex parameters are refused
    convention: str = ""  # where the method's sources disagree, and which of them ours follows

    def make_ours(self):
        return self.ours(**self.numeric, **self.structural)

    def make_twin(self):
        """The twin; of a method without one the method itself, which then must not change when it is traced."""
        return (self.twin or self.ours)(**self.numeric, **self.structural)

    def traceable(self) -> dict[str, Any]:
        """Every numeric hyperparameter, defaults included, except schedules and those that are off (None)."""
        positional = inspect.signature(self.ours).parameters.values()
        defaults = {p.name: p.default for p in positional if p.kind is p.POSITIONAL_OR_KEYWORD}
        values = defaults | self.numeric
        return {name: float(value) for name, value in values.items() if value is not None and not callable(value)}

    def make_traced(self, values):
        return self.ours(**{**self.numeric, **values}, **self.structural)


def pair(init: Callable[..., Any], update: Callable[..., Any]) -> optax.GradientTransformation:
    """Optax's type for the two."""
    return optax.GradientTransformation(init, cast(Any, update))


def pair_with_extras(init: Callable[..., Any], update: Callable[..., Any]) -> optax.GradientTransformationExtraArgs:
    """The same of an `update` that takes more by name."""
    return optax.GradientTransformationExtraArgs(init, cast(Any, update))


def in_full(schedule: optax.Schedule) -> optax.Schedule:
    """Give a schedule the step as a float, since JAX divides an int32 by an int in float32, also in float64 mode."""
    return lambda t: schedule(jnp.asarray(t, float))


halving = in_full(optax.exponential_decay(0.1, transition_steps=50, decay_rate=0.5))
slow_halving = in_full(optax.exponential_decay(0.01, transition_steps=50, decay_rate=0.5))
crawling_halving = in_full(optax.exponential_decay(0.001, transition_steps=50, decay_rate=0.5))
rate, slow, crawl = {"learning_rate": 0.1}, {"learning_rate": 0.01}, {"learning_rate": 0.001}
matrices = lambda params: jax.tree.map(lambda w: w.ndim > 1, params)

steady = Bounds(
    free64=1e-2, free32=5e-2, why="steps do not shrink with g: signs flip near a minimum, and rounding grows"
)
cancels = Bounds(step32=2e-5, why="v - m**2 + eps cancels: where it is v / 100, two of float32's seven digits are gone")
corrected = Bounds(step32=2e-5, free32=1e-4, why="Optax's 1 - b2**t loses two digits in float32; ours keeps them")
