"""Adam's near relatives, beside their twins."""

import functools
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import (
    Bounds,
    Case,
    corrected,
    crawl,
    halving,
    matrices,
    pair,
    slow,
    slow_halving,
)

values = slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "eps_root": 1e-4}
pytorchs = {"momentum_decay": "PyTorch's; Optax has none"}
authors = {
    "rectify": "the authors' package's; Optax has none",
    "weight_decay": "the authors'; Optax has none",
    "mask": "Optax has no decay",
}
unrectified = Bounds(
    step64=1e-11,
    step32=5e-3,
    free32=1e-3,
    why="Optax's rho_t is a difference of numbers near 2000, three digits lost beside rho_t - 4; ours is exact",
)


@functools.wraps(optax.yogi)
def yogi_from_zero(learning_rate, initial_accumulator_value=1e-6, **settings):
    """Optax's, but that m starts at 0: its own start moves parameters that have no gradient."""
    named = {name: settings.pop(name) for name in ("b1", "b2", "eps") if name in settings}
    inner: Any = optax.chain(
        optax.scale_by_yogi(**({"eps": 1e-3} | named), initial_accumulator_value=initial_accumulator_value),
        optax.scale_by_learning_rate(learning_rate),
    )

    def init(params):
        state, *rest = inner.init(params)
        return (state._replace(mu=jax.tree.map(jnp.zeros_like, state.mu)), *rest)

    return pair(init, inner.update)


@functools.wraps(optax.adan)
def adan_with_b2(*args, proximal=False, **settings):
    """Optax's, but that differences of g are multiplied by b2 where it has 1 - b2: the paper's beta_2 is 1 - b2."""
    inner, add_scale = optax.adan(*args, **settings), optax.tree.add_scale

    def update(updates, state, params=None, **_):
        with mock.patch.object(optax.tree, "add_scale", lambda a, scale, b: add_scale(a, 1 - scale, b)):
            return inner.update(updates, state, params)

    return pair(inner.init, update)


def decayed_adabelief(learning_rate, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, weight_decay=0.0, *, mask=None):
    """Built of Optax's parts: decay between the scaling and the rate, as in its AdamW."""
    scaled = optax.scale_by_belief(b1, b2, eps, eps_root)
    decay = optax.add_decayed_weights(weight_decay, mask)
    return optax.chain(scaled, decay, optax.scale_by_learning_rate(learning_rate))


CASES = {
    "adabelief": Case(
        jl.adabelief,
        optax.adabelief,
        slow,
        bounds=corrected,
        differs=authors,
        convention=(
            "As Optax and the paper: no rectification. The authors' package rectifies by default (`rectify=True`)."
        ),
    ),
    "adabelief values": Case(jl.adabelief, optax.adabelief, values),
    "adabelief nesterov": Case(jl.adabelief, optax.adabelief, values, {"nesterov": True}),
    "adabelief decay": Case(jl.adabelief, decayed_adabelief, values | {"weight_decay": 0.5}, {"mask": matrices}),
    "adabelief decay schedules": Case(
        jl.adabelief, decayed_adabelief, {"learning_rate": slow_halving, "eps_root": 1e-8, "weight_decay": halving}
    ),
    "adabelief schedule": Case(jl.adabelief, optax.adabelief, {"learning_rate": slow_halving, "eps_root": 1e-8}),
    "adamax": Case(
        jl.adamax,
        optax.adamax,
        slow,
        convention="eps is inside the maximum, as in both libraries; the paper has no eps.",
    ),
    "adamax values": Case(jl.adamax, optax.adamax, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-2}),
    "adamax schedule": Case(jl.adamax, optax.adamax, {"learning_rate": slow_halving}),
    "adamaxw": Case(
        jl.adamaxw,
        optax.adamaxw,
        slow,
        convention="As `adamax` and `adamw`.",
    ),
    "adamaxw values": Case(jl.adamaxw, optax.adamaxw, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-2, "weight_decay": 0.1}),
    "adamaxw mask": Case(jl.adamaxw, optax.adamaxw, slow | {"weight_decay": 0.5}, {"mask": matrices}),
    "adamaxw schedules": Case(jl.adamaxw, optax.adamaxw, {"learning_rate": slow_halving, "weight_decay": halving}),
    "amsgrad": Case(
        jl.amsgrad,
        optax.amsgrad,
        slow,
        bounds=corrected,
        differs={"max_before_correction": "PyTorch's; Optax has only the other order"},
        convention=(
            "As Optax: the maximum is taken of the corrected v. PyTorch takes it of v itself "
            "(`max_before_correction=True`); the paper corrects nothing (`bias_correction_mu`, "
            "`bias_correction_nu`)."
        ),
    ),
    "amsgrad values": Case(jl.amsgrad, optax.amsgrad, values),
    "amsgrad uncorrected": Case(
        jl.amsgrad, optax.amsgrad, values, {"bias_correction_mu": False, "bias_correction_nu": False}
    ),
    "amsgrad schedule": Case(jl.amsgrad, optax.amsgrad, {"learning_rate": slow_halving}),
    "nadam": Case(
        jl.nadam,
        optax.nadam,
        slow,
        bounds=corrected,
        differs=pytorchs,
        convention="As Optax: momentum is constant. PyTorch's rises with time (`momentum_decay=4e-3`).",
    ),
    "nadam values": Case(jl.nadam, optax.nadam, values),
    "nadam schedule": Case(jl.nadam, optax.nadam, {"learning_rate": slow_halving}),
    "nadamw": Case(
        jl.nadamw,
        optax.nadamw,
        slow,
        bounds=corrected,
        differs=pytorchs,
        convention="As `nadam` and `adamw`.",
    ),
    "nadamw values": Case(jl.nadamw, optax.nadamw, values | {"weight_decay": 0.1}),
    "nadamw mask": Case(jl.nadamw, optax.nadamw, slow | {"weight_decay": 0.5}, {"mask": matrices}),
    "nadamw schedules": Case(jl.nadamw, optax.nadamw, {"learning_rate": slow_halving, "weight_decay": halving}),
    "radam": Case(
        jl.radam,
        optax.radam,
        slow,
        bounds=unrectified,
        differs={"eps_before_correction": "PyTorch's; Optax has only the other order"},
        convention=(
            "As Optax and the authors' code: the step is rectified from rho = 5 on (the paper: 4), and eps is"
            " added after the correction. PyTorch adds it before (`eps_before_correction=True`)."
        ),
    ),
    "radam values": Case(jl.radam, optax.radam, values | {"threshold": 4.5}),
    "radam nesterov": Case(jl.radam, optax.radam, values, {"nesterov": True}),
    "radam schedule": Case(jl.radam, optax.radam, {"learning_rate": slow_halving}, bounds=unrectified),
    "yogi": Case(
        jl.yogi,
        yogi_from_zero,
        slow,
        bounds=corrected,
        differs={
            "initial_accumulator_value": "Optax has it in `scale_by_yogi` only",
            "bias_correction": "the paper's algorithm without it; Optax has none",
        },
        mended="with m starting at 0",
        convention="As Optax: both means are corrected. The paper corrects neither (`bias_correction=False`).",
    ),
    "yogi values": Case(
        jl.yogi, yogi_from_zero, slow | {"b1": 0.8, "b2": 0.95, "eps": 1e-2, "initial_accumulator_value": 0.1}
    ),
    "yogi schedule": Case(jl.yogi, yogi_from_zero, {"learning_rate": slow_halving}),
    "lion": Case(
        jl.lion,
        optax.lion,
        crawl,
        real_only=True,
        convention="The default decay 1e-3 is Optax's; the authors' is 0.",
    ),
    "lion values": Case(jl.lion, optax.lion, crawl | {"b1": 0.95, "b2": 0.98, "weight_decay": 0.1}),
    "lion mask": Case(jl.lion, optax.lion, crawl | {"weight_decay": 1.0}, {"mask": matrices}),
    "lion schedules": Case(jl.lion, optax.lion, {"learning_rate": slow_halving, "weight_decay": halving}),
    "adan": Case(
        jl.adan,
        adan_with_b2,
        slow | {"eps_root": 0.0},
        bounds=corrected,
        differs={
            "eps_root": "Optax has 1e-8, which is an eps of 1e-4; the authors have 0",
            "proximal": "the authors'; Optax's decay is not",
        },
        mended="with b2 in place of 1 - b2",
        convention=(
            "As the authors' code: decay is proximal (Optax's is `proximal=False`) and eps_root is 0 (Optax: 1e-8)."
        ),
    ),
    "adan values": Case(
        jl.adan, adan_with_b2, slow | {"b1": 0.9, "b2": 0.8, "b3": 0.95, "eps": 1e-3, "eps_root": 1e-4}
    ),
    "adan decay": Case(
        jl.adan, adan_with_b2, slow | {"eps_root": 1e-8, "weight_decay": 0.2}, {"mask": matrices, "proximal": False}
    ),
    "adan schedules": Case(
        jl.adan,
        adan_with_b2,
        {"learning_rate": slow_halving, "eps_root": 1e-8, "weight_decay": halving},
        {"proximal": False},
    ),
    "cautious_adamw": Case(
        jl.cautious_adamw,
        None,
        slow,
        real_only=True,
        convention=(
            "As the authors' code: the mask is divided by its mean. eps is added after the correction, as in the "
            "code's default path; its other path adds it before (`eps_before_correction=True`)."
        ),
    ),
}
