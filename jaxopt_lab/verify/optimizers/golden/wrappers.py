"""Wrappers around our methods, against their authors' code around PyTorch 2.13's.

A method that is a special case of a wrapper (`cautious_adamw`) shares its records with it.
"""

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import pair
from jaxopt_lab.verify.optimizers.golden.orthogonal import turned
from jaxopt_lab.verify.optimizers.golden.row import Row


def decaying(step, optimizer):
    """Weight decay beside the optimizer's own step."""
    return optax.chain(optimizer, optax.add_decayed_weights(-step))


def early_eps_adam(learning_rate, b1=0.9, b2=0.999, eps=1e-6):
    """Adam with eps added to the root before its bias correction: ours after it is eps / sqrt(1 - b2^t)."""
    corrected = lambda t: eps / jnp.sqrt(1 - b2 ** jnp.asarray(t + 1, float))
    return optax.inject_hyperparams(jl.adam, static_args="moment_dtype")(learning_rate, b1, b2, corrected)


def eighths(learning_rate):
    """The warm-up that the caller of the recorded runs made."""
    return lambda t: learning_rate * jnp.minimum((t + 1.0) / 8, 1)


def from_call(decay, calls):
    """The decay of PyTorch's average, which begins at its first call: `calls` gives its number, negative before."""
    return lambda t: jnp.where(calls(t + 1) > 0, decay(calls(t + 1)), jnp.where(calls(t + 1) == 0, 0.0, 1.0))


def every_third_step_from_the_sixth(t):
    """Between two calls, nothing is averaged."""
    return jnp.where((t >= 6) & (t % 3 > 0), -1, t // 3 - 2)


def pulled_back(learning_rate, alpha, period):
    """Momentum as the authors' Lookahead pulls it back.

    What it stores is the very tensor that it trains with, so all that is left of the average is a factor.
    """
    momentum = jl.momentum(learning_rate)

    def update(grads, state, params=None):
        t, inner = state
        updates, inner = momentum.update(grads, inner, params)
        factor = jnp.where(t + 1 == period, alpha, jnp.where((t + 1) % period == 0, alpha * (2 - alpha), 1))
        scaled = lambda x: factor * x if jnp.issubdtype(x.dtype, jnp.floating) else x
        return updates, (t + 1, jax.tree.map(scaled, inner))

    init = lambda params: (jnp.zeros([], jnp.int32), momentum.init(params))
    return jl.lookahead(pair(init, update), alpha, period)


def only_matrices(optimizer):
    """The recorded runs train nothing else."""
    label = lambda params: jax.tree.map(lambda w: "trained" if w.ndim == 2 else "frozen", params)
    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, label)


def authors_muon(beta):
    """MuonH's: another polynomial, twelve times."""
    return jl.muon(1.0, beta, 1e-7, ns_coeffs=(2.0, -1.5, 0.5), ns_steps=12, bias_correction=False)


def authors_normuon(beta, b2):
    """NorMuonH's, where its eps, a lower bound of v, has no effect: v is never so small."""
    return jl.normuon(1.0, beta, b2, norm_eps=0.0, ns_coeffs=(2.0, -1.5, 0.5), ns_steps=12, shorter_side=True)


def floored_normuon(beta, b2, eps):
    """NorMuonH's, where its eps has an effect, which `normuon` adds to the root of v: by hand from Muon's steps."""
    muon = turned(authors_muon(beta))
    shorter = lambda o: 1 if o.shape[0] >= o.shape[1] else 0

    def update(grads, state, params=None):
        o, inner = muon.update(grads, state[1], params)
        mean = lambda v, o: b2 * v + (1 - b2) * jnp.mean(o**2, shorter(o), keepdims=True)
        v = jax.tree.map(mean, state[0], o)
        return jax.tree.map(lambda o, v: o / jnp.sqrt(jnp.maximum(v, eps)), o, v), (v, inner)

    zeros = lambda w: jnp.zeros_like(jnp.mean(w, shorter(w), keepdims=True))
    return pair(lambda params: (jax.tree.map(zeros, params), muon.init(params)), update)


CAUTIOUS = {
    "cautious_adamw/default_eager": Row("cautious", lambda: jl.cautious(early_eps_adam(0.02))),
    "cautious_adamw/betas_wd_eager": Row(
        "cautious", lambda: decaying(0.03 * 0.1, jl.cautious(early_eps_adam(0.03, 0.8, 0.95, 1e-4)))
    ),
    "cautious_adamw_foreach/default_foreach": Row("cautious", lambda: jl.cautious(jl.adam(0.02, eps=1e-6))),
    "cautious_adamw_foreach/betas_wd_foreach": Row(
        "cautious", lambda: decaying(0.03 * 0.1, jl.cautious(jl.adam(0.03, 0.8, 0.95, 1e-4)))
    ),
    "cautious_lion/default_betas": Row(
        "cautious", lambda: jl.cautious(jl.lion(0.01, 0.95, 0.98, 0.0), paper_scaling=True)
    ),
    "cautious_lion/other_betas_decay": Row(
        "cautious", lambda: decaying(0.02 * 0.3, jl.cautious(jl.lion(0.02, 0.8, 0.99, 0.0), paper_scaling=True))
    ),
    "adamw_cautious_wd/adamw_lr0.02_wd0.5": Row(
        "cautious_weight_decay", lambda: jl.cautious_weight_decay(jl.adam(0.02, 0.9, 0.95), 0.02, 0.5)
    ),
    "adamw_cautious_wd/adamw_other_betas_large_decay": Row(
        "cautious_weight_decay", lambda: jl.cautious_weight_decay(jl.adam(0.03, 0.8, 0.999, 1e-4), 0.03, 2.0)
    ),
    "lion_cautious_wd/lion_lr0.01_wd1": Row(
        "cautious_weight_decay", lambda: jl.cautious_weight_decay(jl.lion(0.01, 0.9, 0.95, 0.0), 0.01, 1.0)
    ),
    "lion_cautious_wd/lion_other_betas_large_decay": Row(
        "cautious_weight_decay", lambda: jl.cautious_weight_decay(jl.lion(0.02, 0.95, 0.98, 0.0), 0.02, 3.0)
    ),
}

AVERAGES = {
    "ema_adamw/ema_0.9": Row(
        "ema", lambda: jl.ema(jl.adamw(0.02, weight_decay=1e-2), from_call(lambda n: 0.9, lambda t: t - 1))
    ),
    "ema_adamw/ema_0.999": Row(
        "ema", lambda: jl.ema(jl.adamw(0.03, weight_decay=0.1), from_call(lambda n: 0.999, lambda t: t - 1))
    ),
    "ema_adamw/ema_0.8_from_step_6_every_3": Row(
        "ema",
        lambda: jl.ema(
            jl.adamw(0.03, 0.8, 0.95, weight_decay=1e-2), from_call(lambda n: 0.8, every_third_step_from_the_sixth)
        ),
    ),
    "ema_adamw/swa_equal_average_from_step_11": Row(
        "ema",
        lambda: jl.ema(jl.adamw(0.03, weight_decay=1e-2), from_call(lambda n: n / (n + 1.0), lambda t: t - 11)),
    ),
    "lookahead/sgd_momentum_defaults": Row("lookahead", lambda: jl.lookahead(jl.momentum(0.1))),
    "lookahead/adamw_k6_alpha0.5": Row("lookahead", lambda: jl.lookahead(jl.adamw(0.03, weight_decay=0.1), 0.5, 6)),
    "lookahead/sgd_momentum_reset": Row(
        "lookahead", lambda: jl.lookahead(jl.momentum(0.1), 0.5, 4, inner_state="reset")
    ),
    "lookahead/sgd_momentum_pullback": Row("lookahead", lambda: pulled_back(0.1, 0.5, 4)),
    "schedulefree_wrapper/sgd_momentum_defaults": Row(
        "schedule_free", lambda: jl.schedule_free(jl.momentum(0.05), 0.05)
    ),
    "schedulefree_wrapper/adamw_decay_at_z": Row(
        "schedule_free", lambda: jl.schedule_free(jl.adamw(0.05, weight_decay=0.1), 0.05, 0.8)
    ),
    "schedulefree_wrapper/sgd_momentum_decay_at_y_warmup_r2": Row(
        "schedule_free",
        lambda: jl.schedule_free(jl.momentum(eighths(0.1), 0.8), eighths(0.1), 0.95, 0.1, 1.0, 2.0),
    ),
    "schedulefree_wrapper/adamw_decay_at_y_warmup": Row(
        "schedule_free", lambda: jl.schedule_free(jl.adam(eighths(0.05), 0.8, 0.95, 1e-4), eighths(0.05), 0.9, 0.2)
    ),
}

SCALES = {
    "mechanic/adamw_defaults": Row("mechanic", lambda: jl.mechanic(jl.adam(1.0))),
    "mechanic/adamw_store_delta_large_start": Row(
        "mechanic", lambda: jl.mechanic(jl.adamw(0.03, weight_decay=0.1), 0.05, 0.1, store_delta=True)
    ),
    "mechanic/sgd_momentum_three_betas": Row(
        "mechanic",
        lambda: jl.mechanic(jl.momentum(0.1), 0.1, 0.0, 1e-6, betas=(0.8, 0.9, 0.99), store_delta=True),
    ),
    "mechanic/sgd_recomputed_delta": Row("mechanic", lambda: jl.mechanic(jl.sgd(0.1), 0.1, 0.05)),
    "adamh/class_defaults": Row("hyperball", lambda: only_matrices(jl.hyperball(jl.adam(1.0, 0.9, 0.95), 0.005))),
    "adamh/larger_lr_other_betas_eps": Row(
        "hyperball", lambda: only_matrices(jl.hyperball(jl.adam(1.0, 0.8, 0.99, 1e-3), 0.05))
    ),
    "muonh/class_defaults": Row("hyperball", lambda: only_matrices(jl.hyperball(authors_muon(0.95), 0.014))),
    "muonh/larger_lr_low_momentum": Row("hyperball", lambda: only_matrices(jl.hyperball(authors_muon(0.8), 0.05))),
    "normuonh/larger_lr_other_betas_large_eps": Row(
        "hyperball", lambda: only_matrices(jl.hyperball(floored_normuon(0.8, 0.8, 0.1), 0.05))
    ),
    "normuonh/class_defaults": Row(
        "hyperball", lambda: only_matrices(jl.hyperball(authors_normuon(0.95, 0.95), 0.018))
    ),
}

ROWS: dict[str, Row] = {**CAUTIOUS, **AVERAGES, **SCALES}

NOT_HELD: dict[str, str] = {}
"""Recorded settings of wrappers that ours cannot express, and why."""
