"""What a row of the conformance cases is: an optimizer, its twin in Optax, how near they must be."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import jax
import optax


class Bounds(NamedTuple):
    """The largest differences allowed from the twin; whoever widens one says why in the row."""

    step64: float = 1e-12  # one step from the same point, over the largest element of that leaf's update
    step32: float = 2e-6
    free64: float = 1e-12  # parameters after 200 steps of each on its own, over the way gone
    free32: float = 1e-5
    why: str = ""


class Case(NamedTuple):
    ours: Callable[..., Any]
    twin: Callable[..., Any]
    numeric: dict[str, Any]  # hyperparameters given to both; what is not here is left at its default
    structural: Mapping[str, Any] = MappingProxyType({})
    bounds: Bounds = Bounds()
    differs: Mapping[str, str] = MappingProxyType({})  # parameters of the signature that the twin has not so: why
    thorough: bool = False  # walk on all problems together: on the network alone rounding grows until nothing is proven

    def make_ours(self):
        return self.ours(**self.numeric, **self.structural)

    def make_twin(self):
        return self.twin(**self.numeric, **self.structural)

    def traceable(self) -> dict[str, Any]:
        """Every numeric hyperparameter, defaults too, but for schedules and those that are off (None)."""
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


halving = optax.exponential_decay(0.1, transition_steps=50, decay_rate=0.5)
slow_halving = optax.exponential_decay(0.01, transition_steps=50, decay_rate=0.5)
crawling_halving = optax.exponential_decay(0.001, transition_steps=50, decay_rate=0.5)
rate, slow, crawl = {"learning_rate": 0.1}, {"learning_rate": 0.01}, {"learning_rate": 0.001}
matrices = lambda params: jax.tree.map(lambda w: w.ndim > 1, params)

steady = Bounds(
    free64=1e-2, free32=5e-2, why="steps do not shrink with g: signs flip near a minimum, and rounding grows"
)
cancels = Bounds(step32=2e-5, why="v - m**2 + eps cancels: where it is v / 100, two of float32's seven digits are gone")
corrected = Bounds(step32=2e-5, free32=1e-4, why="Optax's 1 - b2**t loses two digits in float32; ours keeps them")
