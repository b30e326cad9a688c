"""The methods that look for their step size themselves, beside their twins."""

from functools import wraps
from typing import Any

import jax
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import Bounds, Case, halving, matrices, pair_with_extras, slow_halving

fading = optax.exponential_decay(1.0, transition_steps=50, decay_rate=0.5)
warmup = optax.linear_schedule(0.1, 1.0, 20)


@wraps(optax.contrib.dog)
def optax_dog(init_step=1e-6, init_step_kind: Any = "heuristic", **rest):
    return optax.contrib.dog(init_step=(init_step_kind, init_step), **rest)


def with_betas(twin):
    """Optax's b1 and b2 are one pair."""

    @wraps(twin)
    def make(b1=0.9, b2=0.999, **rest):
        return twin(betas=(b1, b2), **rest)

    return make


def divided(twin):
    """Optax's w / L - tau a with the one change to (w - tau a) / L, which is the paper's and the authors' step."""

    @wraps(twin)
    def make(learning_rate, weight_decay, **rest):
        inner = twin(learning_rate=learning_rate, weight_decay=weight_decay, **rest)
        lost = learning_rate * weight_decay / (1 + learning_rate * weight_decay)  # w - w / L = lost * w

        def update(grads, state, params=None, *, value, **_):
            updates, state = inner.update(grads, state, params, value=value)
            divide = lambda u, w: (u + lost * w) * (1 - lost) - lost * w
            return jax.tree.map(divide, updates, params), state

        return pair_with_extras(inner.init, update)

    return make


dog_differs = {
    "init_step": "Optax's is a pair of a tag and a number; the number is traced, so the tag is a flag of its own",
    "init_step_kind": "that tag",
    "layerwise": "the authors' L-DoG; Optax has none",
    "averaging": "the authors' averager; Optax has none",
    "average_dtype": "of that average",
}
pair = dict.fromkeys(("b1", "b2"), "Optax's are one pair; here they are two, as in every other file")
growth = {
    "growth_rate": "the authors' limit; Optax has none",
    "bias_correction": "a flag of the authors' code; Optax always corrects",
}
slices = {"slice_p": "the authors' way to spend less memory; Optax has none"}
momo_differs = {"bias_correction": "a flag of the authors' code; Optax never corrects"}
divide = {"divide": "a flag of the authors' code; Optax always divides"}

optax_prodigy, optax_dadapt_adamw = with_betas(optax.contrib.prodigy), with_betas(optax.contrib.dadapt_adamw)
prodigy_values = {
    "learning_rate": 0.5,
    "b1": 0.8,
    "b2": 0.99,
    "eps": 1e-3,
    "estim_lr0": 1e-3,
    "weight_decay": 0.1,
}
estimates = {"beta3": 0.95, "estim_lr_coef": 0.7}
momo_values = {"learning_rate": 0.05, "beta": 0.8, "lower_bound": 1.0, "weight_decay": 0.1}
momo_adam_values = {
    "learning_rate": 0.03,
    "b1": 0.8,
    "b2": 0.95,
    "eps": 1e-3,
    "lower_bound": 1.0,
    "weight_decay": 0.1,
}

feedback = Bounds(
    step32=2e-5,
    free64=1e-8,
    free32=5e-2,
    why="d feeds back on itself, and rounding grows with it; in float32 Optax's 1 - b2**t loses two digits",
)
d_feedback = feedback._replace(step32=2e-4, free64=1e-10)  # D-Adapt's rate is in m, s and d
lost = Bounds(step32=3e-5, free32=1e-4, why="in float32 Optax's 1 - b2**t loses two digits; ours keeps them")
edge = Bounds(
    free32=0.5,
    why="at the edge of stability rounding grows: Optax's own end moves by .4 where its start moves by 2e-7",
)
rest = Bounds(step64=1e-9, why="near rest decay and step cancel: of 1e-3 each, 1e-6 and few digits are left")
differing = Bounds(step32=1e-5, why="traced, b is a float32, and 1 - b is off by 2e-7; the model's height cancels")
betting = Bounds(
    free64=0.1,
    why="each step is the same to the last bit, but bets magnify one: Optax's own end moves by 1.5e-2 where its start "
    "moves by 1e-15",
)

CASES = {
    "dog": Case(
        jl.dog,
        optax_dog,
        {},
        differs=dog_differs,
        mended="with its pair as two arguments",
        convention=("As Optax: the training iterate is the answer. The authors recommend averaging (`averaging=8.0`)."),
    ),
    "dog values": Case(jl.dog, optax_dog, {"learning_rate": 0.5, "init_step": 1e-2, "eps": 1e-3, "weight_decay": 0.1}),
    "dog distance": Case(jl.dog, optax_dog, {"init_step": 1e-3}, {"init_step_kind": "distance"}, thorough=True),
    "dog first step": Case(jl.dog, optax_dog, {"init_step": 1e-3}, {"init_step_kind": "learning_rate"}, thorough=True),
    "dog mask": Case(jl.dog, optax_dog, {"init_step": 1e-2, "weight_decay": 0.5}, {"mask": matrices}),
    "dog schedule": Case(jl.dog, optax_dog, {"learning_rate": fading, "init_step": 1e-2}, thorough=True),
    "dowg": Case(
        jl.dowg,
        optax.contrib.dowg,
        {},
        bounds=edge,
        convention="As Optax: with an eps under the root. The paper has no eps.",
    ),
    "dowg values": Case(
        jl.dowg,
        optax.contrib.dowg,
        {"learning_rate": 0.5, "init_estim_sq_dist": 1e-2, "eps": 1e-3, "weight_decay": 0.1},
    ),
    "dowg mask": Case(jl.dowg, optax.contrib.dowg, {"weight_decay": 0.5}, {"mask": matrices}),
    "dowg schedule": Case(jl.dowg, optax.contrib.dowg, {"learning_rate": fading}, thorough=True),
    "prodigy": Case(
        jl.prodigy,
        optax_prodigy,
        {},
        bounds=feedback,
        differs=pair | growth | slices,
        mended="with its pair as two arguments",
        not_traced={
            "slice_p": "it sets the shapes of the state",
        },
        real_only=True,
        convention=(
            "As Optax: the bias is corrected. The paper and, by default, the authors do not correct it "
            "(`bias_correction=False`). If every gradient is 0, ours does not move; Optax divides 0 by 0."
        ),
    ),
    "prodigy values": Case(jl.prodigy, optax_prodigy, prodigy_values | estimates, bounds=feedback),
    "prodigy safeguard": Case(
        jl.prodigy, optax_prodigy, prodigy_values | {"learning_rate": warmup}, {"safeguard_warmup": True}, feedback
    ),
    "prodigy schedule": Case(jl.prodigy, optax_prodigy, {"learning_rate": fading}, bounds=feedback),
    "dadapt_adamw": Case(
        jl.dadapt_adamw,
        optax_dadapt_adamw,
        {},
        bounds=d_feedback,
        differs=pair | growth,
        mended="with its pair as two arguments",
        real_only=True,
        convention="As `prodigy`.",
    ),
    "dadapt_adamw values": Case(jl.dadapt_adamw, optax_dadapt_adamw, prodigy_values | {"learning_rate": 0.1}),
    "dadapt_adamw schedule": Case(jl.dadapt_adamw, optax_dadapt_adamw, {"learning_rate": fading}),
    "cocob": Case(
        jl.cocob,
        optax.contrib.cocob,
        {},
        bounds=betting,
        real_only=True,
        convention="As Optax: with an eps and a decay. The paper has neither.",
    ),
    "cocob values": Case(
        jl.cocob, optax.contrib.cocob, {"learning_rate": 0.5, "alpha": 40.0, "eps": 1e-2, "weight_decay": 0.1}
    ),
    "cocob mask": Case(jl.cocob, optax.contrib.cocob, {"weight_decay": 0.5}, {"mask": matrices}),
    "cocob schedule": Case(jl.cocob, optax.contrib.cocob, {"learning_rate": halving}),
    "momo": Case(
        jl.momo,
        optax.contrib.momo,
        {},
        bounds=differing,
        differs=momo_differs,
        convention="As the paper: the norm of m has no floor. Optax stands still below its floor.",
    ),
    "momo values": Case(jl.momo, divided(optax.contrib.momo), momo_values),
    "momo adapt": Case(
        jl.momo,
        divided(optax.contrib.momo),
        momo_values | {"learning_rate": 0.15, "lower_bound": 0.1},
        {"adapt_lower_bound": True},
        rest,
    ),
    "momo schedule": Case(jl.momo, optax.contrib.momo, {"learning_rate": halving}),
    "momo_adam": Case(
        jl.momo_adam,
        optax.contrib.momo_adam,
        {},
        bounds=lost,
        differs=divide,
        convention="As `momo`.",
    ),
    "momo_adam values": Case(jl.momo_adam, divided(optax.contrib.momo_adam), momo_adam_values),
    "momo_adam adapt": Case(
        jl.momo_adam,
        divided(optax.contrib.momo_adam),
        momo_adam_values | {"lower_bound": 0.1},
        {"adapt_lower_bound": True},
        rest,
    ),
    "momo_adam schedule": Case(jl.momo_adam, optax.contrib.momo_adam, {"learning_rate": slow_halving}),
}
