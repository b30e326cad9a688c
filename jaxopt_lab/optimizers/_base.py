"""What the methods share: dtypes kept, schedules read, 1 - b^t without cancellation, priors declared."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers._numerics import needs_numbers, real_dtype, state_dtype, widened
from jaxopt_lab.types import ExtraArgsOptimizer, Optimizer, OptimizerFactory, Params, Prior, Scalar, ScalarOrSchedule

F = TypeVar("F", bound=OptimizerFactory)

PRIORS: dict[OptimizerFactory, Mapping[str, Prior]] = {}
"""By factory, where each tunable hyperparameter is worth searching; see `searched`."""

EXTRAS = {
    "value": "the loss at params",
    "value_fn": "the loss as a function of the parameters",
    "key": "a random key of this step",
}
"""What a method may need beside the gradient. The training loop passes all of it."""


def searched(**priors: Prior) -> Callable[[F], F]:
    """Declare a factory's priors: a hyperparameter without one is left at its default by who searches."""

    def declare(factory: F) -> F:
        PRIORS[factory] = priors
        return factory

    return declare


def optimizer(init: Callable[..., Any], update: Callable[..., Any], *, real_only: str | None = None) -> Optimizer:
    """Pair `init` with an `update` that computes in float32 at the least and gives back the dtypes it was given.

    A hyperparameter is never rounded to the parameters' dtype (b2 = 0.999 in bfloat16 is 1), and a traced
    hyperparameter of a wider dtype never widens updates or state.

    Of `EXTRAS`, those that `update` names after a bare `*` are passed on, and asked for where they are missing.

    `init` takes floating-point and complex parameters. Of complex ones, gradients are the conjugates of JAX's, as
    Optax's methods take them. `real_only` names a method that has no form for complex numbers, and so refuses them.
    """
    parameters = inspect.signature(update).parameters.values()
    wanted = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    def update_in_dtype(grads, state, params=None, **extra):
        for name in wanted:
            if extra.get(name) is None:
                raise ValueError(
                    f"This optimizer needs {EXTRAS[name]}: call update(grads, state, params, {name}=...). Within "
                    "optax.chain, pass it to the chain's update."
                )
        chosen = {name: _widen(extra[name]) if name == "value" else extra[name] for name in wanted}
        updates, new_state = update(_widen(grads), _widen(state), _widen(params), **chosen)
        return _cast_like(updates, grads), _cast_like(new_state, state)

    def checked_init(params):
        needs_numbers(params, real_only, needs_extras=bool(wanted))
        return init(params)

    if wanted:
        return ExtraArgsOptimizer(checked_init, cast(Any, update_in_dtype))
    return Optimizer(checked_init, cast(Any, lambda grads, state, params=None: update_in_dtype(grads, state, params)))


def needs_params(params: Params | None, name: str, why: str) -> None:
    """Raise ValueError where the parameters, which the method `name` `why`, were not given."""
    if params is None:
        raise ValueError(f"{name} {why} the parameters, so it needs them: call update(grads, state, params).")


def zeros_like(params: Params, dtype: Any = None) -> Params:
    """Zeros of the parameters' shapes, in `dtype` (a method's `moment_dtype`) or in theirs: see `state_dtype`."""
    return jax.tree.map(lambda w: jnp.zeros_like(w, state_dtype(jnp.result_type(w), dtype)), params)


def reals_like(params: Params, dtype: Any = None, value: Scalar = 0.0) -> Params:
    """Real numbers, as squares and absolute values are, of the parameters' shapes; else as `zeros_like`."""
    kind = lambda w: real_dtype(state_dtype(jnp.result_type(w), dtype))
    return jax.tree.map(lambda w: jnp.full_like(w, value, kind(w)), params)


def copied(params: Params, dtype: Any = None) -> Params:
    """A copy of the parameters, so that either may be donated, with the dtypes of `zeros_like`."""
    return jax.tree.map(lambda w: jnp.array(w, state_dtype(jnp.result_type(w), dtype)), params)


def step_count(*values: ScalarOrSchedule) -> jax.Array | None:
    """No steps taken so far; None where no value is a schedule, for a method that counts for schedules alone."""
    return jnp.zeros([], jnp.int32) if any(callable(value) for value in values) else None


def next_step(t: Any) -> Any:
    """One more step taken; the largest count there is stays, and so does None.

    Nor does XLA on a CPU fuse it into all that asks for it, as it would `t + 1`, and copy t for them.
    """
    return None if t is None else jnp.maximum(t, t + 1)


def value_at(value: ScalarOrSchedule, t: Any) -> Any:
    """The value of a scalar or schedule after `t` steps."""
    return value(t) if callable(value) else value


def one_minus_power(b: Scalar, t: jax.Array) -> jax.Array:
    """1 - b^t, exact to rounding also where b is a float32 just under 1 (`1 - b**t` there loses four digits)."""
    return -jnp.expm1(t * jnp.log1p(b - 1))


def _widen(tree):
    return jax.tree.map(widened, tree)


def _cast_like(tree, like):
    return jax.tree.map(lambda x, y: jnp.asarray(x).astype(jnp.result_type(y)), tree, like)
