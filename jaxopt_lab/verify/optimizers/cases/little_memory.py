"""Methods that keep little, or little more than a sum, beside their twins."""

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import Bounds, Case, halving, matrices, pair, rate, slow, slow_halving, steady

# Adafactor

of_two = {"min_dim_size_to_factor": 2}


def adafactor_twin(
    learning_rate=None,
    decay_rate=0.8,
    decay_offset=0,
    clipping_threshold=1.0,
    momentum=None,
    weight_decay_rate=None,
    eps=1e-30,
    min_scale=1e-3,
    *,
    min_dim_size_to_factor=128,
    multiply_by_parameter_scale=True,
    factored=True,
    weight_decay_mask=None,
):
    """Optax's parts, put together as its `adafactor` does; but the decay of v, there float32 always, is not rounded."""
    decay = lambda t, rate: 1 - jnp.asarray(t + 1, float) ** -rate
    off = optax.identity()
    rate = off if learning_rate is None else optax.scale_by_learning_rate(learning_rate, flip_sign=False)
    decayed = off
    if weight_decay_rate is not None:
        decayed = optax.add_decayed_weights(weight_decay_rate, mask=weight_decay_mask)
    return optax.chain(
        optax.scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps, decay),
        off if clipping_threshold is None else optax.clip_by_block_rms(clipping_threshold),
        rate,
        optax.scale_by_param_block_rms(min_scale) if multiply_by_parameter_scale else off,
        off if momentum is None else optax.ema(momentum, debias=False),
        decayed,
        optax.scale(-1.0),
    )


ADAFACTOR = {
    "adafactor": Case(
        jl.adafactor,
        adafactor_twin,
        slow,
        bounds=steady,
        mended="with the decay of v in full precision",
        not_traced={
            "min_dim_size_to_factor": "it sets the shapes of the state",
        },
        convention=(
            "As Optax: the learning rate is free and eps is a part of v. In PyTorch the step is at most 1 / "
            "sqrt(t), eps is a floor under the root and decay is multiplied by the learning rate; schedules "
            "express this."
        ),
    ),
    "adafactor factored": Case(jl.adafactor, adafactor_twin, slow, of_two, steady, thorough=True),
    "adafactor values": Case(
        jl.adafactor,
        adafactor_twin,
        slow
        | {"decay_rate": 0.6, "decay_offset": -3.0, "clipping_threshold": 1.5, "momentum": 0.8}
        | {"weight_decay_rate": 1e-3, "eps": 1e-4},
        of_two,
    ),
    "adafactor plain": Case(
        jl.adafactor,
        adafactor_twin,
        slow | {"clipping_threshold": None},
        {"multiply_by_parameter_scale": False, "factored": False},
    ),
    "adafactor no rate": Case(jl.adafactor, adafactor_twin, {"eps": 1.0}, of_two),
    "adafactor mask": Case(
        jl.adafactor, adafactor_twin, slow | {"weight_decay_rate": 1e-2}, {"weight_decay_mask": matrices}
    ),
    "adafactor schedule": Case(
        jl.adafactor,
        adafactor_twin,
        {"learning_rate": slow_halving, "weight_decay_rate": optax.linear_schedule(1e-2, 0.0, 100)},
        of_two,
    ),
}

# SM3


def sm3_twin(learning_rate, momentum=0.9, eps=1e-8):
    """Optax's with schedules and an eps, and scalars as vectors of one element: of those it knows none."""
    scaled = optax.chain(
        optax.scale_by_sm3(momentum, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )
    raised = lambda tree: jax.tree.map(jnp.atleast_1d, tree)

    def update(grads, state, params=None):
        updates, state = scaled.update(raised(grads), state)
        return jax.tree.map(lambda u, g: u.reshape(g.shape), updates, grads), state

    return pair(lambda params: scaled.init(raised(params)), update)


SM3 = {
    "sm3": Case(
        jl.sm3,
        sm3_twin,
        rate,
        mended="with scalars as vectors of one element",
        real_only=True,
        convention="As Optax, except that scalars are supported and that eps is an argument (1e-8 in Optax).",
    ),
    "sm3 values": Case(jl.sm3, sm3_twin, rate | {"momentum": 0.5, "eps": 1e-3}),
    "sm3 schedule": Case(jl.sm3, sm3_twin, {"learning_rate": halving}),
}

# MADGRAD

averaged = Bounds(
    step64=1e-7, step32=1e-4, free32=1e-4, why="Optax's step is the difference of two iterates, which cancels"
)
optax_l2 = {"decouple_decay": "an option of the authors' code"}


def madgrad_twin(learning_rate, momentum=0.9, weight_decay=0.0, eps=1e-6):
    """Optax's, with a learning rate that makes up for its root of t, which is float32 always."""

    def rate(t):
        now = jnp.asarray(learning_rate(t) if callable(learning_rate) else learning_rate, float)
        return (now + eps) * jnp.sqrt(jnp.asarray(t + 1, float)) / jnp.sqrt(t + 1) - eps

    return optax.contrib.madgrad(rate, momentum, weight_decay, eps)


def madgrad_decoupled(learning_rate, momentum=0.9, weight_decay=0.0, eps=1e-6, *, decouple_decay):
    """The same without decay, and what the authors' code takes off afterwards."""
    assert decouple_decay
    inner = madgrad_twin(learning_rate, momentum, 0.0, eps)

    def update(grads, state, params=None):
        updates, state = inner.update(grads, state, params)
        off = (learning_rate + eps) * weight_decay
        return jax.tree.map(lambda u, w: u - off * w, updates, params), state

    return pair(inner.init, update)


MADGRAD = {
    "madgrad": Case(
        jl.madgrad,
        madgrad_twin,
        slow,
        bounds=averaged,
        differs=optax_l2,
        mended="with the root of t in full precision",
        convention=(
            "As Optax and the authors: eps is added to the learning rate. Decay is L2 by default; the "
            "authors' other kind is `decouple_decay=True`."
        ),
    ),
    "madgrad values": Case(
        jl.madgrad, madgrad_twin, slow | {"momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3}, bounds=averaged
    ),
    "madgrad schedule": Case(jl.madgrad, madgrad_twin, {"learning_rate": slow_halving}, bounds=averaged),
    "madgrad decoupled": Case(
        jl.madgrad, madgrad_decoupled, slow | {"weight_decay": 0.1}, {"decouple_decay": True}, averaged
    ),
}

CASES = {**ADAFACTOR, **SM3, **MADGRAD}
