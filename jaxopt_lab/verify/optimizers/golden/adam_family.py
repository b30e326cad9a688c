"""Adam's near relatives against PyTorch 2.13 and their authors' code."""

import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.row import Row, with_l2

pytorchs = {"eps_before_correction": True}
single = "PyTorch gathers the product of its momenta in float32"


def with_decay(rate, decay, ascent):
    """w <- w - rate * (a + decay * w), for a method without a decay of its own; `ascent` gives a."""
    return optax.chain(ascent, optax.add_decayed_weights(decay), optax.scale(-rate))


def clipped(largest, eps, optimizer):
    """The authors of Adan clip with an eps in the divisor."""
    clip = lambda grads, _: optax.tree.scale(jnp.minimum(1, largest / (optax.tree.norm(grads) + eps)), grads)
    return optax.chain(optax.stateless(clip), optimizer)


ROWS = {
    "adabelief/default_rectify": Row("adabelief", lambda: jl.adabelief(0.02, rectify=True)),
    "adabelief/norectify": Row("adabelief", lambda: jl.adabelief(0.02, eps=1e-8, eps_root=1e-8)),
    "adabelief/betas_wd_rectify": Row(
        "adabelief", lambda: with_decay(0.03, 0.1, jl.adabelief(-1.0, 0.8, 0.95, 1e-6, 1e-6, rectify=True))
    ),
    "torch_adamax/default": Row("adamax", lambda: jl.adamax(0.02)),
    "torch_adamax/betas_wd": Row("adamax", lambda: with_l2(0.05, jl.adamax(0.03, 0.8, 0.9, 1e-4))),
    "torch_adam/amsgrad": Row("amsgrad", lambda: jl.amsgrad(0.05, 0.9, 0.9, max_before_correction=True)),
    "torch_adamw/amsgrad": Row(
        "amsgrad", lambda: with_decay(0.05, 0.05, jl.amsgrad(-1.0, 0.9, 0.9, max_before_correction=True))
    ),
    "torch_nadam/default": Row("nadam", lambda: jl.nadam(0.02, momentum_decay=4e-3), 1e-6, single),
    "torch_nadam/decoupled_wd": Row(
        "nadamw", lambda: jl.nadamw(0.03, 0.8, 0.95, 1e-4, weight_decay=0.1, momentum_decay=0.02), 1e-6, single
    ),
    "torch_nadam/constant_momentum": Row("nadam", lambda: jl.nadam(0.02), 1e-6, single),
    "torch_nadam/l2": Row("nadam", lambda: with_l2(0.05, jl.nadam(0.02, momentum_decay=4e-3)), 1e-6, single),
    "torch_nadam_float64/default": Row("nadam", lambda: jl.nadam(0.02, momentum_decay=4e-3)),
    "torch_nadam_float64/decoupled_wd": Row(
        "nadamw", lambda: jl.nadamw(0.03, 0.8, 0.95, 1e-4, weight_decay=0.1, momentum_decay=0.02)
    ),
    "torch_nadam_float64/constant_momentum": Row("nadam", lambda: jl.nadam(0.02)),
    "torch_nadam_float64/l2": Row("nadam", lambda: with_l2(0.05, jl.nadam(0.02, momentum_decay=4e-3))),
    "torch_radam/default": Row("radam", lambda: jl.radam(0.02, **pytorchs)),
    "torch_radam/decoupled_wd": Row("radam", lambda: with_decay(0.03, 0.1, jl.radam(-1.0, 0.8, 0.9, 1e-3, **pytorchs))),
    "torch_radam/l2": Row("radam", lambda: with_l2(0.05, jl.radam(0.03, 0.9, 0.99, **pytorchs))),
    "lion/default": Row("lion", lambda: jl.lion(0.01, weight_decay=0.0)),
    "lion/betas_wd": Row("lion", lambda: jl.lion(0.005, 0.95, 0.98, 1.0)),
    "adan/default": Row("adan", lambda: jl.adan(0.02)),
    "adan/betas_wd_prox": Row("adan", lambda: jl.adan(0.02, 0.9, 0.8, 0.95, 1e-4, weight_decay=0.2)),
    "adan/noprox_clip": Row("adan", lambda: clipped(0.5, 1e-8, jl.adan(0.02, weight_decay=0.2, proximal=False))),
    "cautious_adamw/default_eager": Row("cautious_adamw", lambda: jl.cautious_adamw(0.02, eps_before_correction=True)),
    "cautious_adamw/betas_wd_eager": Row(
        "cautious_adamw", lambda: jl.cautious_adamw(0.03, 0.8, 0.95, 1e-4, 0.1, eps_before_correction=True)
    ),
    "cautious_adamw_foreach/default_foreach": Row("cautious_adamw", lambda: jl.cautious_adamw(0.02)),
    "cautious_adamw_foreach/betas_wd_foreach": Row(
        "cautious_adamw", lambda: jl.cautious_adamw(0.03, 0.8, 0.95, 1e-4, 0.1)
    ),
}

NOT_HELD = {
    "adabelief/amsgrad_l2_norectify": "the package's AMSGrad (the largest s so far) is not in the paper, nor in Optax",
}
