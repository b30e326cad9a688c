"""Methods that step by nearly orthogonal matrices, against their authors' code."""

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import pair
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


def moonlight_adamw(learning_rate, b1, b2, eps, weight_decay):
    """Its eps is beside the root before bias correction: ours after it is eps / sqrt(1 - b2^t)."""
    corrected = lambda t: eps / jnp.sqrt(1 - b2 ** jnp.asarray(t + 1, float))
    adamw = optax.inject_hyperparams(jl.adamw, static_args=("mask", "moment_dtype"))
    return adamw(learning_rate, b1=b1, b2=b2, eps=corrected, weight_decay=weight_decay)


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


ROWS = {**MUON}
