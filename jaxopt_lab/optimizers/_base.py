"""What the methods share: dtypes kept, schedules read, 1 - b^t without cancellation."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Optimizer, Scalar, ScalarOrSchedule


def optimizer(init: Callable[..., Any], update: Callable[..., Any]) -> Optimizer:
    """Pair `init` with an `update` that computes in float32 at the least and gives back the dtypes it was given.

    A hyperparameter is never rounded to the parameters' dtype (b2 = 0.999 in bfloat16 is 1), and a traced
    hyperparameter of a wider dtype never widens updates or state.
    """

    def update_in_dtype(grads, state, params=None):
        updates, new_state = update(_widen(grads), _widen(state), _widen(params))
        return _cast_like(updates, grads), _cast_like(new_state, state)

    return Optimizer(init, cast(Any, update_in_dtype))


def value_at(value: ScalarOrSchedule, t: jax.Array) -> Any:
    """The value of a scalar or schedule after `t` steps."""
    return value(t) if callable(value) else value


def one_minus_power(b: Scalar, t: jax.Array) -> jax.Array:
    """1 - b^t, exact to rounding also where b is a float32 just under 1 (`1 - b**t` there loses four digits)."""
    return -jnp.expm1(t * jnp.log1p(b - 1))


def _widen(tree):
    def widen(x):
        x = jnp.asarray(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(widen, tree)


def _cast_like(tree, like):
    return jax.tree.map(lambda x, y: jnp.asarray(x).astype(jnp.result_type(y)), tree, like)
