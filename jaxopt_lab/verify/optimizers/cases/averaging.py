"""Mixtures and averages, of gradients or of parameters, beside their twins."""

from functools import wraps
from typing import Any

import jax.numpy as jnp
import optax
from optax import contrib

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import (
    Bounds,
    Case,
    corrected,
    crawl,
    halving,
    matrices,
    rate,
    slow,
    slow_halving,
)


@wraps(contrib.ademamix)
def warmed_ademamix(learning_rate, b1=0.9, b3=0.9999, alpha=5.0, warmup_steps=None, **options):
    """Optax's with the paper's warm-up as schedules; they count from 0, the paper from 1."""
    share = lambda t: jnp.minimum((t + 1) / warmup_steps, 1)
    half_life = lambda b: jnp.log(0.5) / jnp.log(b + 1e-8)
    between = lambda t: 0.5 ** (1 / ((1 - share(t)) * half_life(b1) + share(t) * half_life(b3)))
    slow_decay = lambda t: jnp.where(share(t) < 1, between(t), b3)
    return contrib.ademamix(learning_rate, b1, b3=slow_decay, alpha=lambda t: share(t) * alpha, **options)


@wraps(contrib.adopt)
def decayed_adopt(learning_rate, weight_decay, mask=None, **options):
    """Optax's with decoupled decay, from the second step on as the authors'."""
    later = lambda t: jnp.where(t > 0, weight_decay, 0.0)
    return optax.chain(
        contrib.scale_by_adopt(**options),
        optax.add_decayed_weights(later, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


@wraps(contrib.acprop)
def centred_acprop(learning_rate, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, weight_decay=0.0, mask=None):
    """Optax's with the paper's deviation: g - m is b1 times g - (m before the step), whose root Optax divides by.

    And with the authors' first step, undivided.
    """
    return optax.chain(
        contrib.scale_by_acprop(b1, b2, eps / b1, eps_root / b1**2),
        optax.scale_by_schedule(lambda t: jnp.where(t == 0, 1 + eps / b1, 1 / b1)),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def _averaged(steps_of, learning_rate, warmup_steps, **options):
    """Optax's averaging where steps and weights see the same learning rate, the first of the warm-up above 0."""
    base: Any = learning_rate if callable(learning_rate) else lambda t: learning_rate
    share = lambda t: 1.0 if warmup_steps is None else jnp.minimum(jnp.asarray(t + 1, float) / warmup_steps, 1)
    at = lambda t: base(t) * share(t)
    return contrib.schedule_free(steps_of(at), lambda count: at(count - 1), **options)  # its count is from 1


@wraps(contrib.schedule_free_sgd)
def averaged_sgd(learning_rate=1.0, warmup_steps=None, weight_decay=0.0, **options):
    decayed = lambda at: optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(at))
    return _averaged(decayed, learning_rate, warmup_steps, **options)


@wraps(contrib.schedule_free_adamw)
def averaged_adamw(
    learning_rate=0.0025, warmup_steps=None, b2=0.999, eps=1e-8, weight_decay=0.0, correction_in_rate=False, **options
):
    correct = lambda t: jnp.sqrt(1 - b2 ** (t + 1)) if correction_in_rate else 1.0
    scaled = lambda at: optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=not correction_in_rate),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(at),
    )
    return _averaged(scaled, lambda t: learning_rate * correct(t), warmup_steps, **options)


warmup = {"warmup_steps": "Optax takes schedules for b3 and alpha instead"}
decay = {
    "weight_decay": "Optax has none",
    "mask": "Optax has no decay",
    "clip_value_fn": "None is Optax's function",
}
no_cancelling = Bounds(
    step64=1e-9,
    step32=2e-4,
    free32=1e-4,  # ours ends 9e-7 from its own float64, Optax's 9e-6 from its
    why="Optax's update is a difference of parameters and carries their rounding; ours is none",
)
other_roundings = Bounds(step64=1e-11, why="b3 comes by other roundings, and 1 - b3 magnifies them")
exact_complement = Bounds(step32=2e-5, why="of 1 - b2 = 1e-4, Optax has four digits in float32; ours has seven")
averaging = {"weight_step_power": "Optax has not the authors' r"}
fused = averaging | {"correction_in_rate": "Optax has not the paper's way"}

CASES = {
    "ademamix": Case(
        jl.ademamix,
        contrib.ademamix,
        slow,
        bounds=corrected,
        differs=warmup,
        convention="As Optax: no warm-up by default. The paper always warms up (`warmup_steps`).",
    ),
    "ademamix values": Case(
        jl.ademamix,
        contrib.ademamix,
        slow | {"b1": 0.8, "b2": 0.95, "b3": 0.98, "alpha": 3.0, "eps": 1e-3, "eps_root": 1e-4} | {"weight_decay": 0.1},
        differs=warmup,
    ),
    "ademamix mask": Case(jl.ademamix, contrib.ademamix, slow | {"weight_decay": 0.5}, {"mask": matrices}),
    "ademamix schedule": Case(
        jl.ademamix, contrib.ademamix, {"learning_rate": slow_halving, "alpha": halving, "eps": 1e-3}
    ),
    "ademamix warmup": Case(
        jl.ademamix,
        warmed_ademamix,
        crawl | {"b3": 0.99, "alpha": 8.0, "warmup_steps": 150.0},
        bounds=other_roundings,
        differs=warmup,
    ),
    "simplified_ademamix": Case(
        jl.simplified_ademamix,
        contrib.simplified_ademamix,
        crawl,
        convention="As Optax; the authors' code can warm b1 up as well.",
    ),
    "simplified_ademamix values": Case(
        jl.simplified_ademamix,
        contrib.simplified_ademamix,
        crawl | {"b1": 0.8, "b2": 0.9, "alpha": 3.0, "eps": 1e-2, "eps_root": 1e-4, "weight_decay": 0.1},
    ),
    "simplified_ademamix mask": Case(
        jl.simplified_ademamix, contrib.simplified_ademamix, crawl | {"weight_decay": 0.5}, {"mask": matrices}
    ),
    "simplified_ademamix schedule": Case(
        jl.simplified_ademamix, contrib.simplified_ademamix, {"learning_rate": slow_halving, "b1": 0.9, "eps": 1e-2}
    ),
    "adopt": Case(
        jl.adopt,
        contrib.adopt,
        slow,
        bounds=exact_complement,
        differs=decay,
        real_only=True,
        convention=(
            "As the paper and its authors: nothing moves in the first step. This includes decay, which Optax "
            "does not offer."
        ),
    ),
    "adopt values": Case(jl.adopt, contrib.adopt, slow | {"b1": 0.8, "b2": 0.95, "eps": 0.1}, differs=decay),
    "adopt nesterov": Case(jl.adopt, contrib.adopt, slow | {"eps": 0.1}, {"nesterov": True}, differs=decay),
    "adopt unclipped": Case(jl.adopt, contrib.adopt, slow | {"eps": 0.1}, {"use_clipping": False}, differs=decay),
    "adopt clipped at 1": Case(
        jl.adopt, contrib.adopt, slow | {"eps": 0.1}, {"clip_value_fn": lambda t: 1.0}, differs=decay
    ),
    "adopt decay": Case(
        jl.adopt, decayed_adopt, slow | {"eps": 0.1, "weight_decay": 0.5}, {"mask": matrices}, differs=decay
    ),
    "adopt schedule": Case(jl.adopt, contrib.adopt, {"learning_rate": slow_halving, "eps": 0.1}, differs=decay),
    "acprop": Case(
        jl.acprop,
        centred_acprop,
        crawl,
        bounds=corrected,
        mended="with the paper's deviation and the authors' first step",
        convention="As the authors' code: the first step is not divided.",
    ),
    "acprop values": Case(
        jl.acprop,
        centred_acprop,
        slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-2, "eps_root": 1e-4, "weight_decay": 0.1},
    ),
    "acprop mask": Case(jl.acprop, centred_acprop, slow | {"eps_root": 1e-3, "weight_decay": 0.5}, {"mask": matrices}),
    "acprop schedule": Case(jl.acprop, centred_acprop, {"learning_rate": slow_halving, "eps_root": 1e-3}),
    "schedule_free_sgd": Case(
        jl.schedule_free_sgd,
        contrib.schedule_free_sgd,
        rate,
        bounds=no_cancelling,
        differs=averaging,
        convention="As Optax: no warm-up by default. The paper requires one (`warmup_steps`).",
    ),
    "schedule_free_sgd values": Case(
        jl.schedule_free_sgd,
        averaged_sgd,
        rate | {"warmup_steps": 50.0, "b1": 0.7, "weight_decay": 0.1, "weight_lr_power": 1.0},
        bounds=no_cancelling,
        differs=averaging,
    ),
    "schedule_free_sgd schedule": Case(
        jl.schedule_free_sgd,
        averaged_sgd,
        {"learning_rate": halving, "weight_decay": 0.1},
        bounds=no_cancelling,
        differs=averaging,
    ),
    "schedule_free_adamw": Case(
        jl.schedule_free_adamw,
        contrib.schedule_free_adamw,
        slow,
        bounds=no_cancelling,
        differs=fused,
        convention=(
            "As Optax and the authors' code: v is corrected. In the paper the correction multiplies the "
            "learning rate (`correction_in_rate=True`). No warm-up by default."
        ),
    ),
    "schedule_free_adamw values": Case(
        jl.schedule_free_adamw,
        averaged_adamw,
        slow
        | {"warmup_steps": 50.0, "b1": 0.7, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.1}
        | {"weight_lr_power": 1.0},
        bounds=no_cancelling,
        differs=fused,
    ),
    "schedule_free_adamw as the paper": Case(
        jl.schedule_free_adamw,
        averaged_adamw,
        slow | {"warmup_steps": 50.0, "eps": 1e-3, "weight_decay": 0.1},
        {"correction_in_rate": True},
        bounds=no_cancelling,
        differs=fused,
    ),
}
