"""Schedules: the learning rate as a function of the steps taken so far, scaled to the length of the trial.

Each function takes the peak of the learning rate, the trial's budget `steps` and numbers of its own, and returns a
schedule `count -> rate`, as Optax's do. The values are those of Optax's schedules of the same form, but no Python
branch depends on a number: every one may be traced, so one program serves all values of a sweep.

    schedule = jl.schedules.warmup_cosine(1e-3, steps=1000, warmup=0.05)
    factory = jl.scheduled(jl.adamw, jl.schedules.warmup_cosine)  # a sweep varies its numbers

In the formulas, t counts steps from 0, T is `steps` and `peak` the learning rate. `warmup` is the length w of the
warm-up: a share of the steps where below 1, a number of steps otherwise. `final` and `start` are shares of the peak.
Where a schedule decays, it stays at its last value from t = T on. A phase without length is over as soon as it begins,
so no number leads to a division by 0. A warm-up that is longer than the trial ends with the trial, below the peak.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.types import Scalar, Schedule


def constant(learning_rate: Scalar, *, steps: Scalar | None = None) -> Schedule:
    """Keep the learning rate.

        rate = peak

    Args:
        learning_rate: The rate of every step.
        steps: Not used; all schedules can be called alike.

    """
    return lambda count: jnp.full(jnp.shape(count), learning_rate, float)


def linear(learning_rate: Scalar, *, steps: Scalar, final: Scalar = 0.0) -> Schedule:
    """Decay linearly over the whole trial (Defazio et al. 2023, https://arxiv.org/abs/2310.07831).

        rate = peak (1 - (1 - final) t / T)

    The values are those of `optax.linear_schedule`.

    Args:
        learning_rate: The peak, at step 0.
        steps: The length of the trial.
        final: The last value, >= 0, as a share of the peak.

    """
    return lambda count: learning_rate * _mix(1, final, _progress(count, steps))


def cosine(learning_rate: Scalar, *, steps: Scalar, final: Scalar = 0.0) -> Schedule:
    """Decay along half a cosine (Loshchilov & Hutter 2017, equation 5, https://arxiv.org/abs/1608.03983).

        rate = peak (final + (1 - final) (1 + cos(pi t / T)) / 2)

    The values are those of `optax.cosine_decay_schedule`.

    Args:
        learning_rate: The peak, at step 0.
        steps: The length of the trial.
        final: The last value, >= 0, as a share of the peak.

    """
    return lambda count: learning_rate * _arc(1, final, _progress(count, steps))


def warmup_cosine(learning_rate: Scalar, *, steps: Scalar, warmup: Scalar = 0.05, final: Scalar = 0.0) -> Schedule:
    """Rise linearly from 0, then decay along half a cosine (He et al. 2019, https://arxiv.org/abs/1812.01187).

        rate = peak t / w                                                          t < w
        rate = peak (final + (1 - final) (1 + cos(pi (t - w) / (T - w))) / 2)      otherwise

    The values are those of `optax.warmup_cosine_decay_schedule`. The first step has rate 0, as there.

    Args:
        learning_rate: The peak, at the end of the warm-up.
        steps: The length of the trial, including the warm-up.
        warmup: The length of the warm-up, >= 0: a share of the steps where below 1, else a number of steps. The default
            is a twentieth, our choice.
        final: The last value, >= 0, as a share of the peak.

    """
    w = _length(warmup, steps)
    return lambda count: learning_rate * _progress(count, w) * _arc(1, final, _progress(_since(w, count), steps - w))


def wsd(
    learning_rate: Scalar, *, steps: Scalar, warmup: Scalar = 0.05, decay: Scalar = 0.2, final: Scalar = 0.0
) -> Schedule:
    """Warm up, stay, decay: a trapezoid (Hägele et al. 2024, Section 3, https://arxiv.org/abs/2405.18392).

        rate = peak min(t / w, 1, 1 - (1 - final) (t - (T - d)) / d)      d = decay T

    Trials of several lengths can share all steps before the decay. The values are those of Optax's linear, constant and
    linear schedules, joined. A warm-up that is longer than T - d ends where it meets the decay.

    Args:
        learning_rate: The peak, between warm-up and decay.
        steps: The length of the trial, including both.
        warmup: The length of the warm-up, >= 0: a share of the steps where below 1, else a number of steps. The default
            is a twentieth, our choice.
        decay: The length of the decay as a share of the steps, in [0, 1]. The default is our choice.
        final: The last value, >= 0, as a share of the peak.

    """
    w, d = _length(warmup, steps), decay * steps
    fall = lambda count: _mix(1, final, _progress(_since(steps - d, count), d))
    return lambda count: learning_rate * jnp.minimum(_progress(count, w), fall(count))


def rsqrt(learning_rate: Scalar, *, steps: Scalar, warmup: Scalar = 0.05) -> Schedule:
    """Rise linearly, then fall as 1 / sqrt(t) (Vaswani et al. 2017, equation 3, https://arxiv.org/abs/1706.03762).

        rate = peak min(t / w, sqrt(w / t))      in the square root, w is at least 1

    The decay does not depend on the length of the trial where `warmup` is a number of steps. Without a warm-up, the
    steps 0 and 1 have the peak.

    Args:
        learning_rate: The peak, at the end of the warm-up.
        steps: The length of the trial; read only where `warmup` is a share of it.
        warmup: The length of the warm-up, >= 0: a share of the steps where below 1, else a number of steps. The default
            is a twentieth, our choice.

    """
    w = _length(warmup, steps)
    longest = jnp.maximum(w, 1.0)
    fall = lambda count: jnp.sqrt(longest / jnp.maximum(jnp.asarray(count, float), longest))
    return lambda count: learning_rate * _progress(count, w) * fall(count)


def exponential(learning_rate: Scalar, *, steps: Scalar, final: Scalar = 0.01) -> Schedule:
    """Decay by the same factor in every step (Szegedy et al. 2015 in stages, https://arxiv.org/abs/1409.4842).

        rate = peak final^(t / T)

    The values are those of `optax.exponential_decay` with `decay_rate=final` and `transition_steps=steps`, bounded by
    the last one.

    Args:
        learning_rate: The peak, at step 0.
        steps: The length of the trial.
        final: The last value, > 0, as a share of the peak. The default is our choice.

    """
    return lambda count: learning_rate * jnp.power(final, _progress(count, steps))


def one_cycle(
    learning_rate: Scalar, *, steps: Scalar, warmup: Scalar = 0.3, start: Scalar = 0.04, final: Scalar = 4e-6
) -> Schedule:
    """Rise and fall once (Smith & Topin 2018, https://arxiv.org/abs/1708.07120), both along half a cosine.

        rate = peak (1 - (1 - start) (1 + cos(pi t / w)) / 2)                      t < w
        rate = peak (final + (1 - final) (1 + cos(pi (t - w) / (T - w))) / 2)      otherwise

    The values are those of `optax.cosine_onecycle_schedule`, which rounds w down to a whole number. The defaults are
    its own: its `div_factor` is 1 / start, its `final_div_factor` start / final.

    Args:
        learning_rate: The peak, at the end of the rise.
        steps: The length of the trial.
        warmup: The length of the rise, >= 0: a share of the steps where below 1, else a number of steps.
        start: The first value, >= 0, as a share of the peak.
        final: The last value, >= 0, as a share of the peak.

    """
    w = _length(warmup, steps)
    rise = lambda count: _arc(start, 1, _progress(count, w))
    fall = lambda count: _arc(1, final, _progress(_since(w, count), steps - w))
    return lambda count: learning_rate * jnp.where(_since(w, count) < 0, rise(count), fall(count))


def _length(amount: Scalar, steps: Scalar) -> Any:
    """Return a number of steps that is given as a share where below 1."""
    return jnp.where(amount < 1, amount * steps, amount)


def _since(first: Any, count: Any) -> jax.Array:
    return jnp.asarray(count, float) - first


def _progress(count: Any, length: Any) -> jax.Array:
    """Return how much of a phase of this length is over, from 0 to 1, `count` steps after its beginning."""
    t, some = jnp.asarray(count, float), jnp.asarray(length) > 0
    return jnp.where(some, jnp.clip(t / jnp.where(some, length, 1), 0, 1), jnp.where(t >= 0, 1.0, 0.0))


def _mix(first: Scalar, last: Scalar, progress: jax.Array) -> jax.Array:
    """Go from the first value to the last along a line."""
    return (first - last) * (1 - progress) + last


def _arc(first: Scalar, last: Scalar, progress: jax.Array) -> jax.Array:
    """Go from the first value to the last along half a cosine."""
    return (first - last) * ((1 + jnp.cos(jnp.pi * progress)) / 2) + last
