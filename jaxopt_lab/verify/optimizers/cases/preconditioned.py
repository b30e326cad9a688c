"""Methods that precondition matrices by Kronecker products: beside themselves, as Optax has none of them."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import Bounds, Case, slow

interval = "trials that are mapped together then compute new bases in the same steps only"
size = "it decides about shapes of the state"
joined = "it decides which axes of a tensor are joined"
turned = Bounds(step32=1e-4, why="rounding of a basis grows from one renewal to the next")
solved = Bounds(step32=1e-5, free64=1e-9, why="mapped triangular solves round otherwise, and the roots keep it")
signs = Bounds(
    step32=4.0,
    free32=0.5,
    why="rotated momentum that is 0 but for rounding has either sign, and with it a step of full length",
)

CASES = {
    "soap": Case(
        jl.soap,
        None,
        slow | {"eps": 1e-3},
        {"update_interval": 3, "max_precond_dim": 4},
        turned,
        not_traced={"update_interval": interval, "max_precond_dim": size},
        convention=(
            "As the authors' code: the first call does not move, eps is added to the uncorrected root, w decays after "
            "the step, and v is permuted with the sorted columns of a basis. The paper adds eps under the root and "
            "does not correct (`eps_root`, `bias_correction=False`); HeavyBall takes eps as the least root, counts the "
            "first call and decays first (`heavyball=True`)."
        ),
    ),
    "soap heavyball": Case(
        jl.soap,
        None,
        slow | {"eps": 1e-3, "eps_root": 1e-6, "shampoo_beta": 0.9},
        {"update_interval": 3, "max_precond_dim": 4, "heavyball": True, "normalize": True},
        turned,
    ),
    "shampoo": Case(
        jl.shampoo,
        None,
        slow | {"b2": 0.99, "eps": 1e-3, "weight_decay": 0.01},
        {"update_interval": 3, "fewest_axes": 2, "max_precond_dim": 5, "grafting": "adam"},
        turned,
        not_traced={"update_interval": interval, "max_precond_dim": size, "fewest_axes": joined},
        convention=(
            "As the authors' Distributed Shampoo: by default a tensor of at most 1,024 elements is one vector, and so "
            "full-matrix Adagrad (`fewest_axes=2` keeps matrices, as the papers do); a longer axis than that has no "
            "factor, where they cut it into blocks. Its KL-Shampoo (`kl=True`) has power 1/4, the paper 1/2 (`power`)."
        ),
    ),
    "shampoo kl": Case(
        jl.shampoo,
        None,
        slow | {"b2": 0.9, "eps": 1e-3, "b3": 0.8, "power": 0.5},
        {"update_interval": 3, "fewest_axes": 2, "max_precond_dim": 5, "kl": True},
        turned,
    ),
    "klshampoo": Case(
        jl.klshampoo,
        None,
        slow | {"eps": 1e-3},
        {"update_interval": 3, "max_precond_dim": 4},
        turned,
        not_traced={"update_interval": interval, "max_precond_dim": size},
        convention=(
            "As the authors' code, which tracks eigenvalues apart from the bases and corrects no bias; Meta's method "
            "of this name is another (`shampoo(kl=True)`). Vectors, which the code refuses, are trained by Adam."
        ),
    ),
    "klshampoo klsoap": Case(
        jl.klshampoo,
        None,
        slow | {"eps": 1e-3, "shampoo_beta": 0.9},
        {"update_interval": 3, "max_precond_dim": 4, "klsoap": True, "damping": True},
        turned,
    ),
    "psgd_kron": Case(
        jl.psgd_kron,
        None,
        slow | {"update_probability": 0.5},
        {"balance_interval": 10, "max_size_triangular": 4},
        solved,
        not_traced={
            "balance_interval": "balancing belongs to an update, which is a branch of the program",
            "max_size_triangular": size,
            "min_ndim_triangular": size,
            "seed": "it is the key in the state",
        },
        real_only=True,
        convention=(
            "As the authors' code, whose noise that damps the preconditioner stays in the momentum of that step. "
            "There, the steps that update and balance the preconditioner are drawn at random; here they are evenly "
            "spaced."
        ),
    ),
    "psgd_kron all_diag": Case(
        jl.psgd_kron,
        None,
        slow | {"weight_decay": 0.1},
        {"memory_save_mode": "all_diag", "momentum_into_precond_update": False},
        solved,
    ),
    "splus": Case(
        jl.splus,
        None,
        slow | {"b2": 0.9, "ema_rate": 0.9},
        {"update_interval": 3, "max_dim": 5},
        signs,
        not_traced={"update_interval": interval, "max_dim": size},
        real_only=True,
        convention=(
            "As the author's PyTorch code: decay comes last, with the factor of the shape, and the average takes the "
            "point before it. The author's JAX code makes decay a part of the step and averages the point before that."
        ),
    ),
}
