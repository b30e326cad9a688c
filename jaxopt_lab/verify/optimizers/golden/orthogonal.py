"""Methods that step by nearly orthogonal matrices, against their authors' code."""

import inspect
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import pair
from jaxopt_lab.verify.optimizers.golden.problems import grid
from jaxopt_lab.verify.optimizers.golden.row import Row


def turned(optimizer):
    """The optimizer on matrices as (inputs, outputs); PyTorch has them as (outputs, inputs), and so has the record."""
    turn = lambda tree: jax.tree.map(jnp.transpose, tree)

    def update(grads, state, params=None):
        updates, state = optimizer.update(turn(grads), state, turn(params))
        return turn(updates), state

    return pair(lambda params: optimizer.init(turn(params)), update)


def authors_muon(learning_rate, beta=0.95, eps=1e-7, weight_decay=0.0, beside=None, **flags):
    """Muon without bias correction, and `beside` it what steps elsewhere; by default nothing does."""
    muon = jl.muon(learning_rate, beta, eps, weight_decay, bias_correction=False, **flags)
    label = lambda params: jax.tree.map(lambda w: "muon" if w.ndim == 2 else "beside", params)
    return turned(optax.partition({"muon": muon, "beside": beside or optax.set_to_zero()}, label))


def eps_before_correction(eps, b2):
    """Where eps is beside the root before bias correction: ours after it is eps / sqrt(1 - b2^t)."""
    return lambda t: eps / jnp.sqrt(1 - b2 ** jnp.asarray(t + 1, float))


def moonlight_adamw(learning_rate, b1, b2, eps, weight_decay):
    adamw = optax.inject_hyperparams(jl.adamw, static_args=("mask", "moment_dtype"))
    return adamw(learning_rate, b1=b1, b2=b2, eps=eps_before_correction(eps, b2), weight_decay=weight_decay)


# Moonlight sums gradients where Jordan averages them: the same direction, of a length that only eps sees.
summed = lambda beta: 1e-7 * (1 - beta)
# PyTorch divides by max(|u|, eps), and |u| is never less here.
clamped = 0.0

MUON = {
    "muon/class_defaults": Row("muon", lambda: authors_muon(0.02)),
    "muon/class_decay_low_momentum": Row("muon", lambda: authors_muon(0.03, 0.9, weight_decay=0.1)),
    "muon/update_function_no_nesterov": Row(
        "muon", lambda: authors_muon(0.025, 0.9, weight_decay=0.05, nesterov=False, ns_steps=6)
    ),
    "muon/muon_with_aux_adam": Row(
        "muon",
        lambda: authors_muon(0.02, weight_decay=0.01, beside=jl.adamw(0.003, 0.9, 0.95, 1e-10, weight_decay=0.01)),
    ),
    "moonlight_muon/defaults_lr0.02": Row(
        "muon",
        lambda: authors_muon(
            0.02, 0.95, summed(0.95), 0.1, moonlight_adamw(0.02, 0.9, 0.95, 1e-8, 0.1), consistent_rms=0.2
        ),
    ),
    "moonlight_muon/no_nesterov_ns6": Row(
        "muon",
        lambda: authors_muon(
            0.03,
            0.8,
            summed(0.8),
            0.02,
            moonlight_adamw(0.03, 0.8, 0.99, 1e-5, 0.02),
            consistent_rms=0.2,
            nesterov=False,
            ns_steps=6,
        ),
    ),
    "torch_muon/defaults_lr0.02": Row("muon", lambda: authors_muon(0.02, 0.95, clamped, 0.1)),
    "torch_muon/match_rms_adamw_no_nesterov": Row(
        "muon", lambda: authors_muon(0.03, 0.9, clamped, 0.02, consistent_rms=0.2, nesterov=False, ns_steps=6)
    ),
    "torch_muon/other_coefficients": Row(
        "muon", lambda: authors_muon(0.02, 0.9, clamped, ns_coeffs=(2.0, -1.5, 0.5), ns_steps=8)
    ),
}


# microsoft/dion sums gradients as Moonlight does: its eps times 1 - beta is ours.
MUON_OF_OTHERS = {
    "muon_dion/defaults_lr0.02": Row(
        "muon",
        lambda: authors_muon(
            0.02, 0.95, 1e-8 * 0.05, 0.01, nesterov=False, scaling="spectral_norm", ns_coeffs="polar_express"
        ),
    ),
    "muon_dion/nesterov_rms_cautious_ns": Row(
        "muon",
        lambda: authors_muon(0.03, 0.8, 1e-6 * 0.2, 0.3, consistent_rms=0.2, cautious=True, ns_coeffs="dion"),
    ),
    "muon_dion/cautious_polar_no_lr_adjustment": Row(
        "muon",
        lambda: authors_muon(0.03, 0.9, 1e-8 * 0.1, 0.5, scaling=None, cautious=True, ns_coeffs="polar_express"),
    ),
    "muon_polar_express/lr0.02": Row("muon", lambda: authors_muon(0.02, 0.95, 1e-6, ns_coeffs="polar_express")),
    "muon_polar_express/decay_low_momentum": Row(
        "muon", lambda: authors_muon(0.025, 0.85, 1e-6, 0.1, ns_coeffs="polar_express")
    ),
}


def alone(factory, *values, **flags):
    """A method of ours for the matrices of the record, where biases do not move."""
    label = lambda params: jax.tree.map(lambda w: "matrix" if w.ndim == 2 else "still", params)
    return turned(optax.partition({"matrix": factory(*values, **flags), "still": optax.set_to_zero()}, label))


def nanogpts(rate, beta, b2, decay, adam_rate, adam_b1, adam_b2, adam_eps, adam_decay):
    """modded-nanogpt's NorMuon; the decays given are times the learning rate, which its code multiplies by twice."""
    structural = [p.name for p in inspect.signature(jl.normuon).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return optax.inject_hyperparams(jl.normuon, static_args=structural)(
        rate,
        beta=beta,
        b2=b2,
        eps=1e-6,
        norm_eps=0.0,  # in its place v is at least 1e-10, and here always more
        weight_decay=decay,
        adam_learning_rate=adam_rate,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        adam_eps=eps_before_correction(adam_eps, adam_b2),
        adam_weight_decay=adam_decay,
        ns_coeffs="polar_express",
        shorter_side=True,
        cautious=True,
        decay_by_shape=True,
    )


def banked(make):
    """A method whose matrix W1 is two, the second of which has twice the learning rate."""
    once, twice = turned(make(1)), turned(make(2))
    label = lambda w: {name: "once" if name != "W1 second" else "twice" for name in w}
    inner: Any = optax.partition({"once": once, "twice": twice}, label)
    cut = lambda w: {**w, "W1": w["W1"][:3], "W1 second": w["W1"][3:]}

    def update(grads, state, params=None):
        found, state = inner.update(cut(grads), state, cut(params))
        steps = cast(dict[str, jax.Array], found)
        second = steps.pop("W1 second")
        return {**steps, "W1": jnp.concatenate([steps["W1"], second])}, state

    return pair(lambda params: inner.init(cut(params)), update)


NORMUON = {
    "normuon/defaults": Row("normuon", lambda: alone(jl.normuon, 0.02)),
    "normuon/decay_other_betas": Row("normuon", lambda: alone(jl.normuon, 0.03, 0.9, 0.8, weight_decay=0.1)),
    "normuon_dion/defaults_lr0.02": Row(
        "normuon",
        lambda: alone(
            partial(jl.normuon, nesterov=False, scaling="spectral_norm", ns_coeffs="polar_express"),
            *(0.02, 0.95, 0.95, 1e-8 * 0.05, 1e-8, 0.01),
        ),
    ),
    "normuon_dion/nesterov_rms_cautious_ns": Row(
        "normuon",
        lambda: alone(
            partial(jl.normuon, consistent_rms=0.2, cautious=True, ns_coeffs="dion"),
            *(0.03, 0.9, 0.8, 1e-6 * 0.1, 1e-8, 0.2),
        ),
    ),
    "normuon_nanogpt/current_defaults": Row(
        "normuon",
        lambda: turned(nanogpts(0.023, 0.95, 0.9, 1.2 * 0.023, 0.008, 0.9, 0.99, 1e-10, 0.005 * 0.008)),
    ),
    "normuon_nanogpt/other_values_and_multipliers": Row(
        "normuon",
        lambda: turned(
            nanogpts(1.5 * 0.02, 0.9, 0.8, 0.5 * 20.0 * 0.02, 0.8 * 0.01, 0.5, 0.95, 1e-6, 20.0 * 5.0 * 0.8 * 0.01)
        ),
    ),
    "normuon_nanogpt/bank_of_two_second_lr_doubled": Row(
        "normuon",
        lambda: banked(
            lambda times: nanogpts(times * 0.015, 0.9, 0.95, 8.0 * 0.015, 0.01, 0.75, 0.95, 1e-10, 0.1 * 0.01)
        ),
    ),
}

ADAMUON = {
    "adamuon/defaults": Row("adamuon", lambda: alone(jl.adamuon, 0.02)),
    "adamuon/no_nesterov_decay": Row(
        "adamuon", lambda: alone(jl.adamuon, 0.03, 0.8, norm_eps=1e-4, weight_decay=0.1, nesterov=False, ns_steps=6)
    ),
}

sines = {"start": lambda key, shape: grid(lambda i, j: 1.2 * np.sin(1 + 2 * i + 5 * j + 3 * i * j), *shape)}
newton_schulz = {"ns_coeffs": "dion"}
unscaled = {"scaling": None}

DION = {
    "dion/reference_defaults_lr0.02": Row("dion", lambda: alone(jl.dion, 0.02, **sines)),
    "dion/reference_half_rank_qr": Row(
        "dion", lambda: alone(jl.dion, 0.03, 0.9, 1e-4, 0.1, rank_fraction=0.5, power_iters=2, **sines)
    ),
    "dion/simple_rank2": Row("dion", lambda: alone(jl.dion, 0.02, 0.9, 1e-6, 0.05, rank=2, taller_side=False, **sines)),
    "dion2/defaults_lr0.02": Row("dion2", lambda: alone(jl.dion2, 0.02)),
    "dion2/half_rms_ns_decay": Row(
        "dion2", lambda: alone(jl.dion2, 0.03, 0.8, 1e-6, 0.2, consistent_rms=0.2, fraction=0.5, **newton_schulz)
    ),
    "dion2/full_no_lr_adjustment": Row(
        "dion2", lambda: alone(jl.dion2, 0.03, 0.9, weight_decay=0.05, fraction=1.0, **unscaled)
    ),
    "nordion2/defaults_lr0.02": Row("nordion2", lambda: alone(jl.nordion2, 0.02)),
    "nordion2/half_rms_ns_decay": Row(
        "nordion2",
        lambda: alone(
            partial(jl.nordion2, consistent_rms=0.2, fraction=0.5, **newton_schulz), 0.03, 0.8, 0.8, 1e-6, 1e-8, 0.2
        ),
    ),
    "nordion2/full_no_lr_adjustment": Row(
        "nordion2", lambda: alone(jl.nordion2, 0.03, 0.9, 0.9, weight_decay=0.05, fraction=1.0, **unscaled)
    ),
}


def scions(learning_rate, beta, first, second, vectors, scales, **flags):
    """Scion with a norm and a scale for each kind of parameter of the record."""
    names = ("W1", "W2", "b1", "b2")
    norms = dict(zip(names, (first, second, vectors, vectors), strict=True))
    scale = dict(zip(names, (*scales, scales[-1]), strict=True))
    return turned(jl.scion(learning_rate, beta, scale, norms=norms, **flags))


free = {"weight_decay": 0.0}

SCION = {
    "scion/spectral_then_sign_constrained": Row(
        "scion", lambda: scions(0.02, 0.9, "spectral", "sign", "rms", (3.0, 6.0, 1.0))
    ),
    "scion/auto_unconstrained": Row(
        "scion", lambda: scions(0.01, 0.5, "auto", "auto", "auto", (1.0, 1.5, 0.5), **free)
    ),
    "scion/spectral_max_and_unnormalized_sign": Row(
        "scion",
        lambda: scions(0.01, 0.0, "spectral_max", "sign_unscaled", "rms", (1.0, 0.7, 0.5), ns_steps=6, **free),
    ),
    "scion/colnorm_rownorm": Row("scion", lambda: scions(0.01, 0.8, "columns", "rows", "rms", (0.5, 1.0, 0.3), **free)),
}

for_all = {"matrices_alone": False}

MARS = {
    "mars/defaults_approx": Row("mars", lambda: jl.mars(0.01)),
    "mars/approx_1d_by_mars": Row("mars", lambda: jl.mars(0.02, 0.9, 0.95, 1e-4, 0.05, 0.1, **for_all)),
    "mars/exact_two_half_batches": Row(
        "mars", lambda: jl.mars(0.01, 0.9, 0.99, 1e-8, 0.01, 0.2, exact=True, **for_all)
    ),
    "mars/approx_two_half_batches": Row("mars", lambda: jl.mars(0.01, 0.9, 0.99, 1e-8, 0.01, 0.2, **for_all)),
}

ROWS = {**MUON, **MUON_OF_OTHERS, **NORMUON, **ADAMUON, **DION, **SCION, **MARS}
