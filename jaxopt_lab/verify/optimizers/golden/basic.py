"""The first methods against PyTorch 2.13: how its conventions are expressed in ours."""

import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.row import Row, with_l2

outside = {"eps_in_sqrt": False}  # PyTorch adds eps to the root
cancels = "v - m**2 cancels: its last digits depend on the order of operations"


def dampened(share, optimizer):
    """Gradients but for the first lose a share before they are summed."""
    return optax.chain(optax.scale_by_schedule(lambda t: jnp.where(t == 0, 1, 1 - share)), optimizer)


ROWS = {
    "torch_sgd/plain": Row("sgd", lambda: jl.sgd(0.1)),
    "torch_sgd/momentum": Row("momentum", lambda: jl.momentum(0.05)),
    "torch_sgd/nesterov_wd": Row("sgd", lambda: with_l2(0.01, jl.sgd(0.05, 0.8, nesterov=True))),
    "torch_sgd/dampening": Row("sgd", lambda: with_l2(0.02, dampened(0.5, jl.sgd(0.1, 0.9)))),
    "torch_rmsprop/plain": Row("rmsprop", lambda: jl.rmsprop(0.01, 0.99, **outside)),
    "torch_rmsprop/momentum": Row("rmsprop", lambda: jl.rmsprop(0.003, 0.99, momentum=0.9, **outside)),
    "torch_rmsprop/centered": Row(
        "rmsprop", lambda: jl.rmsprop(0.01, 0.9, 1e-4, centered=True, **outside), 1e-9, cancels
    ),
    "torch_rmsprop/centered_momentum_wd": Row(
        "rmsprop",
        lambda: with_l2(0.01, jl.rmsprop(0.003, 0.95, 1e-6, momentum=0.9, centered=True, **outside)),
        1e-9,
        cancels,
    ),
    "torch_adagrad/default": Row("adagrad", lambda: jl.adagrad(0.05, 0.0, 1e-10, **outside)),
    "torch_adagrad/lrdecay_wd_init": Row(
        "adagrad", lambda: with_l2(0.01, jl.adagrad(lambda t: 0.1 / (1 + 0.1 * t), 0.1, 1e-6, **outside))
    ),
    "torch_adam/default": Row("adam", lambda: jl.adam(0.02)),
    "torch_adam/l2": Row("adam", lambda: with_l2(0.05, jl.adam(0.03, 0.8, 0.95, 1e-4))),
    "torch_adamw/default": Row("adamw", lambda: jl.adamw(0.02, weight_decay=1e-2)),
    "torch_adamw/betas_wd": Row("adamw", lambda: jl.adamw(0.03, 0.8, 0.95, 1e-4, weight_decay=0.1)),
}
