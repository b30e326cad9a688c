"""Grokfast: gradients whose slow part is amplified before a method sees them."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import next_step, static_count, zeros_like
from jaxopt_lab.optimizers._base import optimizer as pair
from jaxopt_lab.optimizers._numerics import needs_numbers, wide_dtype, widened
from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import ExtraArgsOptimizer, Optimizer, Params, Scalar


class GrokfastEmaState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    mean: Params  # running mean of g
    inner: Any  # the optimizer's state


def grokfast_ema(
    optimizer: Optimizer, decay: Scalar = 0.98, gain: Scalar = 2.0, *, moment_dtype: Any = None
) -> Optimizer:
    """Grokfast with a running mean, before any optimizer (Lee et al. 2024, Grokfast-EMA, https://arxiv.org/abs/2405.20233).

        mean <- decay mean + (1 - decay) g          from the first gradient
        w <- w + update(g + gain mean, w)

    The paper calls decay alpha and gain lambda. In a sweep, write a function of its hyperparameters:

        def method(learning_rate, gain):
            return jl.grokfast_ema(jl.adamw(learning_rate), gain=gain)

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. The loss that some
            methods evaluate by themselves is not filtered.
        decay: Decay of the mean of g, in [0, 1); at 0 every gradient is multiplied by 1 + gain.
        gain: How much of the mean is added to g, >= 0; at 0 the method is the optimizer alone.
        moment_dtype: Dtype of the mean, for example "float32" for bfloat16 parameters. None keeps the parameters'
            dtype, but float32 for float16 parameters.

    Returns:
        The (init, update) pair; the mean has the shapes of the parameters.

    """

    def init(params: Params) -> GrokfastEmaState:
        return GrokfastEmaState(jnp.zeros([], jnp.int32), zeros_like(params, moment_dtype), optimizer.init(params))

    def update(grads, state, params=None, **extra):
        kept = jnp.where(state.t == 0, 0, decay)
        mean = jax.tree.map(lambda mean, g: kept * mean + (1 - kept) * g, state.mean, grads)
        filtered = jax.tree.map(lambda g, mean: g + gain * mean, grads, mean)
        updates, inner = optimizer.update(filtered, state.inner, params, **accepted(optimizer.update, extra))
        return updates, GrokfastEmaState(next_step(state.t), mean, inner)

    return pair(init, update)


class GrokfastMaState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    last: Params  # the gradients of the last steps, in a ring
    oldest: Params  # that which the next step replaces
    total: Params  # their sum
    since: Params  # sum of those since the ring last began anew
    inner: Any  # the optimizer's state


def grokfast_ma(
    optimizer: Optimizer, gain: Scalar = 5.0, *, window: int = 100, warmup: bool = True, moment_dtype: Any = None
) -> Optimizer:
    """Grokfast with a moving average, before any optimizer (Lee et al. 2024, Grokfast-MA, https://arxiv.org/abs/2405.20233).

        mean <- the mean of the last `window` gradients
        w <- w + update(g + gain mean, w)

    The authors' code adds the mean only once there are `window` gradients; in the paper, and without `warmup`, it is
    the mean of those there are. The state holds `window` times the parameters: `grokfast_ema` holds them once. The
    paper calls gain lambda; the authors' filter by sums is a gain of window times as much.

    Args:
        optimizer: Any (init, update) pair, including Optax transformations and chains of them. The loss that some
            methods evaluate by themselves is not filtered.
        gain: How much of the mean is added to g, >= 0; at 0 the method is the optimizer alone.
        window: Number of gradients in the mean.
        warmup: Whether gradients are left as they are until there are `window` of them.
        moment_dtype: Dtype of the gradients that are kept, for example "bfloat16" for half the memory. None keeps the
            parameters' dtype, but float32 for float16 parameters. Their sums are float32 or wider.

    Returns:
        The (init, update) pair; the gradients kept have the shapes of the parameters with one more axis before.

    Raises:
        ValueError: `window` is not a whole number of at least 1.

    """
    window = static_count("window", window)

    def init(params: Params) -> GrokfastMaState:
        needs_numbers(params)
        ring = jax.tree.map(lambda x: jnp.zeros((window, *x.shape), x.dtype), zeros_like(params, moment_dtype))
        sums = lambda: jax.tree.map(lambda w: jnp.zeros_like(w, wide_dtype(jnp.result_type(w))), params)
        oldest = zeros_like(params, moment_dtype)
        return GrokfastMaState(jnp.zeros([], jnp.int32), ring, oldest, sums(), sums(), optimizer.init(params))

    def update(grads, state, params=None, **extra):
        t, place = next_step(state.t), state.t % window
        kept = jax.tree.map(lambda g, ring: jnp.asarray(g).astype(ring.dtype), grads, state.last)
        put = lambda ring, g: jax.lax.dynamic_update_index_in_dim(ring, g, place, 0)
        last = jax.tree.map(put, state.last, kept)
        # Read from the new ring: before it is overwritten, XLA on a CPU would copy it for that, at every step.
        first = lambda ring: jax.lax.dynamic_index_in_dim(ring, t % window, keepdims=False)
        oldest = jax.tree.map(first, last)

        # The sum is renewed whenever the ring is full, so that rounding does not add up over a whole training.
        since = jax.tree.map(lambda since, g: since + widened(g), state.since, kept)
        slid = lambda total, g, oldest: total + (widened(g) - widened(oldest))
        total = jax.tree.map(slid, state.total, kept, state.oldest)
        full = place == window - 1
        total = jax.tree.map(lambda total, since: jnp.where(full, since, total), total, since)
        since = jax.tree.map(lambda since: jnp.where(full, 0, since), since)

        share = jnp.where(t >= window, gain, 0) if warmup else gain
        count = jnp.minimum(t, window)
        amplified = lambda g, total: (widened(g) + share * (total / count)).astype(jnp.result_type(g))
        filtered = jax.tree.map(amplified, grads, total)
        updates, inner = optimizer.update(filtered, state.inner, params, **accepted(optimizer.update, extra))
        return updates, GrokfastMaState(t, last, oldest, total, since, inner)

    return ExtraArgsOptimizer(init, cast(Any, update))
