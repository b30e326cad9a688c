"""Methods that step by nearly orthogonal matrices: Muon beside its twin in Optax, and its relatives."""

from typing import Any

import jax
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import (
    Bounds,
    Case,
    crawl,
    crawling_halving,
    halving,
    pair,
    slow,
    slow_halving,
    steady,
)

# Muon

amplified = "small singular values grow by up to 3.4 a Newton-Schulz step, and their rounding with them"
orthogonal = Bounds(
    step64=1e-11, step32=1e-3, free64=1e-2, free32=5e-2, why=f"{amplified}; steps do not shrink with g, and signs flip"
)
not_flat = lambda params: jax.tree.map(lambda w: w.ndim > 1 and w.shape[0] > 3, params)
by_axes = lambda params: jax.tree.map(lambda w: w.ndim > 1, params)
beyond_optax = {
    "adam_nesterov": "Optax's Adam looks ahead where its Muon does",
    "bias_correction": "Optax always corrects, the author never",
    "matrices": "Optax gives every parameter a `MuonDimensionNumbers`",
    "ns_dtype": "Optax's iterates in the parameters' own",
    "scaling": "Optax has the first of these factors",
    "cautious": "Optax lets every element decay",
}


def muon_of_all_axes(learning_rate, *, matrices):
    """Optax's with the axes said: all but the last are one."""

    def numbers(params):
        of = lambda w, yes: optax.contrib.MuonDimensionNumbers(tuple(range(w.ndim - 1)), w.ndim - 1) if yes else None
        return jax.tree.map(of, params, matrices(params))

    return optax.contrib.muon(learning_rate, muon_weight_dimension_numbers=numbers)


def muon_beside_plain_adam(learning_rate, *, adam_nesterov):
    """Optax's of the matrices alone."""
    assert not adam_nesterov
    label = lambda params: jax.tree.map(lambda w: "muon" if w.ndim == 2 else "adam", params)
    return optax.partition(
        {"muon": optax.contrib.muon(learning_rate), "adam": optax.adamw(learning_rate, weight_decay=0.0)}, label
    )


def muon_without_correction(learning_rate, *, bias_correction, adam_nesterov):
    """Built of Optax's parts: a mean without correction, its matrices orthogonalised."""
    assert not bias_correction
    assert not adam_nesterov
    numbers = lambda g: jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(), g)
    orthogonal = optax.contrib.scale_by_muon(beta=0.0, nesterov=False, weight_dimension_numbers=numbers)
    mean: Any = optax.ema(0.95, debias=False)

    def update(g, state, params=None):
        _, state = mean.update(g, state)
        ahead = jax.tree.map(lambda m, g: 0.95 * m + 0.05 * g, state.ema, g)
        return orthogonal.update(ahead, orthogonal.init(g))[0], state

    by_shape = optax.stateless(lambda g, _: jax.tree.map(lambda g: max(1, g.shape[1] / g.shape[0]) ** 0.5 * g, g))
    steps = optax.chain(pair(mean.init, update), by_shape, optax.scale_by_learning_rate(learning_rate))
    label = lambda params: jax.tree.map(lambda w: "muon" if w.ndim == 2 else "adam", params)
    return optax.partition({"muon": steps, "adam": optax.adamw(learning_rate, weight_decay=0.0)}, label)


MUON = {
    "muon": Case(
        jl.muon,
        optax.contrib.muon,
        slow,
        bounds=orthogonal,
        differs=beyond_optax,
        not_traced={
            "ns_steps": "it sets the length of the program",
            "ns_coeffs": (
                "the number of triples sets the length of the program; the coefficients themselves may be traced"
            ),
        },
        convention=(
            "As Optax: the mean is corrected, the Adam part looks ahead, and the step is scaled by "
            "sqrt(max(1, outputs / inputs)). The author and PyTorch do not correct (`bias_correction=False`);"
            " Moonlight scales by 0.2 sqrt(max(inputs, outputs)) (`consistent_rms=0.2`)."
        ),
    ),
    "muon values": Case(
        jl.muon,
        optax.contrib.muon,
        slow
        | {"beta": 0.8, "eps": 1e-3, "weight_decay": 0.1, "adam_learning_rate": 0.02, "adam_b1": 0.8}
        | {"adam_b2": 0.95, "adam_eps_root": 1e-4, "adam_weight_decay": 0.2, "consistent_rms": 0.2},
        bounds=orthogonal,
    ),
    "muon schedule": Case(
        jl.muon, optax.contrib.muon, {"learning_rate": slow_halving, "adam_learning_rate": halving}, bounds=orthogonal
    ),
    "muon heavy ball": Case(jl.muon, optax.contrib.muon, slow, {"nesterov": False, "ns_steps": 6}, orthogonal),
    "muon polynomials": Case(
        jl.muon,
        optax.contrib.muon,
        slow,
        {"ns_coeffs": ((4.0848, -6.8946, 2.9270), (3.7418, -5.5913, 2.3037), (2.8366, -3.0525, 1.2012)), "ns_steps": 3},
        orthogonal,
    ),
    "muon dion": Case(jl.muon, optax.contrib.muon, slow, {"ns_coeffs": "dion"}, orthogonal),
    "muon adaptive": Case(jl.muon, optax.contrib.muon, slow, {"adaptive": True}, orthogonal),
    "muon mask": Case(
        jl.muon, optax.contrib.muon, slow | {"weight_decay": 0.5}, {"weight_decay_mask": not_flat}, orthogonal
    ),
    "muon kernels": Case(jl.muon, muon_of_all_axes, slow, {"matrices": by_axes}, orthogonal),
    "muon plain adam": Case(jl.muon, muon_beside_plain_adam, slow, {"adam_nesterov": False}, orthogonal),
    "muon uncorrected": Case(
        jl.muon, muon_without_correction, slow, {"bias_correction": False, "adam_nesterov": False}, orthogonal
    ),
}

# Its relatives, which Optax does not have

decomposed = Bounds(step32=2e-5, free32=1e-4, why="QR decompositions in other kernels differ in their last bits")

fixed = {
    "ns_steps": "it sets the length of the program",
    "ns_coeffs": "the number of triples sets the length of the program; the coefficients themselves may be traced",
}
length = {"ns_steps": fixed["ns_steps"]}
beside = {"adam_learning_rate": 0.02, "adam_b1": 0.8, "adam_b2": 0.99, "adam_eps": 1e-6, "adam_weight_decay": 0.2}

RELATIVES = {
    "normuon": Case(
        jl.normuon,
        None,
        slow,
        bounds=orthogonal,
        not_traced=fixed,
        convention=(
            "As the authors' code: it looks ahead (`nesterov`), and the step keeps the norm that it had before it was "
            "evened out. The paper has neither: `nesterov=False, keep_norm=False`. The authors also add 1e-10 to the "
            "norm that they divide by last."
        ),
    ),
    "normuon values": Case(
        jl.normuon,
        None,
        {"learning_rate": slow_halving, "weight_decay": 0.1, "beta": 0.8, "b2": 0.9, "eps": 1e-3, "norm_eps": 1e-3}
        | {"consistent_rms": 0.3}
        | beside,
        {"nesterov": False, "keep_norm": False, "weight_decay_mask": not_flat},
        bounds=orthogonal,
    ),
    "normuon modded-nanogpt": Case(
        jl.normuon,
        None,
        slow | {"weight_decay": 0.1},
        {"ns_coeffs": "polar_express", "shorter_side": True, "cautious": True, "decay_by_shape": True},
        bounds=orthogonal,
    ),
    "adamuon": Case(
        jl.adamuon,
        None,
        slow,
        bounds=orthogonal,
        not_traced=fixed,
        convention="As the authors' code: it looks ahead, which the paper does not: `nesterov=False`.",
    ),
    "adamuon values": Case(
        jl.adamuon,
        None,
        {"learning_rate": slow_halving, "beta": 0.8, "eps": 1e-3, "norm_eps": 1e-3, "consistent_rms": 0.3} | beside,
        {"nesterov": False, "ns_coeffs": "dion", "weight_decay_mask": not_flat},
        bounds=orthogonal,
    ),
    "dion": Case(
        jl.dion,
        None,
        slow,
        {"rank": 2},  # of the network's gradients; a further direction would be their rounding, at full length
        bounds=decomposed,
        not_traced={"power_iters": "it sets the length of the program", "seed": "it is a constant of the program"},
        convention=(
            "As the authors' reference code, with a QR decomposition in place of their randomised Cholesky QR: the "
            "same columns up to their signs, which cancel. Their simple code turns no matrix: `taller_side=False`."
        ),
    ),
    "dion values": Case(
        jl.dion,
        None,
        {"learning_rate": slow_halving, "beta": 0.8, "eps": 1e-3, "weight_decay": 0.1} | beside,
        {"rank": 2, "power_iters": 2, "taller_side": False, "weight_decay_mask": not_flat},
        bounds=decomposed,
    ),
    "dion2": Case(
        jl.dion2,
        None,
        slow,
        bounds=orthogonal,
        not_traced=length,
        convention=(
            "As the authors' code: the rows or columns with the largest sums of absolute values are chosen, on the "
            "shorter side, and only they are damped; all of w decays."
        ),
    ),
    "dion2 values": Case(
        jl.dion2,
        None,
        {"learning_rate": slow_halving, "beta": 0.8, "eps": 1e-3, "weight_decay": 0.1, "consistent_rms": 0.3} | beside,
        {"fraction": 0.5, "ns_coeffs": "dion", "weight_decay_mask": not_flat},
        bounds=orthogonal,
    ),
    "nordion2": Case(
        jl.nordion2,
        None,
        slow,
        bounds=orthogonal,
        not_traced=length,
        convention="As the authors' code; there is no paper of it. Outputs are chosen, whatever the shape.",
    ),
    "nordion2 values": Case(
        jl.nordion2,
        None,
        {"learning_rate": slow_halving, "beta": 0.8, "b2": 0.9, "eps": 1e-3, "norm_eps": 1e-3, "consistent_rms": 0.3}
        | beside,
        {"fraction": 0.5, "ns_coeffs": "dion", "weight_decay_mask": not_flat},
        bounds=orthogonal,
    ),
    "scion": Case(
        jl.scion,
        None,
        crawl | {"scale": 10.0},
        bounds=orthogonal,
        not_traced=fixed,
        convention=(
            "As the authors' code, whose `momentum` is 1 - beta. Constrained by default (`weight_decay=1`), as theirs. "
            "Parameters that are not matrices have the norm `rms`; of kernels the code makes matrices (`matrices`)."
        ),
    ),
    "scion values": Case(
        jl.scion,
        None,
        {"learning_rate": slow_halving, "beta": 0.5, "scale": 2.0, "eps": 1e-3, "norm_eps": 1e-3, "weight_decay": 0.0},
        {"norms": lambda params: jax.tree.map(lambda w: "rows" if w.ndim == 2 else "rms", params)},
        bounds=orthogonal,
    ),
    "mars": Case(
        jl.mars,
        None,
        slow,
        not_traced=fixed,
        convention=(
            "As the authors' code: v is the mean square of the corrected, clipped gradient, and the gradient before is "
            "that of its own batch (`exact=False`). What is no matrix is trained by AdamW (`matrices_alone`)."
        ),
    ),
    "mars values": Case(
        jl.mars,
        None,
        {"learning_rate": slow_halving, "b1": 0.8, "b2": 0.9, "eps": 1e-4, "weight_decay": 0.1, "gamma": 0.1}
        | {"max_norm": 0.5},
        {"matrices_alone": False, "exact": True},
        Bounds(step32=2e-5, why="the gradient before is compiled apart, and Adam scales up its rounding"),
    ),
    "mars lion": Case(jl.mars, None, {"learning_rate": crawling_halving}, {"form": "lion"}, bounds=steady),
    "mars shampoo": Case(jl.mars, None, slow, {"form": "shampoo"}, bounds=orthogonal),
}

CASES = {**MUON, **RELATIVES}
