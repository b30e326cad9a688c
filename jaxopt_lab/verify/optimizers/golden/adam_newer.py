"""Adam's newer relatives against their authors' code: how its conventions are expressed in ours."""

from functools import partial

import jax
import jax.numpy as jnp

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import pair, pair_with_extras
from jaxopt_lab.verify.optimizers.golden.problems import ORDER
from jaxopt_lab.verify.optimizers.golden.row import Row, with_l2

pytorchs = {"output_axis": 0}
single = "their run is in float32, and the average moves by only 2e-4 in its first step"


def reshaped(shapes, optimizer):
    """The optimizer on tensors of other shapes, by name: heads are rows of a tensor that has an axis for them."""
    shape = lambda tree: {name: x.reshape(shapes.get(name, x.shape)) for name, x in tree.items()}

    def update(grads, state, params):
        updates, state = optimizer.update(shape(grads), state, shape(params))
        return {name: update.reshape(params[name].shape) for name, update in updates.items()}, state

    return pair(lambda params: optimizer.init(shape(params)), update)


scales = {"W1": 0.5, "b1": 0.5, "W2": 0.4, "b2": 1.0}


def recorded_signs(value_fn, params, grads, t):
    """Hutchinson's estimate with the signs of the record at step t, where a random key would be."""

    def signs(i, w):
        q = jnp.arange(w.size).reshape(w.shape)
        return jnp.where((q**2 + 3 * q + 5 * t + 2 * i) % 7 < 4, 1.0, -1.0)

    r = {name: signs(i, params[name]) for i, name in enumerate(name for name in ORDER if name in params)}
    return jax.tree.map(jnp.multiply, r, jax.jvp(jax.grad(value_fn), (params,), (r,))[1])


def recorded_adahessian(*hyperparameters, **flags):
    """AdaHessian with those signs; the number of the step takes the place of the step's key."""
    inner = jl.adahessian(*hyperparameters, hessian_diagonal_fn=recorded_signs, **flags)

    def update(grads, state, params=None, *, value_fn, **_):
        t, state = state
        updates, state = inner.update(grads, state, params, value_fn=value_fn, key=t)
        return updates, (t + 1, state)

    return pair_with_extras(lambda params: (jnp.zeros([], jnp.int32), inner.init(params)), update)


gpa_schedule_free = partial(
    jl.gpa_adamw, 0.05, 0.8, 0.95, 1e-4, 0.1, 0.9, 1.0, 1.0, 0.5, schedule_free=True, decay_of="y"
)

ROWS = {
    "laprop/default": Row("laprop", lambda: jl.laprop(0.01)),
    "laprop/betas_wd_amsgrad": Row("laprop", lambda: jl.laprop(0.02, 0.8, 0.95, 1e-4, 0.002, amsgrad=True)),
    "laprop/centered": Row("laprop", lambda: jl.laprop(0.005, 0.9, 0.95, 1e-3, centered=True)),
    "adamp/default": Row("adamp", lambda: jl.adamp(0.02, **pytorchs)),
    "adamp/nesterov_wd_delta": Row(
        "adamp", lambda: jl.adamp(0.02, 0.8, 0.95, 1e-4, 0.2, 0.8, 0.2, nesterov=True, **pytorchs)
    ),
    "qhadam/nu_0.7_1": Row("qhadam", lambda: jl.qhadam(0.02, 0.995, nu1=0.7)),
    "qhadam/decoupled_wd_nu2": Row("qhadam", lambda: jl.qhadam(0.03, 0.8, 0.95, 0.5, 0.8, 1e-4, 0.1)),
    "qhadam/l2": Row("qhadam", lambda: with_l2(0.05, jl.qhadam(0.02))),
    "adabound/default": Row("adabound", lambda: jl.adabound(0.01)),
    "adabound/amsbound_l2": Row(
        "adabound", lambda: with_l2(0.02, jl.adabound(0.03, 0.8, 0.95, 0.2, 0.1, 1e-4, amsbound=True))
    ),
    "adabound/adaboundw": Row(
        "adabound", lambda: jl.adabound(0.03, final_learning_rate=0.2, gamma=0.1, weight_decay=0.002)
    ),
    "came/default": Row("came", lambda: jl.came(0.001)),
    "came/betas_wd": Row("came", lambda: jl.came(0.005, 0.8, 0.95, 0.98, 1e-8, 1e-6, 0.7, 0.5)),
    "adam_mini/default_one_lr_per_tensor": Row("adam_mini", lambda: jl.adam_mini(0.02)),
    "adam_mini/named_blocks_wd": Row(
        "adam_mini",
        lambda: reshaped(
            {"W2": (2, 9)},
            jl.adam_mini(
                0.03,
                0.8,
                0.95,
                1e-4,
                0.1,
                shared={"W1": 1, "b1": False, "W2": 1, "b2": False},
                mask={"W1": True, "b1": False, "W2": True, "b2": False},
            ),
        ),
    ),
    "stable_adamw/default": Row("stable_adamw", lambda: jl.stable_adamw(0.004)),
    "stable_adamw/betas_wd": Row("stable_adamw", lambda: jl.stable_adamw(0.03, 0.8, 0.95, 1e-3, 0.1)),
    "grams/default": Row("grams", lambda: jl.grams(0.02)),
    "grams/betas_wd_nobias": Row("grams", lambda: jl.grams(0.02, 0.8, 0.95, 1e-4, 0.1, bias_correction=False)),
    "amos/default": Row("amos", lambda: jl.amos(0.1, scales)),
    "amos/reduced_momentum_clip": Row("amos", lambda: jl.amos(0.2, scales, 0.95, 0.125, 0.5, 0.01, 0.9, 0.3, shared=0)),
    "adahessian/default_image": Row("adahessian", lambda: recorded_adahessian(0.05)),
    "adahessian/row_average_wd_power": Row(
        "adahessian",
        lambda: recorded_adahessian(
            0.03, 0.8, 0.95, 1e-2, 0.1, 0.5, shared={"W1": 1, "b1": False, "W2": 1, "b2": False}
        ),
    ),
    "adahessian/image_wd": Row("adahessian", lambda: recorded_adahessian(0.03, 0.8, 0.95, 1e-2, 0.1, 1.0)),
    "gpa_adamw/default_gpa": Row("gpa_adamw", lambda: jl.gpa_adamw(0.05)),
    "gpa_adamw/schedulefree_wd": Row("gpa_adamw", lambda: gpa_schedule_free()),
    "gpa_adamw_wd_on_z/gpa_wd_on_z": Row(
        "gpa_adamw", lambda: jl.gpa_adamw(0.05, weight_decay=0.1, evaluation_interpolation=0.9)
    ),
    "gpa_adamw_float32/default_gpa": Row("gpa_adamw", lambda: jl.gpa_adamw(0.05), 1e-3, single),
    "gpa_adamw_float32/schedulefree_wd": Row("gpa_adamw", lambda: gpa_schedule_free(), 1e-5, "their run is in float32"),
    "schedulefree_radam/default": Row("schedule_free_radam", lambda: jl.schedule_free_radam(0.05)),
    "schedulefree_radam/sgdphase_wd_r": Row(
        "schedule_free_radam",
        lambda: jl.schedule_free_radam(0.05, 0.8, 0.95, 1e-4, 0.05, 1.0, 0.5, silent_sgd_phase=False),
    ),
}
