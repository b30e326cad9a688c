"""Methods that precondition by Kronecker products, against their authors' code."""

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import pair
from jaxopt_lab.verify.optimizers.golden.problems import ORDER
from jaxopt_lab.verify.optimizers.golden.replay import recorded
from jaxopt_lab.verify.optimizers.golden.row import Row


def from_recorded_bases(record, optimizer):
    """Put the bases of the record in place of those that the optimizer has after its first step.

    A gradient that is not square has a null space, any basis of which is right: the authors' is the record's.
    """

    def update(grads, state, params=None, **extra):
        updates, state = optimizer.update(grads, state, params, **extra)

        def chosen(path, own):
            parameter, side = path
            return jnp.where(state.t == 1, recorded()[f"{record} Q {parameter.key} {side.idx}"], own)

        return updates, state._replace(q=jax.tree_util.tree_map_with_path(chosen, state.q))

    return pair(optimizer.init, update)


def of_matrices(optimizer):
    """The optimizer on matrices; their authors' code has nothing for other parameters, which stay where they are."""
    label = lambda params: jax.tree.map(lambda w: "matrix" if w.ndim == 2 else "other", params)
    return optax.partition({"matrix": optimizer, "other": optax.set_to_zero()}, label)


def recorded_probe(key, t, like):
    """The formula that took the place of random numbers in the records of PSGD Kron."""

    def wave(p, x):
        k = jnp.arange(x.size)
        return jnp.sqrt(2.0) * jnp.sin(1 + 1.7 * k + 2.3 * p + 0.9 * t + 0.37 * k * t).reshape(x.shape)

    return {name: wave(p, like[name]) for p, name in enumerate(name for name in ORDER if name in like)}


divided = "elements of the rotated gradient that are 0 but for rounding are divided by eps = 1e-8"

SOAP = {
    "soap/two_sided_defaults": Row(
        "soap", lambda: from_recorded_bases("soap/two_sided_defaults", jl.soap(0.01)), 1e-6, divided
    ),
    "soap/two_sided_defaults on C": Row("soap", lambda: jl.soap(0.01), 1e-6, divided),
    "soap/one_sided": Row(
        "soap",
        lambda: jl.soap(
            0.02, 0.9, 0.99, 1e-6, weight_decay=0.1, shampoo_beta=0.9, update_interval=3, max_precond_dim=4
        ),
    ),
    "soap/two_sided_every_step_no_bias_correction": Row(
        "soap",
        lambda: jl.soap(
            0.01,
            0.8,
            0.9,
            1e-4,
            weight_decay=0.0,
            shampoo_beta=0.95,
            update_interval=1,
            normalize=True,
            bias_correction=False,
        ),
    ),
    "soap_heavyball/two_sided_defaults_lr0.01": Row(
        "soap", lambda: jl.soap(0.01, 0.9, update_interval=2, heavyball=True), 1e-6, divided
    ),
    "soap_heavyball/two_sided_every_step_other_values": Row(
        "soap", lambda: jl.soap(0.02, 0.8, 0.9, 0.03, weight_decay=0.2, update_interval=1, heavyball=True)
    ),
    "soap_heavyball/one_sided": Row(
        "soap",
        lambda: jl.soap(0.02, 0.9, weight_decay=0.1, update_interval=4, max_precond_dim=4, heavyball=True),
    ),
}

SHAMPOO = {
    "shampoo/defaults_merge_to_vectors": Row(
        "shampoo", lambda: jl.shampoo(2**-6), 1e-5, "the inverse root of a sum of few squares, with eps = 1e-12"
    ),
    "shampoo/kronecker_no_grafting_adagrad_sum": Row("shampoo", lambda: jl.shampoo(2**-5, eps=1e-6, fewest_axes=2)),
    "shampoo/kronecker_no_grafting_ema": Row(
        "shampoo", lambda: jl.shampoo(2**-7, 0.9, 0.99, 1e-4, 0.05, 0.81, fewest_axes=2)
    ),
    "shampoo/kronecker_adam_grafting": Row(
        "shampoo",
        lambda: jl.shampoo(
            2**-6, 0.9, 0.95, 1e-6, 0.1, graft_b2=0.95, update_interval=3, start=5, fewest_axes=2, grafting="adam"
        ),
    ),
    "klshampoo_fb/klshampoo_exponent_half": Row(
        "shampoo", lambda: jl.shampoo(2**-6, 0.9, 0.95, 1e-3, 0.01, power=0.5, fewest_axes=2, kl=True)
    ),
    "klshampoo_fb/klshampoo_default_exponent": Row(
        "shampoo", lambda: jl.shampoo(2**-6, 0.8, 0.99, 1e-4, fewest_axes=2, kl=True)
    ),
}


def other_klshampoo():
    return jl.klshampoo(0.01, 0.8, 0.9, 1e-3, 0.1, 0.95, 1.0, None, update_interval=1, damping=True)


KLSHAMPOO = {
    "klshampoo/klshampoo_defaults_lr0.01": Row(
        "klshampoo",
        lambda: of_matrices(from_recorded_bases("klshampoo/klshampoo_defaults_lr0.01", jl.klshampoo(0.01))),
    ),
    "klshampoo/klshampoo_defaults_lr0.01 on C": Row("klshampoo", lambda: of_matrices(jl.klshampoo(0.01))),
    "klshampoo/klshampoo_other": Row(
        "klshampoo", lambda: of_matrices(from_recorded_bases("klshampoo/klshampoo_other", other_klshampoo()))
    ),
    "klshampoo/klshampoo_other on C": Row("klshampoo", lambda: of_matrices(other_klshampoo())),
    "klshampoo/klsoap": Row(
        "klshampoo",
        lambda: of_matrices(jl.klshampoo(0.005, 0.9, 0.95, 1e-6, update_interval=2, klsoap=True)),
        1e-9,
        "elements of the rotated gradient that are 0 but for rounding are divided by eps = 1e-6",
    ),
}

PSGD_KRON = {
    "psgd_kron/defaults_lr0.01": Row(
        "psgd_kron",
        lambda: jl.psgd_kron(0.01, update_probability=1.0, balance_interval=20, probe=recorded_probe),
    ),
    "psgd_kron/one_diag_raw_gradient": Row(
        "psgd_kron",
        lambda: jl.psgd_kron(
            0.005,
            0.8,
            0.05,
            0.2,
            0.5,
            1.0,
            balance_interval=20,
            memory_save_mode="smart_one_diag",
            momentum_into_precond_update=False,
            probe=recorded_probe,
        ),
    ),
    "psgd_kron/all_diag": Row(
        "psgd_kron",
        lambda: jl.psgd_kron(
            0.01, update_probability=1.0, balance_interval=20, memory_save_mode="all_diag", probe=recorded_probe
        ),
    ),
}

SPLUS = {
    "splus/two_sided_lr0.3": Row("splus", lambda: from_recorded_bases("splus/two_sided_lr0.3", jl.splus(0.3))),
    "splus/two_sided_lr0.3 on C": Row("splus", lambda: jl.splus(0.3)),
    "splus/one_sided_frequent": Row(
        "splus", lambda: jl.splus(0.3, 0.8, 0.9, 0.9, 0.2, 0.1, update_interval=4, max_dim=5)
    ),
    "splus/two_sided_frequent": Row("splus", lambda: jl.splus(0.2, 0.8, 0.9, 0.9, 0.2, 0.05, update_interval=3)),
}

ROWS = {**SOAP, **SHAMPOO, **KLSHAMPOO, **PSGD_KRON, **SPLUS}
