"""What the methods share: the registry, dtypes kept, schedules read, 1 - b^t without cancellation."""

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.optimizers._numerics import needs_numbers, real_dtype, state_dtype, widened
from jaxopt_lab.optimizers.extras import ALIASES, EXTRAS
from jaxopt_lab.optimizers.wrappers.filled import Filled, has_holes
from jaxopt_lab.types import (
    PRNG,
    ExtraArgsOptimizer,
    Optimizer,
    OptimizerFactory,
    Params,
    Prior,
    Scalar,
    ScalarOrSchedule,
    random_key,
)

F = TypeVar("F", bound=OptimizerFactory)

REGISTERED: dict[str, OptimizerFactory] = {}
"""Every method's factory, by its name."""

PRIORS: dict[OptimizerFactory, Mapping[str, Prior]] = {}
"""For each factory, where its tunable hyperparameters are worth searching."""


def method(
    *, further_gradients_every: str | None = None, preconditioner: Callable[..., Params] | None = None, **priors: Prior
) -> Callable[[F], F]:
    """Register a factory under its name, with priors of the hyperparameters that are worth searching.

    A search leaves hyperparameters without a prior at their defaults.

    Args:
        further_gradients_every: The hyperparameter that says every how many steps, from the first on, the method
            evaluates more gradients than in other steps.
        preconditioner: Returns the positive diagonal that divides the method's step, as a tree like the parameters:
            a function of its state and, by keyword, of all of its hyperparameters. For diagnostics.
        **priors: By hyperparameter.

    """

    def register(factory: F) -> F:
        name = factory.__name__
        if name in REGISTERED:
            raise ValueError(
                f"{factory.__module__} defines an optimizer {name!r}, but {REGISTERED[name].__module__} already does: "
                "give one of the two another name."
            )
        cast(Any, factory).__signature__ = _structural_apart(inspect.signature(factory))
        cast(Any, factory).further_gradients_every = further_gradients_every
        cast(Any, factory).preconditioner = preconditioner
        REGISTERED[name], PRIORS[factory] = factory, priors
        return factory

    return register


class Structural(np.int64):
    """A structural integer among a factory's defaults.

    `optax.inject_hyperparams` turns every default of type `int` into a traced array, which could not be a shape. It
    passes NumPy scalars on unchanged.
    """

    def __repr__(self) -> str:
        return str(int(self))


def _structural_apart(signature: inspect.Signature) -> inspect.Signature:
    of = lambda p: Structural(p.default) if p.kind is p.KEYWORD_ONLY and type(p.default) is int else p.default
    return signature.replace(parameters=[p.replace(default=of(p)) for p in signature.parameters.values()])


def static_count(name: str, value: Any, least: int = 1) -> int:
    """Return the structural integer `name`. Raises ValueError if it is traced, not an integer, or too small."""
    try:
        count = operator.index(value)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError):
        raise ValueError(
            f"{name} decides about shapes or a program's length, so it cannot be traced: give a Python int, and where "
            f"optax.inject_hyperparams makes an array of it, tell that static_args=[{name!r}]."
        ) from None
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}.") from None
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {name}={count}.")
    return count


def optimizer(
    init: Callable[..., Any], update: Callable[..., Any], *, real_only: str | None = None
) -> ExtraArgsOptimizer:
    """Pair `init` with an `update` that computes in at least float32 and returns the dtypes that it was given.

    A hyperparameter is never rounded to the parameters' dtype (b2 = 0.999 in bfloat16 is 1), and a traced
    hyperparameter of a wider dtype never widens updates or state.

    Any extra argument is accepted, as by Optax's methods. Those that `update` names after a bare `*` are passed on; a
    missing one without a default is an error. An `update` that ends in `**extra` gets all others as well.

    `init` takes floating-point and complex parameters. For complex ones, gradients are the conjugates of JAX's, as in
    Optax. `real_only` is the name of a method that is not defined for complex numbers and therefore refuses them.
    """
    parameters = inspect.signature(update).parameters.values()
    named = {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}
    hands_on = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def update_in_dtype(grads, state, params=None, **extra):
        extra = {name: value for name, value in extra.items() if value is not None}
        extra = {ALIASES.get(name, name): value for name, value in extra.items()} | extra  # under both names
        for name, needed in named.items():
            if needed and name not in extra:
                raise ValueError(
                    f"This optimizer needs {EXTRAS[name]}: call update(grads, state, params, {name}=...). Within "
                    "optax.chain, pass it to the chain's update."
                )
        if "value_fn" in named and not isinstance(extra.get("value_fn"), Filled) and has_holes(params):
            raise ValueError(
                "This optimizer evaluates the loss, and within optax.partition or optax.masked it sees some of the "
                "parameters only: call update(grads, state, params, value_fn=jl.filled(loss, params))."
            )
        chosen = {name: value for name, value in extra.items() if hands_on or name in named}
        if "value" in chosen:
            chosen["value"] = _widen(chosen["value"])
        updates, new_state = update(_widen(grads), _widen(state), _widen(params), **chosen)
        return _cast_like(updates, grads), _cast_like(new_state, state)

    def checked_init(params):
        needs_numbers(params, real_only, needs_extras=any(named.values()))
        return init(params)

    return ExtraArgsOptimizer(checked_init, cast(Any, update_in_dtype))


def descent(ascent: Optimizer) -> ExtraArgsOptimizer:
    """Make the method that steps against the direction `ascent`."""

    def update(grads, state, params=None):
        a, new_state = ascent.update(grads, state, params)
        return jax.tree.map(jnp.negative, a), new_state

    return optimizer(ascent.init, update)


def needs_params(params: Params | None, name: str, why: str) -> None:
    """Raise ValueError if the parameters are missing: the method `name` `why` (a verb) them."""
    if params is None:
        raise ValueError(f"{name} {why} the parameters, so it needs them: call update(grads, state, params).")


def zeros_like(params: Params, dtype: Any = None) -> Params:
    """Return zeros of the parameters' shapes, in `dtype` (a method's `moment_dtype`) or theirs: see `state_dtype`."""
    return jax.tree.map(lambda w: jnp.zeros_like(w, state_dtype(jnp.result_type(w), dtype)), params)


def reals_like(params: Params, dtype: Any = None, value: Scalar = 0.0) -> Params:
    """Return real numbers with the parameters' shapes, for squares and absolute values; otherwise as `zeros_like`."""
    kind = lambda w: real_dtype(state_dtype(jnp.result_type(w), dtype))
    return jax.tree.map(lambda w: jnp.full_like(w, value, kind(w)), params)


def copied(params: Params, dtype: Any = None) -> Params:
    """Copy the parameters, so that either may be donated, with the dtypes of `zeros_like`."""
    return jax.tree.map(lambda w: jnp.array(w, state_dtype(jnp.result_type(w), dtype)), params)


def step_count(*values: ScalarOrSchedule) -> jax.Array | None:
    """Start a count of steps at 0; None if no value is a schedule, for a method that counts only for schedules."""
    return jnp.zeros([], jnp.int32) if any(callable(value) for value in values) else None


def next_step(t: Any) -> Any:
    """Count one more step. The count stays at the largest integer instead of overflowing; None stays None."""
    return None if t is None else jnp.maximum(t, t + 1)


def first_key(seed: Any) -> jax.Array:
    """Make a method's own random key as plain numbers, so that a state is a tree of arrays that any file can store."""
    return jax.random.key_data(random_key(seed))


def next_key(own: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split `own` into its successor and a key to draw with, as Optax's methods split theirs."""
    following, used = jax.random.split(jax.random.wrap_key_data(own, impl=PRNG))
    return jax.random.key_data(following), used


def value_at(value: ScalarOrSchedule, t: Any) -> Any:
    """Return the value of a scalar or schedule after `t` steps."""
    return value(t) if callable(value) else value


def one_minus_power(b: Scalar, t: jax.Array) -> jax.Array:
    """Return 1 - b^t, exact to rounding even if b is a float32 just below 1, where `1 - b**t` loses four digits."""
    return -jnp.expm1(t * jnp.log1p(b - 1))


def _widen(tree):
    return jax.tree.map(widened, tree)


def _cast_like(tree, like):
    is_key = lambda x: isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # of a wrapped method
    as_like = lambda x, y: x if is_key(y) else jnp.asarray(x).astype(jnp.result_type(y))
    return jax.tree.map(as_like, tree, like)
