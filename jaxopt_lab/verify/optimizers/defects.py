"""Where Optax 0.2.8 departs from the paper and the authors: what is wrong, and how large the effect is.

The twin of the row `case` is Optax's own method with that one thing corrected; the correction is next to the row.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import optax
from optax import contrib

NONE: Mapping[str, Any] = MappingProxyType({})


class Defect(NamedTuple):
    says: str
    case: str  # the row whose twin is corrected
    optax: Callable[..., Any]  # as it stands, with the arguments of the twin
    off: float  # at least how far its steps are from ours in that row, in the units of `case.Bounds.step64`
    record: str = ""  # of the authors' code, which the corrected method matches and Optax's own does not
    at: Mapping[str, Any] = NONE  # the record's hyperparameters, as both take them


def galore(project_longer, **hyperparameters):
    """Optax's, which always projects the longer side."""
    assert project_longer
    return contrib.galore(**hyperparameters)


behind = "steps with warm-up by the rate before, but weighs by the one after: z is one step behind, its first step 0"

DEFECTS = {
    "rprop": Defect(
        "returns the step stored before instead of the one just computed: every step comes one late, the first is 0",
        "rprop values",
        optax.rprop,
        0.5,
        "torch_rprop/etas",
        {"learning_rate": 0.02, "eta_minus": 0.3, "eta_plus": 1.5, "min_step_size": 1e-4, "max_step_size": 0.08},
    ),
    "adan": Defect(
        "multiplies differences of gradients by 1 - b2 where the paper and the authors multiply by b2",
        "adan values",
        optax.adan,
        1e-2,
        "adan/default",
        {"learning_rate": 0.02, "eps_root": 0.0},
    ),
    "momo": Defect(
        "does not divide the step by 1 + learning_rate * weight_decay, only the parameters",
        "momo values",
        contrib.momo,
        1e-3,
        "momo/wd_fstar",
        {"learning_rate": 0.5, "beta": 0.8, "lower_bound": 0.0, "weight_decay": 0.1, "adapt_lower_bound": True},
    ),
    "momo_adam": Defect(
        "does not divide the step by 1 + learning_rate * weight_decay, only the parameters",
        "momo_adam values",
        contrib.momo_adam,
        1e-3,
        "momo_adam/wd_fstar",
        {
            "learning_rate": 0.1,
            "b1": 0.8,
            "b2": 0.95,
            "eps": 1e-4,
            "weight_decay": 0.1,
            "lower_bound": 0.0,
            "adapt_lower_bound": True,
        },
    ),
    "schedule_free_sgd": Defect(
        behind,
        "schedule_free_sgd values",
        contrib.schedule_free_sgd,
        1e-2,
        "schedulefree_extra/sgd_warmup",
        {"learning_rate": 0.5, "warmup_steps": 8},
    ),
    "schedule_free_adamw": Defect(
        behind,
        "schedule_free_adamw values",
        contrib.schedule_free_adamw,
        1e-2,
        "schedulefree_extra/adamw_warmup_wd",
        {"learning_rate": 0.05, "warmup_steps": 8, "weight_decay": 0.02},
    ),
    "yogi": Defect(
        "starts m at the initial accumulator value, as it does v: what has no gradient moves",
        "yogi",
        optax.yogi,
        1e-4,
    ),
    "acprop": Defect(
        "takes the deviation of g from the mean before it; paper, authors and its own documentation take the one after",
        "acprop values",
        contrib.acprop,
        1e-2,
    ),
    "polyak_sgd": Defect(
        "divides the first argument of the minimum by the scaling, where it documents a factor: 2 halves the step",
        "polyak_sgd values",
        optax.polyak_sgd,
        1e-2,
    ),
    "galore": Defect(
        "takes singular vectors in float32, whatever the parameters' dtype",
        "galore",
        galore,
        1e-9,
    ),
    "adafactor": Defect(
        "takes the decay of v in float32, whatever the parameters' dtype",
        "adafactor",
        optax.adafactor,
        1e-10,
    ),
    "madgrad": Defect(
        "takes the root of t in float32, whatever the parameters' dtype",
        "madgrad",
        contrib.madgrad,
        1e-9,
    ),
}

BESIDE_THEM = {
    "lbfgs": "uses pairs of negative curvature, so that its next step goes uphill",
    "muon": "scales with `adaptive` a whole stack of matrices by one inner product, so that one changes another's step",
    "adadelta": "by default has no learning rate, and with it no sign: every step goes uphill",
    "lookahead": "resets a state to that of the parameters before the last step, not of those that it goes on from",
    "schedule_free": behind,
}
"""Other defects, which no row shows; each has a test of its own."""


def sentence(name: str) -> str:
    """Say what is wrong with Optax's method of this name, if anything."""
    says = DEFECTS[name].says if name in DEFECTS else BESIDE_THEM.get(name)
    return f"Optax 0.2.8 {says}." if says else ""
